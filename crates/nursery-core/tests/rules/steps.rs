//! What a step throws, and what becomes of a foreign task that waits: the tree and the inbox are asked by
//! one question, which notes what is heard by the answer.

use nursery_core::{
    Ask, At, AtWait, Cause, Effects, Inbox, MemberId, ScopeId, Settings, Source, Thrown,
};
use nursery_core::{Flight, Waited};

use crate::world::{PLAIN, SHIELD, World, finish, host};

const ASKED: Cause<&str> = Cause { source: Source::Explicit, reason: Some("asked") };

/// A task in a scope, and its inbox after the first step.
fn block(foreign: bool, settings: Settings) -> (World, usize, ScopeId, MemberId, Inbox) {
    let (mut world, host) = host(foreign);
    let scope = world.enter(host, settings);
    let member = world.tasks[host].member;
    let mut inbox = Inbox::default();
    assert!(!inbox.begin_step(Waited::Nothing));
    (world, host, scope, member, inbox)
}

#[test]
fn r11_a_step_throws_what_a_scope_was_cancelled_for_once() {
    let (mut world, host, scope, member, mut inbox) = block(false, PLAIN);
    world.cancel(scope);
    inbox.tell();
    let thrown = world.tree.begin_step(member, &mut inbox, Waited::Nothing);
    assert_eq!(thrown, Thrown::Scoped(ASKED));
    assert!(!world.pending(host), "it has heard");
    let again = world.tree.begin_step(member, &mut inbox, Waited::Nothing);
    assert_eq!(again, Thrown::Nothing);
    assert!(world.exit(host, scope, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r11_a_delivery_says_what_the_scope_was_cancelled_for_that_will_catch() {
    let (mut world, host, outer, member, _) = block(false, PLAIN);
    let inner = world.enter(host, PLAIN);
    let mut out = Effects::default();
    for (scope, reason) in [(inner, "inner"), (outer, "outer")] {
        let cause = Cause { source: Source::Explicit, reason: Some(reason) };
        world.tree.cancel(scope, cause, 0.0, &mut out);
        let told = out.deliveries.pop().unwrap();
        assert!(told.throw && told.member == member);
        assert_eq!(told.reason, Some(reason));
        assert_eq!(told.reason, world.tree.why(member).reason);
        world.tree.thrown(member);
    }
    world.tasks[host].requests.ask();
    world.tasks[host].requests.ask();
    world.exit(host, inner, Flight::Cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r20_a_task_is_told_that_a_shield_keeps_out_what_waited_to_be_thrown() {
    let (mut world, host, scope, member, mut inbox) = block(false, PLAIN);
    let shield = world.enter(host, PLAIN);
    world.cancel(scope);
    inbox.tell();
    let mut out = Effects::default();
    for raised in [true, false] {
        world.tree.set_shield(shield, raised, 0.0, &mut out);
        let told = out.deliveries.pop().unwrap();
        assert_eq!((told.throw, told.spared), (!raised, raised));
        assert_eq!(world.tree.is_pending(member), !raised);
    }
    inbox.spare();
    assert!(inbox.is_quiet() && !inbox.is_told());
    inbox.tell();
    let thrown = world.tree.begin_step(member, &mut inbox, Waited::Nothing);
    assert_eq!(thrown, Thrown::Scoped(ASKED));
    world.exit(host, shield, Flight::Cancelled);
    assert!(world.exit(host, scope, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r12a_a_step_with_a_result_throws_nothing_and_the_next_one_does() {
    let (mut world, host, scope, member, mut inbox) = block(false, PLAIN);
    world.cancel(scope);
    inbox.tell();
    let thrown = world.tree.begin_step(member, &mut inbox, Waited::Got);
    assert_eq!(thrown, Thrown::Nothing);
    assert!(world.pending(host) && !inbox.is_quiet(), "it waits for the next one");
    let thrown = world.tree.begin_step(member, &mut inbox, Waited::Nothing);
    assert_eq!(thrown, Thrown::Scoped(ASKED));
    assert!(world.exit(host, scope, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r12a_an_abrupt_scope_takes_a_result_from_a_step_and_from_a_foreign_wait() {
    let abrupt = Settings { abrupt: true, ..PLAIN };
    for foreign in [false, true] {
        let (mut world, host, scope, member, mut inbox) = block(foreign, abrupt);
        world.cancel(scope);
        if foreign {
            assert_eq!(world.tree.at_wait(member, true), AtWait::Cancel(ASKED));
            world.tasks[host].requests.ask();
        } else {
            inbox.tell();
            let thrown = world.tree.begin_step(member, &mut inbox, Waited::Got);
            assert_eq!(thrown, Thrown::Scoped(ASKED));
        }
        assert!(world.exit(host, scope, Flight::Cancelled).caught);
        finish(world, host);
    }
}

#[test]
fn r12a_a_foreign_task_goes_on_with_what_it_got_and_is_cancelled_at_its_next_wait() {
    let (mut world, host, scope, member, _) = block(true, PLAIN);
    assert_eq!(world.tree.at_wait(member, false), AtWait::Nothing);
    world.cancel(scope);
    assert_eq!(world.tree.at_wait(member, true), AtWait::GoesOn);
    assert!(world.pending(host), "it has not heard yet");
    assert_eq!(world.tree.at_wait(member, false), AtWait::Cancel(ASKED));
    world.tasks[host].requests.ask();
    assert_eq!(world.tree.at_wait(member, false), AtWait::Nothing, "it is told once");
    assert!(world.exit(host, scope, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r17_a_cancellation_waits_behind_the_first_step() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, PLAIN);
    world.cancel(scope);
    let member = world.tasks[host].member;
    let mut inbox = Inbox::default();
    inbox.tell();
    let thrown = world.tree.begin_step(member, &mut inbox, Waited::Nothing);
    assert_eq!(thrown, Thrown::Held, "its time to clean up begins");
    assert!(world.pending(host));
    let thrown = world.tree.begin_step(member, &mut inbox, Waited::Nothing);
    assert_eq!(thrown, Thrown::Scoped(ASKED));
    assert!(world.exit(host, scope, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r13_a_plain_cancellation_stands_for_a_scopes_that_came_beside_it() {
    let (mut world, host, scope, member, mut inbox) = block(false, PLAIN);
    world.cancel(scope);
    inbox.tell();
    assert_eq!(inbox.ask(At::OwnWait, false, || false), Ask::Cut);
    let thrown = world.tree.begin_step(member, &mut inbox, Waited::Nothing);
    assert_eq!(thrown, Thrown::Plain);
    assert!(!world.pending(host), "it has heard of both");
    world.exit(host, scope, Flight::Cancelled);
    finish(world, host);
}

#[test]
fn r20_a_step_in_a_shield_throws_nothing_that_was_asked_outside() {
    let (mut world, host, scope, member, mut inbox) = block(false, PLAIN);
    // A shield between a task and where it was started holds a bare request back.
    let shield = world.enter(host, SHIELD);
    assert_eq!(inbox.ask(At::OwnWait, true, || false), Ask::Nothing);
    let thrown = world.tree.begin_step(member, &mut inbox, Waited::Nothing);
    assert_eq!(thrown, Thrown::Nothing);
    world.exit(host, shield, Flight::Nothing);
    let thrown = world.tree.begin_step(member, &mut inbox, Waited::Nothing);
    assert_eq!(thrown, Thrown::Plain);
    world.exit(host, scope, Flight::Cancelled);
    finish(world, host);
}
