//! From when on the seconds for cleaning up count, and whose they are (R18); and what a
//! cancellation takes from a task beside its wait (R12a).

use nursery_core::{Cause, Cleanup, Effects, Flight, Outcome, ScopeId, Settings, Source};

use crate::world::{PLAIN, SHIELD, World, cleaning, finish, guaranteeing, host};

const ABRUPT: Settings = Settings { abrupt: true, ..PLAIN };
const PATIENT: Settings = Settings { cleanup: Cleanup::Never, ..PLAIN };

/// The seconds of a task are over at that moment, and not before; it is told then without asking.
fn is_over_at(world: &mut World, task: usize, moment: f64) {
    world.advance(moment - 0.1);
    assert!(!world.suspended(task), "it may await still");
    world.advance(moment);
    assert!(world.pending(task), "what it waits for is cancelled");
    world.step(task);
    assert!(world.suspended(task), "and every await after that");
}

#[test]
fn r18_the_seconds_of_a_child_count_from_its_first_step() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, cleaning(3.0), false);
    let [early, late] = [(); 2].map(|()| world.start(nursery, false).unwrap());
    world.begin(early);
    let scope = world.tree.scope(nursery);
    world.cancel(scope);
    world.step(early);
    is_over_at(&mut world, early, 3.0);
    world.advance(5.0);
    assert!(world.pending(late), "its first await is cancelled");
    world.begin(late);
    world.step(late);
    is_over_at(&mut world, late, 8.0);
    let latest = world.start(nursery, false).unwrap();
    world.advance(20.0);
    world.begin(latest);
    world.step(latest);
    is_over_at(&mut world, latest, 23.0);
    for child in [early, late, latest] {
        world.end(child, Outcome::Cancelled);
    }
    world.body_ended(nursery, Outcome::Cancelled);
    world.close(host, nursery, false);
    finish(world, host);
}

#[test]
fn r18_the_seconds_of_a_task_in_a_shield_count_from_its_end() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let outer = world.enter(host, cleaning(3.0));
        let shield = world.enter(host, SHIELD);
        world.cancel(outer);
        world.advance(10.0);
        assert!(!world.pending(host));
        world.exit(host, shield, Flight::Nothing);
        assert!(world.pending(host), "it hears now");
        world.step(host);
        is_over_at(&mut world, host, 13.0);
        assert!(world.exit(host, outer, Flight::Cancelled).caught);
        finish(world, host);
    }
}

#[test]
fn r18_a_shield_in_a_cleanup_does_not_begin_its_seconds_again() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let outer = world.enter(host, cleaning(3.0));
        world.cancel(outer);
        world.step(host);
        for now in [1.0, 2.0] {
            let shield = world.enter(host, SHIELD);
            world.advance(now);
            world.exit(host, shield, Flight::Nothing);
            assert!(!world.pending(host), "it was told, and has time left");
        }
        is_over_at(&mut world, host, 3.0);
        let shield = world.enter(host, SHIELD);
        world.advance(10.0);
        world.exit(host, shield, Flight::Nothing);
        assert!(world.suspended(host), "its time is over");
        assert!(world.exit(host, outer, Flight::Cancelled).caught);
        finish(world, host);
    }
}

#[test]
fn r18_the_seconds_of_all_in_a_lifted_shield_count_from_its_lifting() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(3.0));
    let nursery = world.open(host, SHIELD, false);
    let child = world.start(nursery, false).unwrap();
    let walled = world.start(nursery, true).unwrap();
    world.cancel(outer);
    world.advance(10.0);
    let scope = world.tree.scope(nursery);
    world.change(|tree, now, out| tree.set_shield(scope, false, now, out));
    world.step(child);
    world.step(host);
    assert!(!world.pending(walled));
    is_over_at(&mut world, child, 13.0);
    assert!(world.pending(host));
    world.step(host);
    world.end(child, Outcome::Cancelled);
    world.end(walled, Outcome::Done);
    world.body_ended(nursery, Outcome::Cancelled);
    assert!(world.close(host, nursery, false).cancelled);
    assert!(world.suspended(host), "its own seconds are over as well");
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_what_a_lifted_shield_has_begun_goes_on_behind_it() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(3.0));
    let inner = world.enter(host, SHIELD);
    world.cancel(outer);
    world.advance(10.0);
    world.change(|tree, now, out| tree.set_shield(inner, false, now, out));
    world.step(host);
    world.advance(11.0);
    world.exit(host, inner, Flight::Nothing);
    is_over_at(&mut world, host, 13.0);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_without_seconds_a_wait_that_a_shield_kept_ends_with_the_shield() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let outer = world.enter(host, cleaning(0.0));
        world.cancel(outer);
        world.step(host);
        let inner = world.enter(host, SHIELD);
        assert!(!world.suspended(host), "it waits");
        world.change(|tree, now, out| tree.set_shield(inner, false, now, out));
        assert!(world.pending(host), "as in trio: it does not wait on");
        world.step(host);
        world.exit(host, inner, Flight::Cancelled);
        assert!(world.exit(host, outer, Flight::Cancelled).caught);
        finish(world, host);
    }
}

