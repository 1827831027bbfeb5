//! The tree as it is shown: to a garbage collector, to a dump, to a face that keeps an empty one.

use nursery_core::{Cause, Effects, Event, Flight, Outcome, Source, Tree};

use crate::world::{Oops, PLAIN, Plain, SHIELD, World, finish, host};

#[test]
fn it_shows_its_scopes_from_the_roots_downwards() {
    let mut world = World::new();
    let [one, other] = [(); 2].map(|()| world.enroll(false));
    let outer = world.enter(one, PLAIN);
    let nursery = world.open(one, SHIELD, false);
    let alone = world.enter(other, PLAIN);
    let child = world.start(nursery, false).unwrap();
    let inner = world.enter(child, PLAIN);
    let mut roots: Vec<_> = world.tree.roots().collect();
    roots.sort_by_key(|root| *root != outer);
    assert_eq!(roots, [outer, alone]);
    let below = |scope| world.tree.scopes_below(scope).collect::<Vec<_>>();
    let scope = world.tree.scope(nursery);
    assert_eq!((below(outer), below(scope)), (vec![scope], vec![inner]));
    assert_eq!((below(inner), below(alone)), (vec![], vec![]));
    let mut keys: Vec<_> = world.tree.keys().copied().collect();
    keys.sort_unstable();
    assert_eq!(keys, [one, other, child]);
    world.exit(child, inner, Flight::Nothing);
    world.end(child, Outcome::Done);
    world.body_ended(nursery, Outcome::Done);
    world.close(one, nursery, false);
    world.exit(one, outer, Flight::Nothing);
    world.exit(other, alone, Flight::Nothing);
    world.withdraw(one);
    finish(world, other);
}

#[test]
fn a_view_of_a_scope_says_by_what_it_was_cancelled_and_when() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let inner = world.enter(host, PLAIN);
    assert!(world.tree.view(outer).cause.is_none());
    world.advance(3.0);
    world.cancel(outer);
    let view = world.tree.view(outer);
    let cause = Cause { source: Source::Explicit, reason: Some("asked") };
    assert_eq!(
        (view.host, view.cause, view.is_cancelled),
        (Some(&host), Some((&cause, 3.0)), true)
    );
    let view = world.tree.view(inner);
    assert!(view.cause.is_none() && view.is_cancelled);
    world.step(host);
    world.exit(host, inner, Flight::Cancelled);
    world.exit(host, outer, Flight::Cancelled);
    finish(world, host);
}

#[test]
fn a_task_that_has_left_all_that_it_entered_leaves_a_tree_that_keeps_its_room() {
    let (mut world, host) = host(false);
    assert_eq!(Tree::<Plain>::default().room(), 0);
    let scope = world.enter(host, PLAIN);
    world.exit(host, scope, Flight::Nothing);
    let member = world.tasks[host].member;
    world.tree.withdraw_idle(member);
    assert_eq!(world.tree.size(), (0, 0, 0));
    assert!(world.tree.room() >= 1);
}

#[test]
fn effects_are_silent_until_there_is_something_to_deliver_or_to_do() {
    let mut out = Effects::<Plain>::default();
    out.reasons.push("nothing but to be dropped");
    out.errors.push(Oops(1));
    assert!(out.is_silent());
    out.events.push(Event::Lost(Oops(2)));
    out.events.push(Event::Called(1));
    assert!(!out.is_silent());
    let text = format!("{out:?}");
    assert!(text.contains("Lost(..)") && text.contains("Called(..)"), "{text}");
}

#[test]
fn r19a_it_says_whether_there_are_services_whose_time_matters() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    let member = world.tasks[child].member;
    assert!(!world.tree.has_services(nursery) && !world.tree.may_cancel(member, true));
    let start = world.tree.start_service(nursery, world.tasks.len()).unwrap();
    let service = world.adopt_task(start.member);
    assert!(world.tree.has_services(nursery) && world.tree.may_cancel(member, true));
    world.end(child, Outcome::Done);
    world.body_ended(nursery, Outcome::Done);
    world.step(service);
    assert_eq!(world.end(service, Outcome::Cancelled), Some(nursery));
    assert!(!world.tree.has_services(nursery));
    world.close(host, nursery, false);
    finish(world, host);
}
