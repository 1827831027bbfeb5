//! What catches a cancellation, what is told of it, what counts it, and what a host that goes by force
//! leaves behind.

use nursery_core::{Flight, NurseryId, Outcome, Settings, Source, Verdict};

use crate::world::{Oops, PLAIN, SHIELD, Thrown, World, finish, host, until};

#[test]
fn r13_the_inner_of_two_cancelled_scopes_leaves_it_to_the_outer_one() {
    for foreign in [false, true] {
        for outer_first in [false, true] {
            let (mut world, host) = host(foreign);
            let outer = world.enter(host, PLAIN);
            let inner = world.enter(host, PLAIN);
            let order = if outer_first { [outer, inner] } else { [inner, outer] };
            for scope in order {
                world.cancel(scope);
            }
            world.step(host);
            let exit = world.exit(host, inner, Flight::Cancelled);
            assert!(!exit.caught, "cancelled_caught, as in trio: the outermost catches");
            assert!(!world.pending(host), "it is not told twice");
            assert!(world.exit(host, outer, Flight::Cancelled).caught);
            assert_eq!(world.tasks[host].requests.asked(), 0, "R14");
            finish(world, host);
        }
    }
}

#[test]
fn r13_an_inner_scope_is_caught_before_the_outer_one_is_cancelled() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let inner = world.enter(host, PLAIN);
    world.cancel(inner);
    world.step(host);
    assert!(world.exit(host, inner, Flight::Cancelled).caught);
    world.cancel(outer);
    assert!(world.suspended(host), "a new cancellation is told anew");
    world.step(host);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r13_an_outer_cancellation_that_comes_while_the_inner_one_is_left_quietly_is_not_lost() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let outer = world.enter(host, PLAIN);
        let inner = world.enter(host, PLAIN);
        world.cancel(inner);
        world.step(host);
        world.cancel(outer);
        // The body stays with what it heard: it was for the inner scope.
        assert!(!world.exit(host, inner, Flight::Nothing).caught);
        assert!(world.suspended(host), "the outer one has still to be told");
        world.step(host);
        assert!(world.exit(host, outer, Flight::Cancelled).caught);
        finish(world, host);
    }
}

#[test]
fn r13_a_block_that_fails_on_its_own_is_not_caught() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, PLAIN);
    world.cancel(scope);
    world.step(host);
    assert!(!world.exit(host, scope, Flight::Error).caught);
    assert!(!world.pending(host));
    finish(world, host);
}

#[test]
fn r13_an_error_that_overtakes_an_outer_scope_is_told_again() {
    for (foreign, replaced) in [(false, false), (true, false), (false, true)] {
        let (mut world, host) = host(foreign);
        let outer = world.enter(host, PLAIN);
        let nursery = world.open(host, PLAIN, false);
        let child = world.start(nursery, false).unwrap();
        world.cancel(outer);
        world.step(host);
        assert!(!world.body_ended(nursery, Outcome::Cancelled));
        assert_eq!(world.end(child, Outcome::Failed(Oops(1))), Some(nursery));
        let close = world.close(host, nursery, false);
        assert_eq!(close.verdict, Verdict::Errors(vec![Oops(1)]));
        assert!(!close.cancelled && close.overtaken == 0 && !close.exit.caught);
        assert!(world.suspended(host), "the outer cancellation has not been honoured");
        if replaced {
            // The program has raised another error in its place.
            world.tree.error_was_replaced(outer);
        }
        // The error goes on and leaves the outer scope: that is the end of its cancellation.
        let caught = world.exit(host, outer, Flight::Error).caught;
        assert_eq!(caught, !replaced, "cancelled_caught, as in trio");
        assert!(!world.pending(host));
        finish(world, host);
    }
}

/// A host whose inner nursery an error leaves, which has overtaken the cancellation of the outer one.
fn overtaken_inside(error: Outcome<Oops>) -> (World, usize, NurseryId, usize) {
    let (mut world, host) = host(false);
    let outer = world.open(host, PLAIN, false);
    let other = world.start(outer, false).unwrap();
    let inner = world.open(host, PLAIN, false);
    let child = world.start(inner, false).unwrap();
    let scope = world.tree.scope(outer);
    world.cancel(scope);
    world.step(host);
    world.step(child);
    assert!(!world.body_ended(inner, error));
    assert_eq!(world.end(child, Outcome::Cancelled), Some(inner));
    assert!(!world.close(host, inner, false).exit.caught);
    (world, host, outer, other)
}

