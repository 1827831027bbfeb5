//! Services (R19a): children that end after the body and the other children, the last one first.

use nursery_core::{Cause, Flight, NurseryId, Outcome, Phase, Settings, Source, Verdict};

use crate::world::{Oops, PLAIN, World, cleaning, finish, host};

fn service(world: &mut World, nursery: NurseryId) -> usize {
    let start = world.tree.start_service(nursery, world.tasks.len()).unwrap();
    assert_eq!(start.charges, 0);
    world.adopt_task(start.member)
}

#[test]
fn r19a_services_end_one_by_one_after_body_and_children() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, PLAIN, false);
    let [first, second] = [(); 2].map(|()| service(&mut world, nursery));
    let child = world.start(nursery, false).unwrap();
    let third = service(&mut world, nursery);
    assert!(!world.body_ended(nursery, Outcome::Done));
    assert!(![first, second, third].iter().any(|task| world.pending(*task)));
    assert_eq!(world.end(child, Outcome::Done), None);
    for (ending, rest) in [(third, vec![first, second]), (second, vec![first]), (first, vec![])] {
        assert_eq!(world.tree.phase(nursery), Phase::Joining);
        assert!(world.pending(ending));
        assert!(!rest.iter().any(|task| world.pending(*task)));
        world.step(ending);
        let closed = world.end(ending, Outcome::Cancelled);
        assert_eq!(closed, rest.is_empty().then_some(nursery));
    }
    let close = world.close(host, nursery, false);
    assert_eq!((close.verdict, close.cancelled), (Verdict::Clean, false));
    finish(world, host);
}

#[test]
fn r19a_a_cancellation_reaches_no_service_before_the_children_have_ended() {
    for outside in [false, true] {
        let (mut world, host) = host(false);
        let around = world.enter(host, PLAIN);
        let nursery = world.open(host, PLAIN, false);
        let one = service(&mut world, nursery);
        let child = world.start(nursery, false).unwrap();
        let scope = if outside { around } else { world.tree.scope(nursery) };
        world.cancel(scope);
        assert!(world.pending(child) && world.pending(host) && !world.pending(one));
        let late = service(&mut world, nursery);
        world.step(host);
        assert!(!world.body_ended(nursery, Outcome::Cancelled));
        world.step(child);
        assert!(!world.pending(late));
        world.end(child, Outcome::Cancelled);
        for ending in [late, one] {
            assert!(world.pending(ending));
            world.step(ending);
            world.end(ending, Outcome::Cancelled);
        }
        let close = world.close(host, nursery, false);
        assert_eq!(close.cancelled, outside);
        assert_eq!(close.exit.caught, !outside);
        let flight = if outside { Flight::Cancelled } else { Flight::Nothing };
        assert_eq!(world.exit(host, around, flight).caught, outside);
        finish(world, host);
    }
}

#[test]
fn r13a_a_service_that_was_ended_makes_no_work_look_half_done() {
    let (mut world, host) = host(false);
    let around = world.enter(host, PLAIN);
    let nursery = world.open(host, PLAIN, false);
    let one = service(&mut world, nursery);
    assert!(!world.body_ended(nursery, Outcome::Done));
    world.cancel(around);
    world.step(one);
    world.end(one, Outcome::Cancelled);
    assert!(!world.close(host, nursery, false).cancelled, "nothing but the service was cancelled");
    assert!(world.pending(host));
    world.step(host);
    assert!(world.exit(host, around, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r6_a_service_that_fails_cancels_the_work_and_not_the_other_services() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, PLAIN, false);
    let [log, broken] = [(); 2].map(|()| service(&mut world, nursery));
    let child = world.start(nursery, false).unwrap();
    assert_eq!(world.end(broken, Outcome::Failed(Oops(1))), None);
    assert!(world.pending(host) && world.pending(child) && !world.pending(log));
    world.step(host);
    world.step(child);
    world.end(child, Outcome::Cancelled);
    assert!(!world.body_ended(nursery, Outcome::Cancelled));
    assert!(world.pending(log));
    world.step(log);
    assert_eq!(world.end(log, Outcome::Failed(Oops(2))), Some(nursery));
    let close = world.close(host, nursery, false);
    assert_eq!(close.verdict, Verdict::Errors(vec![Oops(1), Oops(2)]));
    finish(world, host);
}

#[test]
fn r2_while_services_end_children_can_start_and_the_next_service_waits_for_them() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, PLAIN, false);
    let [first, second] = [(); 2].map(|()| service(&mut world, nursery));
    world.body_ended(nursery, Outcome::Done);
    world.step(second);
    let child = world.start(nursery, false).unwrap();
    assert_eq!(world.end(second, Outcome::Cancelled), None);
    assert!(!world.pending(first), "a child may need it");
    assert_eq!(world.tree.returned(world.tasks[child].member), None, "more comes of this end");
    assert_eq!(world.end(child, Outcome::Done), None);
    assert!(world.pending(first));
    world.step(first);
    assert_eq!(world.end(first, Outcome::Done), Some(nursery));
    assert!(world.tree.start_service(nursery, 99).is_err());
    world.close(host, nursery, false);
    finish(world, host);
}