#[test]
fn r18_a_scope_without_seconds_ends_what_a_patient_one_inside_it_lets_wait() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(0.0));
    let nursery = world.open(host, PATIENT, false);
    let child = world.start(nursery, false).unwrap();
    let scope = world.tree.scope(nursery);
    world.cancel(scope);
    world.step(child);
    world.step(host);
    assert!(!world.suspended(child), "it cleans up for ever");
    world.cancel(outer);
    assert!(world.pending(child), "of what lies above it was told, but each insists for itself");
    world.step(child);
    assert!(world.suspended(child));
    world.end(child, Outcome::Cancelled);
    world.body_ended(nursery, Outcome::Cancelled);
    assert!(world.close(host, nursery, false).cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_of_several_cancelled_scopes_each_insists_for_itself() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(5.0));
    let inner = world.enter(host, cleaning(2.0));
    world.cancel(inner);
    world.step(host);
    world.advance(1.0);
    world.cancel(outer);
    world.step(host);
    is_over_at(&mut world, host, 2.0);
    // The inner one goes, and with it what was over.
    world.exit(host, inner, Flight::Nothing);
    is_over_at(&mut world, host, 6.0);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_one_that_is_over_nearer_by_does_not_hide_when_the_outer_one_is() {
    let (mut world, host) = host(false);
    world.tree.cleanup = Cleanup::Limited(1.0);
    let outer = world.enter(host, PLAIN);
    let inner = world.enter(host, SHIELD);
    world.cancel(inner);
    world.cancel(outer);
    world.step(host);
    is_over_at(&mut world, host, 1.0);
    world.advance(3.0);
    world.change(|tree, now, out| tree.set_shield(inner, false, now, out));
    world.advance(3.0);
    world.step(host);
    world.exit(host, inner, Flight::Nothing);
    is_over_at(&mut world, host, 4.0);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_a_scope_that_says_nothing_has_what_is_said_above_and_the_trees_if_nothing_is() {
    let (mut world, host) = host(false);
    world.tree.cleanup = Cleanup::Limited(10.0);
    let outer = world.enter(host, PLAIN);
    let never = world.enter(host, PATIENT);
    let group = world.enter(host, Settings { cleanup: Cleanup::Limited(3.0), ..ABRUPT });
    let inner = world.enter(host, PLAIN);
    let silent = world.enter(host, ABRUPT);
    assert_eq!(world.tree.cleanup_of(outer), Cleanup::Limited(10.0));
    assert_eq!(world.tree.cleanup_of(never), Cleanup::Never);
    assert_eq!(world.tree.cleanup_of(group), Cleanup::Limited(3.0), "its own");
    assert_eq!(world.tree.cleanup_of(inner), Cleanup::Never, "not that of a TaskGroup around it");
    assert_eq!(world.tree.cleanup_of(silent), Cleanup::Inherited, "nor does that inherit any");
    world.change(|tree, now, out| tree.set_cleanup(never, Cleanup::Inherited, now, out));
    assert_eq!(world.tree.cleanup_of(inner), Cleanup::Limited(10.0));
    world.cancel(silent);
    world.step(host);
    assert_eq!(world.tree.next_alarm(), None, "a TaskGroup never insists on its own");
    world.cancel(inner);
    world.step(host);
    is_over_at(&mut world, host, 10.0);
    for scope in [silent, inner, group, never, outer] {
        world.exit(host, scope, Flight::Cancelled);
    }
    finish(world, host);
}

#[test]
fn r18_what_is_inside_a_cancelled_scope_has_that_scopes_budget_whatever_its_own_says() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(4.0));
    let inner = world.enter(host, cleaning(1.0));
    world.cancel(outer);
    world.step(host);
    is_over_at(&mut world, host, 4.0);
    world.exit(host, inner, Flight::Cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_a_body_that_brings_a_cancellation_from_outside_leaves_the_insisting_to_that() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(5.0));
    let nursery = world.open(host, cleaning(1.0), false);
    let children = [(); 2].map(|()| world.start(nursery, false).unwrap());
    world.cancel(outer);
    for task in [host, children[0], children[1]] {
        world.step(task);
    }
    assert!(!world.body_ended(nursery, Outcome::Cancelled));
    let scope = world.tree.scope(nursery);
    assert_eq!(world.tree.cause(scope).map(|cause| cause.source), Some(Source::Host));
    world.advance(2.0);
    assert!(!world.suspended(children[0]), "the nursery's one second does not count");
    // Kept from what it has brought, the nursery insists for itself.
    world.change(|tree, now, out| tree.set_shield(scope, true, now, out));
    world.advance(2.0);
    assert!(world.pending(children[0]), "its second was over long ago");
    world.step(children[0]);
    world.change(|tree, now, out| tree.set_shield(scope, false, now, out));
    assert!(!world.suspended(children[0]));
    is_over_at(&mut world, children[0], 7.0);
    for child in children {
        world.end(child, Outcome::Cancelled);
    }
    assert!(world.close(host, nursery, false).cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_a_nursery_that_only_its_host_has_cancelled_insists_for_itself() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, cleaning(1.0), false);
    let child = world.start(nursery, false).unwrap();
    world.body_ended(nursery, Outcome::Done);
    world.ask(host, false);
    world.host_cancelled(nursery);
    world.step(child);
    is_over_at(&mut world, child, 1.0);
    world.end(child, Outcome::Cancelled);
    world.tasks[host].requests.deliver();
    assert!(world.close(host, nursery, true).cancelled);
    finish(world, host);
}