#[test]
fn r13_an_error_that_was_handled_inside_carries_no_cancellation_out_of_the_outer_nursery() {
    for handled in [false, true] {
        let (mut world, host, outer, other) = overtaken_inside(Outcome::Failed(Oops(1)));
        let body = if handled { Outcome::Done } else { Outcome::Failed(Oops(1)) };
        assert!(!world.body_ended(outer, body));
        assert_eq!(world.end(other, Outcome::Failed(Oops(2))), Some(outer));
        assert_eq!(world.close(host, outer, false).exit.caught, !handled);
        finish(world, host);
    }
}

#[test]
fn r13_what_leaves_bare_carries_no_cancellation_and_takes_none_from_an_error_on_its_way() {
    let (mut world, host, outer, other) = overtaken_inside(Outcome::Bare(Oops(1)));
    world.body_ended(outer, Outcome::Failed(Oops(3)));
    assert_eq!(world.end(other, Outcome::Done), Some(outer));
    assert!(!world.close(host, outer, false).exit.caught);
    finish(world, host);

    // A scope that is entered and left while the error is on its way says nothing about it.
    let (mut world, host, outer, other) = overtaken_inside(Outcome::Failed(Oops(1)));
    let cleanup = world.enter(host, PLAIN);
    assert!(!world.exit(host, cleanup, Flight::Nothing).caught);
    world.body_ended(outer, Outcome::Failed(Oops(1)));
    assert_eq!(world.end(other, Outcome::Done), Some(outer));
    assert!(world.close(host, outer, false).exit.caught);
    finish(world, host);
}

#[test]
fn r13_an_error_that_overtakes_a_cancellation_of_the_host_rearms_it() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let nursery = world.open(host, PLAIN, false);
        let child = world.start(nursery, false).unwrap();
        world.ask(host, true);
        assert!(world.step(host).outside);
        world.body_ended(nursery, Outcome::Cancelled);
        world.end(child, Outcome::Failed(Oops(1)));
        let close = world.close(host, nursery, false);
        assert!(close.overtaken == 1 && !close.cancelled);
        assert_eq!(world.tasks[host].requests.asked(), 1, "R14: it counts once");
        assert_eq!(world.step(host), Thrown { outside: true, scope: false });
        finish(world, host);
    }
}

#[test]
fn r13_an_abrupt_nursery_left_by_an_error_rearms_a_host_that_has_heard() {
    const ABRUPT: Settings = Settings { abrupt: true, ..PLAIN };
    for (settings, outcome, overtaken) in [
        (ABRUPT, Outcome::Failed(Oops(1)), 1),
        (ABRUPT, Outcome::Bare(Oops(1)), 0),
        (ABRUPT, Outcome::Done, 0),
        (PLAIN, Outcome::Failed(Oops(1)), 0),
    ] {
        let (mut world, host) = host(false);
        let nursery = world.open(host, settings, false);
        world.ask(host, true);
        assert!(world.step(host).outside);
        // The body has caught it.
        world.body_ended(nursery, outcome);
        assert_eq!(world.close(host, nursery, false).overtaken, overtaken);
        assert_eq!(world.tasks[host].requests.asked(), 1, "R14: it counts once");
        assert_eq!(world.step(host), Thrown { outside: overtaken > 0, scope: false });
        finish(world, host);
    }
}

#[test]
fn r13_what_was_overtaken_once_is_not_caught_by_a_later_scope() {
    let (mut world, root) = host(false);
    let around = world.open(root, PLAIN, false);
    let host = world.start(around, false).unwrap();
    let outer = world.enter(host, PLAIN);
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    world.cancel(outer);
    world.step(host);
    world.body_ended(nursery, Outcome::Cancelled);
    world.end(child, Outcome::Failed(Oops(1)));
    world.close(host, nursery, false);
    // The program handles the error and leaves without another await.
    assert!(!world.exit(host, outer, Flight::Nothing).caught);
    let later = world.enter(host, PLAIN);
    world.cancel(later);
    assert!(!world.exit(host, later, Flight::Error).caught, "it has swallowed nothing");
    world.audit();
    world.end(host, Outcome::Done);
    assert!(world.body_ended(around, Outcome::Done));
    world.close(root, around, false);
    finish(world, root);
}

#[test]
fn r12_a_cancellation_between_two_scopes_reaches_a_task_that_stands_deeper() {
    // Wherever below it the host stands: in the scope itself, or one deeper.
    for deeper in [false, true] {
        let (mut world, host) = host(false);
        let outer = world.enter(host, PLAIN);
        let middle = world.enter(host, PLAIN);
        let inner = deeper.then(|| world.enter(host, PLAIN));
        world.cancel(outer);
        world.step(host);
        world.cancel(middle);
        assert!(world.pending(host), "it was told of the outer one only");
        world.step(host);
        for scope in inner.into_iter().chain([middle]) {
            assert!(!world.exit(host, scope, Flight::Cancelled).caught);
        }
        assert!(world.exit(host, outer, Flight::Cancelled).caught);
        finish(world, host);
    }
}

