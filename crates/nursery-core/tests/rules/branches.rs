//! A face whose tasks branch: many scopes of one task side by side, each below the scope that it was opened
//! in.

use nursery_core::{
    Cause, Cleanup, Delivery, Effects, Flight, MemberId, ScopeId, Settings, Source, Tree,
};

use crate::world::{PLAIN, Plain, SHIELD, World, cleaning, finish, guaranteeing, host, until};

type Told = Delivery<usize, &'static str>;
type Sizes = (usize, usize, usize);

/// A branch of a task below a scope, and the scope that it enters there.
fn branch(world: &mut World, below: ScopeId) -> (usize, ScopeId) {
    branch_with(world, below, PLAIN)
}

fn branch_with(world: &mut World, below: ScopeId, settings: Settings) -> (usize, ScopeId) {
    let member = world.tree.enroll_in(world.tasks.len(), below);
    let branch = world.adopt_task(member);
    world.tasks[branch].foreign = true;
    let scope = world.enter(branch, settings);
    (branch, scope)
}

fn leave(world: &mut World, (branch, scope): (usize, ScopeId)) {
    world.step(branch);
    world.exit(branch, scope, Flight::Cancelled);
    world.withdraw(branch);
}

fn member(world: &World, task: usize) -> MemberId {
    world.tasks[task].member
}

#[test]
fn r12_a_cancellation_reaches_every_branch_below_it_and_none_beside() {
    let (mut world, host) = host(true);
    let outer = world.enter(host, PLAIN);
    let [one, other] = [(); 2].map(|()| branch(&mut world, outer));
    world.cancel(one.1);
    assert!(world.cancelled(one.0) && !world.cancelled(other.0) && !world.cancelled(host));
    world.cancel(outer);
    assert!(world.cancelled(other.0) && world.cancelled(host));
    for branch in [one, other] {
        leave(&mut world, branch);
    }
    world.step(host);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_it_says_from_when_on_a_cancellation_does_not_wait_for_a_branch() {
    let (mut world, host) = host(true);
    let outer = world.enter(host, cleaning(3.0));
    let one = branch(&mut world, outer);
    assert_eq!(world.tree.insists_at(member(&world, one.0)), f64::INFINITY);
    world.advance(2.0);
    world.cancel(outer);
    assert_eq!(world.tree.insists_at(member(&world, one.0)), 5.0);
    world.change(|tree, now, out| tree.set_cleanup(outer, Cleanup::Limited(0.0), now, out));
    assert_eq!(world.tree.insists_at(member(&world, one.0)), f64::NEG_INFINITY);
    leave(&mut world, one);
    world.step(host);
    world.exit(host, outer, Flight::Cancelled);
    finish(world, host);
}

#[test]
fn a_place_is_as_it_was_entered_where_nothing_that_was_asked_of_it_has_left_a_trace() {
    let (mut world, host) = host(true);
    let outer = world.enter(host, PLAIN);
    let is_as_entered = |world: &World| world.tree.is_as_entered(member(world, host), outer);
    assert!(is_as_entered(&world));
    let one = branch(&mut world, outer);
    assert!(!is_as_entered(&world));
    world.step(one.0);
    world.exit(one.0, one.1, Flight::Nothing);
    world.withdraw(one.0);
    assert!(is_as_entered(&world));
    world.change(|tree, now, out| tree.set_deadline(outer, now + 5.0, now, out));
    assert!(!is_as_entered(&world));
    world.change(|tree, now, out| tree.set_deadline(outer, f64::INFINITY, now, out));
    assert!(is_as_entered(&world));
    world.change(|tree, now, out| tree.set_cleanup(outer, Cleanup::Never, now, out));
    assert!(!is_as_entered(&world));
    world.change(|tree, now, out| tree.set_cleanup(outer, Cleanup::Inherited, now, out));
    assert!(is_as_entered(&world));
    world.cancel(outer);
    assert!(!is_as_entered(&world));
    world.step(host);
    world.exit(host, outer, Flight::Cancelled);
    finish(world, host);
}

/// What is left of a tree after a branch: how much stands in it, when it next acts, and what a cancellation of `outer`
/// reaches then.
fn left(tree: &mut Tree<Plain>, outer: ScopeId) -> (Sizes, Option<f64>, Vec<Told>) {
    let (size, next) = (tree.size(), tree.timers.next());
    let mut out = Effects::default();
    tree.cancel(outer, Cause { source: Source::Explicit, reason: None }, 7.0, &mut out);
    (size, next, out.deliveries)
}

#[test]
fn a_branch_that_is_left_in_one_step_leaves_what_two_steps_leave() {
    type Prepare = fn(&mut World, ScopeId, (usize, ScopeId));
    let cases: [(&str, Settings, Prepare); 8] = [
        ("plain", PLAIN, |_, _, _| {}),
        ("late", until(5.0), |_, _, _| {}),
        ("shield", SHIELD, |_, _, _| {}),
        ("with a budget of its own", guaranteeing(3.0), |_, _, _| {}),
        ("cancelled", cleaning(3.0), |world, _, own| _ = world.cancel(own.1)),
        ("cancelled from above", PLAIN, |world, outer, _| _ = world.cancel(outer)),
        ("a shield below what is cancelled", SHIELD, |world, outer, _| _ = world.cancel(outer)),
        ("with a branch inside", SHIELD, |world, _, own| _ = branch(world, own.1)),
    ];
    for (name, settings, prepare) in cases {
        let (mut world, host) = host(true);
        let outer = world.enter(host, cleaning(3.0));
        branch(&mut world, outer);
        let own = branch_with(&mut world, outer, settings);
        branch(&mut world, outer);
        prepare(&mut world, outer, own);
        let (at, mut one, mut two) =
            (member(&world, own.0), world.tree.clone(), world.tree.clone());
        let out = &mut Effects::default();
        one.leave_branch(at, own.1, out);
        two.exit(own.1, Flight::Nothing, 0, f64::NEG_INFINITY, out);
        two.withdraw(at, out);
        assert_eq!(one.size(), (world.tree.size().0 - 1, world.tree.size().1 - 1, 0), "{name}");
        assert_eq!(left(&mut one, outer), left(&mut two, outer), "{name}");
    }
}

#[test]
fn r12_a_host_that_takes_the_place_of_another_is_told_of_what_is_cancelled_there() {
    let (mut world, host) = host(true);
    let outer = world.enter(host, PLAIN);
    let place = member(&world, host);
    assert_eq!(world.tree.succeed(place, 77), host);
    let mut out = Effects::default();
    let cause = Cause { source: Source::Explicit, reason: None };
    world.tree.cancel(outer, cause, 0.0, &mut out);
    assert_eq!(out.deliveries.iter().map(|told| told.key).collect::<Vec<_>>(), [77]);
}