#[test]
fn r18_a_service_has_the_budget_of_the_nursery_from_its_own_end_on() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, cleaning(3.0), false);
    let one = service(&mut world, nursery);
    world.begin(one);
    let child = world.start(nursery, false).unwrap();
    let scope = world.tree.scope(nursery);
    world.cancel(scope);
    world.step(host);
    world.body_ended(nursery, Outcome::Cancelled);
    world.advance(100.0);
    world.step(child);
    world.end(child, Outcome::Cancelled);
    world.step(one);
    world.advance(102.9);
    assert!(!world.suspended(one), "it may await still");
    world.advance(103.0);
    assert!(world.pending(one), "its time is over");
    world.step(one);
    assert_eq!(world.end(one, Outcome::Cancelled), Some(nursery));
    world.close(host, nursery, false);
    finish(world, host);
}

#[test]
fn r3_the_services_of_a_nursery_that_was_never_left_end_in_order_too() {
    let (mut world, host) = host(false);
    let outer = world.open(host, PLAIN, false);
    let careless = world.start(outer, false).unwrap();
    let inner = world.open(careless, PLAIN, false);
    let [first, second] = [(); 2].map(|()| service(&mut world, inner));
    let outer_service = service(&mut world, outer);
    world.change(|tree, now, out| tree.adopt(inner, Oops(7), None, now, out));
    world.end(careless, Outcome::Done);
    world.step(host);
    world.body_ended(outer, Outcome::Cancelled);
    assert!(world.pending(second) && !world.pending(first) && !world.pending(outer_service));
    world.step(second);
    world.end(second, Outcome::Cancelled);
    assert!(world.pending(first) && !world.pending(outer_service));
    world.step(first);
    assert_eq!(world.end(first, Outcome::Cancelled), None);
    assert!(world.pending(outer_service), "the nursery that has joined it ends its own now");
    world.step(outer_service);
    assert_eq!(world.end(outer_service, Outcome::Cancelled), Some(outer));
    assert_eq!(world.joined, vec![inner]);
    let close = world.close(host, outer, false);
    assert_eq!(close.verdict, Verdict::Errors(vec![Oops(7)]));
    world.change(|tree, now, out| tree.discard(inner, None, now, out));
    finish(world, host);
}

#[test]
fn r19a_the_end_of_a_service_is_a_cancellation_that_was_asked_for() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, PLAIN, false);
    let one = service(&mut world, nursery);
    world.body_ended(nursery, Outcome::Done);
    let member = world.tasks[one].member;
    let cause = world.tree.catcher(member).map(|(_, cause)| cause.clone());
    assert_eq!(cause, Some(Cause { source: Source::Explicit, reason: None }));
    world.step(one);
    world.end(one, Outcome::Cancelled);
    world.close(host, nursery, false);
    finish(world, host);
}

#[test]
fn r19_only_a_shield_that_lasts_as_long_as_the_task_is_one_for_life() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, PLAIN, false);
    let shielded = world.start(nursery, true).unwrap();
    let child = world.start(nursery, false).unwrap();
    let service = service(&mut world, nursery);
    let own = world.enter(child, Settings { shield: true, ..PLAIN });
    let lifelong =
        |world: &World, task: usize| world.tree.is_shielded_for_life(world.tasks[task].member);
    assert!(lifelong(&world, shielded) && lifelong(&world, service));
    assert!(!lifelong(&world, child) && !lifelong(&world, host), "it leaves its shield");
    world.tree.release_scope(own);
    assert!(lifelong(&world, child), "nothing can leave it any more");
}

#[test]
fn r19a_what_a_service_is_about_to_start_does_not_keep_it_from_being_ended() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, PLAIN, false);
    let starts = service(&mut world, nursery);
    let inner = world.open(starts, PLAIN, false);
    let deeper = world.start(inner, false).unwrap();
    let child = world.start(nursery, false).unwrap();
    let by = |world: &World, task: usize| Some(world.tasks[task].member);
    for (task, counts) in [(starts, false), (deeper, false), (child, true), (host, true)] {
        let by = by(&world, task);
        assert_eq!(world.tree.reserve(nursery, by), Ok(counts));
    }
    let by = by(&world, deeper);
    assert_eq!(world.tree.reserve(inner, by), Ok(true), "it is no service of this one");
}

#[test]
fn r18_a_task_is_not_held_by_what_waits_for_it() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    let inner = world.open(child, PLAIN, false);
    let [grandchild, sibling] = [(); 2].map(|()| world.start(inner, false).unwrap());
    let member = |task: usize| world.tasks[task].member;
    for task in [host, child] {
        assert!(world.tree.outlasts(member(task), Some(member(grandchild))));
    }
    assert!(world.tree.outlasts(member(host), Some(member(child))));
    for (awaited, task) in [(sibling, grandchild), (grandchild, child), (child, host)] {
        assert!(!world.tree.outlasts(member(awaited), Some(member(task))));
    }
}