#[test]
fn r14_a_foreign_task_counts_by_itself_and_the_scope_takes_back_what_it_was_charged() {
    let (mut world, host) = host(true);
    let outer = world.enter(host, PLAIN);
    let inner = world.enter(host, PLAIN);
    world.cancel(outer);
    assert_eq!(world.tasks[host].requests.asked(), 0, "nothing is counted before it is thrown");
    world.step(host);
    assert_eq!(world.tasks[host].requests.asked(), 1, "one throw counts once");
    world.audit();
    assert_eq!(world.exit(host, inner, Flight::Cancelled).take_back, 0);
    let exit = world.exit(host, outer, Flight::Cancelled);
    assert_eq!((exit.caught, exit.take_back), (true, 1));
    finish(world, host);
}

#[test]
fn r14_a_foreign_task_that_was_not_told_owes_nothing() {
    let (mut world, host) = host(true);
    let scope = world.enter(host, PLAIN);
    world.cancel(scope);
    let exit = world.exit(host, scope, Flight::Nothing);
    assert_eq!((exit.caught, exit.take_back), (false, 0));
    assert!(!world.pending(host));
    finish(world, host);
}

#[test]
fn r11_a_task_hears_of_the_outermost_scope_that_it_can_see() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let shield = world.enter(host, SHIELD);
    let inner = world.enter(host, PLAIN);
    let catcher = |world: &World| world.tree.catcher(world.tasks[host].member).map(|it| it.0);
    world.cancel(outer);
    assert_eq!(catcher(&world), None);
    world.cancel(inner);
    assert_eq!(catcher(&world), Some(inner));
    world.cancel(shield);
    assert_eq!(catcher(&world), Some(shield));
    assert_eq!(world.tree.cause(inner).unwrap().reason, Some("asked"));
    for scope in [inner, shield, outer] {
        world.exit(host, scope, Flight::Nothing);
    }
    finish(world, host);
}

#[test]
fn r11_the_first_cause_stays() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, until(1.0));
    assert!(world.cancel(scope));
    assert!(!world.cancel(scope));
    assert_eq!(world.advance(2.0), 0, "its deadline has nothing more to say");
    assert_eq!(world.tree.cause(scope).unwrap().source, Source::Explicit);
    world.exit(host, scope, Flight::Nothing);
    finish(world, host);
}

#[test]
fn r14_a_nursery_that_its_host_leaves_by_force_says_what_the_host_is_owed() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    world.cancel(world.tree.scope(nursery));
    world.body_ended(nursery, Outcome::Cancelled);
    world.disown(host, nursery);
    world.audit();
    assert!(!world.pending(host), "R13: the code after the block meets nothing");
    assert_eq!(world.tree.host(nursery), None);
    assert_eq!(world.end(child, Outcome::Failed(Oops(1))), Some(nursery));
    assert_eq!(world.discard(nursery), Verdict::Errors(vec![Oops(1)]));
    world.exit(host, outer, Flight::Nothing);
    finish(world, host);
}

#[test]
fn r13_a_nursery_left_by_force_does_not_lose_an_outer_cancellation() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let nursery = world.open(host, SHIELD, false);
    let child = world.start(nursery, false).unwrap();
    world.cancel(outer);
    assert!(!world.pending(host));
    world.body_ended(nursery, Outcome::Done);
    world.disown(host, nursery);
    assert!(world.suspended(host), "the shield is behind it");
    world.step(host);
    assert_eq!(world.end(child, Outcome::Done), Some(nursery));
    world.discard(nursery);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r3_a_task_that_ends_inside_scopes_leaves_them_to_their_owner() {
    let (mut world, root) = host(false);
    let nursery = world.open(root, PLAIN, false);
    let child = world.start(nursery, true).unwrap();
    let scope = world.enter(child, until(4.0));
    let inner = world.open(child, PLAIN, false);
    let grandchild = world.start(inner, false).unwrap();
    assert_eq!(world.end(child, Outcome::Done), None);
    assert!(world.tree.is_abandoned(scope));
    assert_eq!(world.tree.host(inner), None);
    assert_eq!(world.end(grandchild, Outcome::Done), None, "the body has not ended");
    assert!(world.body_ended(inner, Outcome::Done));
    world.discard(inner);
    assert!(!world.remove(child, scope));
    assert!(world.body_ended(nursery, Outcome::Done));
    world.close(root, nursery, false);
    finish(world, root);
}