#[test]
fn r18_a_scope_without_a_nursery_insists_for_itself_whatever_has_cancelled_it() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(9.0));
    let inner = world.enter(host, cleaning(0.0));
    world.cancel(outer);
    world.step(host);
    // Its owner lets go of it by force, as the Rust face does with what is dropped (R28).
    world.change(|tree, now, out| {
        tree.cancel(inner, Cause { source: Source::Host, reason: None }, now, out)
    });
    world.step(host);
    assert!(world.suspended(host), "no time is left in it");
    world.step(host);
    world.exit(host, inner, Flight::Cancelled);
    is_over_at(&mut world, host, 9.0);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_a_task_that_has_not_taken_a_step_when_the_time_is_over_is_asked_once_more() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, cleaning(2.0));
    world.cancel(scope);
    // What it awaits was asked to end, and does not.
    let mut asked = Vec::new();
    for now in [1.0, 2.0, 2.0, 3.0] {
        let mut out = Effects::default();
        while world.tree.advance(now, &mut out).is_some() {}
        asked.push(out.deliveries.iter().filter(|delivery| delivery.throw).count());
    }
    assert_eq!(asked, [0, 1, 0, 0]);
    assert!(world.pending(host));
    world.step(host);
    assert!(world.exit(host, scope, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_a_budget_that_is_inherited_is_another_one_once_the_scope_that_gave_it_is_gone() {
    for given in [Cleanup::Limited(0.0), Cleanup::Limited(2.0)] {
        let (mut world, host) = host(false);
        world.tree.cleanup = given;
        let outer = world.enter(host, cleaning(9.0));
        let inner = world.enter(host, PLAIN);
        world.cancel(inner);
        world.step(host);
        world.advance(1.0);
        assert!(!world.suspended(host));
        world.remove(host, outer);
        if given == Cleanup::Limited(2.0) {
            is_over_at(&mut world, host, 2.0);
        } else {
            assert!(world.pending(host));
        }
        assert!(world.exit(host, inner, Flight::Cancelled).caught);
        finish(world, host);
    }
}

#[test]
fn r12a_a_task_group_takes_even_a_result_but_from_no_task_that_has_heard() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let group = world.open(host, ABRUPT, false);
    let [child, walled] = [false, true].map(|shield| world.start(group, shield).unwrap());
    let is_abrupt = |world: &World, task: usize| world.tree.is_abrupt(world.tasks[task].member);
    world.cancel(outer);
    assert!(!is_abrupt(&world, child), "a scope around it takes no result");
    let scope = world.tree.scope(group);
    world.cancel(scope);
    assert!(is_abrupt(&world, child) && is_abrupt(&world, host));
    assert!(!is_abrupt(&world, walled));
    for task in [child, host] {
        world.step(task);
        assert!(!is_abrupt(&world, task), "it has heard");
    }
    let late = world.start(group, false).unwrap();
    assert!(is_abrupt(&world, late));
    let inner = world.enter(late, SHIELD);
    assert!(!is_abrupt(&world, late));
    world.cancel(inner);
    assert!(!is_abrupt(&world, late), "an ordinary scope in it is an ordinary scope");
    world.exit(late, inner, Flight::Nothing);
    for child in [child, walled, late] {
        world.end(child, Outcome::Cancelled);
    }
    world.body_ended(group, Outcome::Cancelled);
    assert!(world.close(host, group, false).cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

/// A host in a guaranteed scope below a cancelled one that gives `given` seconds.
fn guaranteed(foreign: bool, given: f64, seconds: f64) -> (World, usize, [ScopeId; 2]) {
    let (mut world, host) = host(foreign);
    let outer = world.enter(host, cleaning(given));
    let inner = world.enter(host, guaranteeing(seconds));
    world.cancel(outer);
    world.step(host);
    (world, host, [outer, inner])
}

fn leave(mut world: World, host: usize, scopes: [ScopeId; 2]) {
    for scope in scopes.into_iter().rev() {
        world.exit(host, scope, Flight::Cancelled);
    }
    finish(world, host);
}

#[test]
fn r27a_a_guaranteed_budget_counts_against_a_cancellation_from_above() {
    for foreign in [false, true] {
        for given in [0.0, 1.0, 3.0] {
            let (mut world, host, scopes) = guaranteed(foreign, given, 3.0);
            is_over_at(&mut world, host, 3.0);
            leave(world, host, scopes);
        }
    }
}

#[test]
fn r27a_a_guaranteed_budget_takes_nothing_from_what_the_cancelled_scope_gives() {
    for foreign in [false, true] {
        let (mut world, host, scopes) = guaranteed(foreign, 5.0, 3.0);
        is_over_at(&mut world, host, 5.0);
        leave(world, host, scopes);
    }
}

#[test]
fn r27a_a_guaranteed_budget_counts_for_what_is_opened_inside_it() {
    let (mut world, host, scopes) = guaranteed(false, 0.0, 3.0);
    let inside = world.enter(host, cleaning(0.0));
    is_over_at(&mut world, host, 3.0);
    world.exit(host, inside, Flight::Cancelled);
    leave(world, host, scopes);
}

#[test]
fn r27a_a_guaranteed_budget_ends_when_its_scope_is_left() {
    let (mut world, host, [outer, inner]) = guaranteed(false, 0.0, 3.0);
    assert!(!world.suspended(host));
    world.exit(host, inner, Flight::Nothing);
    assert!(world.suspended(host), "the cancelled scope gives no time");
    world.exit(host, outer, Flight::Cancelled);
    finish(world, host);
}

#[test]
fn r27a_a_guaranteed_budget_counts_for_a_scope_that_is_entered_after_the_cancellation() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(0.0));
    world.cancel(outer);
    world.step(host);
    world.advance(1.0);
    let inner = world.enter(host, guaranteeing(3.0));
    is_over_at(&mut world, host, 3.0);
    leave(world, host, [outer, inner]);
}

#[test]
fn r27a_a_guaranteed_budget_begins_at_the_end_of_a_shield_inside_it() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(0.0));
    let inner = world.enter(host, guaranteeing(3.0));
    let shield = world.enter(host, SHIELD);
    world.cancel(outer);
    world.advance(10.0);
    assert!(!world.pending(host));
    world.exit(host, shield, Flight::Nothing);
    world.step(host);
    is_over_at(&mut world, host, 13.0);
    leave(world, host, [outer, inner]);
}

