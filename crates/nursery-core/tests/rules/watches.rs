//! What watches a scope is called once, in the moment in which a cancellation reaches the scope.

use nursery_core::{Cause, Effects, Flight, Outcome, Source};

use crate::world::{PLAIN, SHIELD, cleaning, finish, host, until};

#[test]
fn r12b_a_watch_is_called_in_the_moment_of_its_scope_s_cancellation_and_once() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let scope = world.enter(host, PLAIN);
        world.watch(scope, 1);
        world.watch(scope, 2);
        assert_eq!(world.called, []);
        world.cancel(scope);
        assert_eq!(world.called, [1, 2], "in the order of coming");
        world.cancel(scope);
        world.step(host);
        world.exit(host, scope, Flight::Cancelled);
        assert_eq!((world.called.len(), world.let_go.len()), (2, 0));
        finish(world, host);
    }
}

#[test]
fn r12b_a_watch_is_called_by_a_scope_above_and_the_outer_ones_first() {
    let (mut world, host) = host(false);
    let [outer, middle, inner] = [PLAIN; 3].map(|plain| world.enter(host, plain));
    for (scope, watch) in [(inner, 3), (outer, 1), (middle, 2)] {
        world.watch(scope, watch);
    }
    world.cancel(middle);
    assert_eq!(world.called, [2, 3]);
    world.cancel(outer);
    assert_eq!(world.called, [2, 3, 1]);
    for scope in [inner, middle, outer] {
        world.exit(host, scope, Flight::Nothing);
    }
    finish(world, host);
}

#[test]
fn r12b_a_watch_is_called_by_a_deadline_and_by_a_failure_of_a_sibling() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, until(5.0), false);
    let [one, other] = [(); 2].map(|()| world.start(nursery, false).unwrap());
    let scope = world.enter(one, until(2.0));
    let own = world.tree.scope(nursery);
    world.watch(scope, 1);
    world.watch(own, 2);
    world.advance(2.0);
    assert_eq!(world.called, [1]);
    world.end(other, Outcome::Failed(crate::world::Oops(1)));
    assert_eq!(world.called, [1, 2]);
    world.step(host);
    world.step(one);
    world.exit(one, scope, Flight::Cancelled);
    world.end(one, Outcome::Cancelled);
    world.body_ended(nursery, Outcome::Cancelled);
    world.close(host, nursery, false);
    finish(world, host);
}

#[test]
fn r12b_a_watch_on_a_scope_that_is_cancelled_comes_back_to_be_called_at_once() {
    for above in [false, true] {
        let (mut world, host) = host(false);
        let outer = world.enter(host, PLAIN);
        let inner = world.enter(host, PLAIN);
        world.cancel(if above { outer } else { inner });
        world.watch(inner, 1);
        assert_eq!(world.called, [1]);
        assert!(!world.unwatch(inner, 1));
        world.step(host);
        let flight = if above { Flight::Nothing } else { Flight::Cancelled };
        world.exit(host, inner, flight);
        world.exit(host, outer, if above { Flight::Cancelled } else { Flight::Nothing });
        finish(world, host);
    }
}

#[test]
fn r12b_a_shield_holds_a_watch_back_until_it_falls() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let shield = world.enter(host, SHIELD);
    let inner = world.enter(host, PLAIN);
    world.watch(inner, 1);
    world.watch(shield, 2);
    world.cancel(outer);
    assert_eq!(world.called, []);
    world.change(|tree, now, out| tree.set_shield(shield, false, now, out));
    assert_eq!(world.called, [2, 1]);
    for scope in [inner, shield] {
        world.exit(host, scope, Flight::Nothing);
    }
    world.step(host);
    world.exit(host, outer, Flight::Cancelled);
    finish(world, host);
}

#[test]
fn r12b_a_watch_moves_with_the_child_that_has_entered_its_scope() {
    let (mut world, host) = host(false);
    let to = world.open(host, PLAIN, false);
    let from = world.open(host, PLAIN, false);
    let child = world.start(from, false).unwrap();
    let scope = world.enter(child, cleaning(1.0));
    world.watch(scope, 1);
    let there = world.tree.scope(to);
    world.move_child(child, to).unwrap();
    world.body_ended(from, Outcome::Done);
    world.close(host, from, false);
    assert_eq!(world.called, []);
    world.cancel(there);
    assert_eq!(world.called, [1]);
    world.step(child);
    world.exit(child, scope, Flight::Cancelled);
    world.end(child, Outcome::Cancelled);
    world.step(host);
    world.body_ended(to, Outcome::Cancelled);
    world.close(host, to, false);
    finish(world, host);
}

#[test]
fn r12b_a_watch_is_not_called_when_its_scope_is_left_or_it_was_taken_out() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let inner = world.enter(host, PLAIN);
    for watch in 1..5 {
        world.watch(inner, watch);
    }
    world.watch(outer, 5);
    assert!(world.unwatch(inner, 2));
    assert!(!world.unwatch(inner, 2), "it is gone");
    assert!(!world.unwatch(inner, 5), "it is another scope's");
    assert!(world.unwatch(inner, 4));
    world.exit(host, inner, Flight::Nothing);
    assert_eq!((&world.called[..], &world.let_go[..]), (&[][..], &[1, 3][..]));
    assert!(!world.unwatch(inner, 1), "the scope is gone");
    let next = world.enter(host, PLAIN);
    world.cancel(next);
    assert_eq!(world.called, [], "a scope in the same place has no watch of the one before");
    world.step(host);
    world.exit(host, next, Flight::Cancelled);
    world.cancel(outer);
    assert_eq!(world.called, [5]);
    world.step(host);
    world.exit(host, outer, Flight::Cancelled);
    finish(world, host);
}

#[test]
fn what_the_core_gives_is_shown_without_a_text_of_the_faces_values() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, SHIELD);
    let view = format!("{:?}", world.tree.view(scope));
    assert!(view.contains("shield: true") && view.contains("is_cancelled: false"), "{view}");
    let mut out = Effects::default();
    let cause = Cause { source: Source::Explicit, reason: None };
    world.tree.cancel(scope, cause, 0.0, &mut out);
    let shown = format!("{out:?}");
    assert_eq!(shown, "Effects { deliveries: 1, reasons: 0, errors: 0, events: [] }");
    let tree = format!("{:?}", world.tree);
    assert!(tree.contains("cancelled: 1"), "{tree}");
}