#[test]
fn r27a_a_guarantee_that_is_taken_back_ends_the_time() {
    let (mut world, host, [outer, inner]) = guaranteed(false, 0.0, 3.0);
    assert!(!world.suspended(host));
    let none = Cleanup::Limited(0.0);
    world.change(|tree, now, out| {
        tree.set_cleanup(inner, none, now, out);
        let cause = Cause { source: Source::Host, reason: None };
        tree.cancel(inner, cause, now, out);
    });
    assert!(world.pending(host), "what it waits for is cancelled");
    world.step(host);
    leave(world, host, [outer, inner]);
}

#[test]
fn r27a_of_two_guaranteed_scopes_each_has_its_own_time() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, cleaning(0.0), false);
    let children = [(); 2].map(|()| world.start(nursery, false).unwrap());
    let scopes = [4.0, 2.0].map(guaranteeing);
    let inner: Vec<_> = children
        .iter()
        .zip(scopes)
        .map(|(&child, settings)| world.enter(child, settings))
        .collect();
    world.cancel(world.tree.scope(nursery));
    for child in children {
        world.step(child);
    }
    world.step(host);
    is_over_at(&mut world, children[1], 2.0);
    is_over_at(&mut world, children[0], 4.0);
    for (child, scope) in children.into_iter().zip(inner) {
        world.exit(child, scope, Flight::Cancelled);
        world.end(child, Outcome::Cancelled);
    }
    world.body_ended(nursery, Outcome::Cancelled);
    world.close(host, nursery, false);
    finish(world, host);
}
