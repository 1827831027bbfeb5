//! By what a block is left (R13a), and what it takes out of a group of errors (R13).

use nursery_core::{Cleanup, Flight, Inbox, NurseryId, Outcome, ScopeId, Thrown, Verdict, Waited};

use crate::world::{Oops, PLAIN, SHIELD, World, cleaning, finish, host};

/// A scope, a nursery in it, and two children of that, of which one is to end as it may.
struct Block {
    world: World,
    host: usize,
    outer: ScopeId,
    nursery: NurseryId,
    child: usize,
    other: usize,
}

fn block(foreign: bool) -> Block {
    let (mut world, host) = host(foreign);
    let outer = world.enter(host, cleaning(0.0));
    let nursery = world.open(host, PLAIN, false);
    let [child, other] = [(); 2].map(|()| world.start(nursery, false).unwrap());
    Block { world, host, outer, nursery, child, other }
}

impl Block {
    /// The scope outside is cancelled while the host joins; both children hear of it.
    fn hear(&mut self) {
        assert!(!self.world.body_ended(self.nursery, Outcome::Done));
        self.world.cancel(self.outer);
        self.world.step(self.child);
        self.world.step(self.other);
    }

    /// The nursery is left; whether by a cancellation.
    fn close(&mut self) -> (Verdict<Oops>, bool) {
        let close = self.world.close(self.host, self.nursery, false);
        assert!(!close.exit.caught && close.overtaken == 0);
        (close.verdict, close.cancelled)
    }

    fn leave(mut self, flight: Flight, caught: bool) {
        assert_eq!(self.world.exit(self.host, self.outer, flight).caught, caught);
        assert_eq!(self.world.tasks[self.host].requests.asked(), 0, "R14");
        assert!(!self.world.pending(self.host));
        finish(self.world, self.host);
    }
}

#[test]
fn r13a_a_child_that_ended_by_what_it_heard_makes_the_block_leave_by_it() {
    for foreign in [false, true] {
        let mut block = block(foreign);
        block.hear();
        block.world.end(block.child, Outcome::Done);
        block.world.end(block.other, Outcome::Cancelled);
        assert_eq!(block.close(), (Verdict::Clean, true));
        assert!(!block.world.pending(block.host), "the one in flight stands for it");
        block.leave(Flight::Cancelled, true);
    }
}

#[test]
fn r13a_children_that_swallowed_it_let_the_block_end_and_it_acts_at_the_next_await() {
    for foreign in [false, true] {
        let mut block = block(foreign);
        block.hear();
        block.world.end(block.child, Outcome::Done);
        block.world.end(block.other, Outcome::Done);
        assert_eq!(block.close(), (Verdict::Clean, false));
        assert!(block.world.suspended(block.host), "its host has not heard");
        block.world.step(block.host);
        block.leave(Flight::Cancelled, true);
    }
}

#[test]
fn r13a_a_child_that_was_cancelled_by_hand_does_not_count() {
    // Before the scope was, or though it was.
    for late in [false, true] {
        let mut block = block(false);
        let shielded = block.world.start(block.nursery, true).unwrap();
        if !late {
            block.world.ask(block.child, true);
            assert!(block.world.step(block.child).outside);
            block.world.end(block.child, Outcome::Cancelled);
        }
        assert!(!block.world.body_ended(block.nursery, Outcome::Done));
        block.world.cancel(block.outer);
        block.world.step(block.other);
        if late {
            // It has not taken the step that would have told it.
            block.world.end(block.child, Outcome::Cancelled);
        }
        block.world.end(block.other, Outcome::Done);
        block.world.ask(shielded, true);
        block.world.end(shielded, Outcome::Cancelled);
        assert_eq!(block.close(), (Verdict::Clean, false));
        assert!(block.world.pending(block.host));
        block.leave(Flight::Nothing, false);
    }
}

#[test]
fn r13a_one_that_heard_of_the_nursery_counts_for_what_is_cancelled_outside_by_then() {
    let mut block = block(false);
    let scope = block.world.tree.scope(block.nursery);
    block.world.cancel(scope);
    block.world.step(block.child);
    block.world.end(block.child, Outcome::Cancelled);
    assert!(!block.world.body_ended(block.nursery, Outcome::Done));
    block.world.cancel(block.outer);
    block.world.end(block.other, Outcome::Done);
    assert_eq!(block.close(), (Verdict::Clean, true), "whichever it had heard");
    block.leave(Flight::Cancelled, true);
}

#[test]
fn r13a_what_is_cancelled_outside_a_shield_does_not_count() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let nursery = world.open(host, SHIELD, false);
    let child = world.start(nursery, false).unwrap();
    let scope = world.tree.scope(nursery);
    world.cancel(scope);
    world.cancel(outer);
    world.step(child);
    world.body_ended(nursery, Outcome::Done);
    world.end(child, Outcome::Cancelled);
    let close = world.close(host, nursery, false);
    assert!(close.exit.caught && !close.cancelled, "it was its own");
    assert!(world.pending(host), "what it kept out acts at the next await");
    world.step(host);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r13a_errors_go_first_and_the_cancellation_acts_at_the_next_await_whatever_the_budget() {
    for foreign in [false, true] {
        let mut block = block(foreign);
        let patient = Cleanup::Never;
        let outer = block.outer;
        block.world.change(|tree, now, out| tree.set_cleanup(outer, patient, now, out));
        block.world.cancel(outer);
        for task in [block.child, block.other, block.host] {
            block.world.step(task);
        }
        block.world.body_ended(block.nursery, Outcome::Cancelled);
        block.world.end(block.child, Outcome::Failed(Oops(1)));
        block.world.end(block.other, Outcome::Cancelled);
        assert_eq!(block.close(), (Verdict::Errors(vec![Oops(1)]), false));
        assert!(block.world.pending(block.host), "though its host has heard");
        block.world.step(block.host);
        assert!(!block.world.suspended(block.host), "once");
        block.leave(Flight::Cancelled, true);
    }
}

#[test]
fn r13a_a_child_that_heard_counts_though_an_error_overtook_the_cancellation_in_it() {
    let mut block = block(false);
    block.world.begin(block.child);
    let inner = block.world.open(block.child, PLAIN, false);
    let failing = block.world.start(inner, false).unwrap();
    block.world.body_ended(block.nursery, Outcome::Done);
    block.world.cancel(block.outer);
    block.world.step(block.child);
    block.world.body_ended(inner, Outcome::Cancelled);
    block.world.end(failing, Outcome::Failed(Oops(1)));
    let close = block.world.close(block.child, inner, false);
    assert_eq!(close.verdict, Verdict::Errors(vec![Oops(1)]));
    assert!(block.world.pending(block.child), "the error took the place of the cancellation");
    // It handles the error, and lets a cancellation pass that it had caught before.
    block.world.end(block.child, Outcome::Cancelled);
    block.world.end(block.other, Outcome::Done);
    assert_eq!(block.close(), (Verdict::Clean, true));
    block.leave(Flight::Cancelled, true);
}

#[test]
fn r13a_a_shield_that_is_raised_meanwhile_keeps_out_what_has_ended_the_body_or_a_child() {
    for foreign in [false, true] {
        for late in [false, true] {
            for body in [false, true] {
                let mut block = block(foreign);
                let scope = block.world.tree.scope(block.nursery);
                let one = if body { block.host } else { block.child };
                block.world.cancel(block.outer);
                if !late {
                    block.world.step(one);
                }
                block.world.change(|tree, now, out| tree.set_shield(scope, true, now, out));
                if late {
                    let member = block.world.tasks[one].member;
                    let (mut inbox, waited) = (Inbox::default(), Waited::Cancelled);
                    inbox.begin_quietly();
                    inbox.cut();
                    let thrown = block.world.tree.begin_step(member, &mut inbox, waited);
                    assert!(matches!(thrown, Thrown::Scoped(_)), "its wait had ended for that");
                }
                let ended = if body { Outcome::Cancelled } else { Outcome::Done };
                block.world.body_ended(block.nursery, ended);
                let ended = if body { Outcome::Done } else { Outcome::Cancelled };
                block.world.end(block.child, ended);
                block.world.end(block.other, Outcome::Done);
                let close = block.world.close(block.host, block.nursery, false);
                assert!(!close.cancelled, "no unshielded scope outside is cancelled");
                assert_eq!(close.exit.caught, body, "it was swallowed here");
                block.leave(Flight::Nothing, false);
            }
        }
    }
}

#[test]
fn r13a_what_a_host_heard_of_before_it_entered_does_not_end_a_body_in_a_shield() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    world.cancel(outer);
    world.step(host);
    let nursery = world.open(host, SHIELD, false);
    // What it awaits has been cancelled by others (R16).
    world.body_ended(nursery, Outcome::Cancelled);
    let close = world.close(host, nursery, false);
    assert!(close.cancelled && !close.exit.caught);
    world.exit(host, outer, Flight::Cancelled);
    finish(world, host);
}

#[test]
fn r13a_a_group_with_a_cancellation_is_an_error_and_the_cancellation_acts_at_the_next_await() {
    for foreign in [false, true] {
        for body in [false, true] {
            let mut block = block(foreign);
            block.world.cancel(block.outer);
            for task in [block.child, block.other, block.host] {
                block.world.step(task);
            }
            let group = |it| if it { Outcome::Group(Oops(1)) } else { Outcome::Done };
            block.world.body_ended(block.nursery, group(body));
            block.world.end(block.child, group(!body));
            block.world.end(block.other, Outcome::Done);
            assert_eq!(block.close(), (Verdict::Errors(vec![Oops(1)]), false));
            assert!(block.world.pending(block.host), "though its host has heard");
            block.world.step(block.host);
            block.leave(Flight::Cancelled, true);
        }
    }
}

#[test]
fn r13_a_nursery_catches_its_own_cancellation_that_a_child_brings_in_a_group() {
    let mut block = block(false);
    block.world.body_ended(block.nursery, Outcome::Done);
    let scope = block.world.tree.scope(block.nursery);
    block.world.cancel(scope);
    block.world.step(block.child);
    block.world.end(block.child, Outcome::Group(Oops(1)));
    block.world.end(block.other, Outcome::Done);
    let close = block.world.close(block.host, block.nursery, false);
    assert_eq!(close.verdict, Verdict::Errors(vec![Oops(1)]));
    assert!(close.exit.caught && close.exit.absorbs);
    block.leave(Flight::Error, false);
}

#[test]
fn r16_a_nursery_that_was_cancelled_has_caught_nothing_of_what_ended_by_hand() {
    let mut block = block(false);
    block.world.body_ended(block.nursery, Outcome::Done);
    let scope = block.world.tree.scope(block.nursery);
    block.world.end(block.child, Outcome::Cancelled);
    block.world.cancel(scope);
    block.world.end(block.other, Outcome::Cancelled);
    let close = block.world.close(block.host, block.nursery, false);
    assert!(!close.exit.caught, "neither had heard of it");
    block.leave(Flight::Nothing, false);
}

#[test]
fn r13_a_group_is_rid_of_a_cancellation_by_the_scope_that_caused_it() {
    for foreign in [false, true] {
        for outer_too in [false, true] {
            let (mut world, host) = host(foreign);
            let outer = world.enter(host, PLAIN);
            let inner = world.enter(host, PLAIN);
            if outer_too {
                world.cancel(outer);
            }
            world.cancel(inner);
            world.step(host);
            let exit = world.exit(host, inner, Flight::Group);
            assert_eq!((exit.caught, exit.absorbs), (!outer_too, !outer_too));
            world.audit();
            let asked = world.tasks[host].requests.asked();
            assert_eq!(asked, u32::from(outer_too), "R14: the outer one is still to be honoured");
            assert!(!world.pending(host), "the one in the group stands for it");
            let flight = if outer_too { Flight::Group } else { Flight::Error };
            let exit = world.exit(host, outer, flight);
            assert_eq!((exit.caught, exit.absorbs), (outer_too, outer_too));
            assert_eq!(world.tasks[host].requests.asked(), 0, "R14");
            finish(world, host);
        }
    }
}

#[test]
fn r13_a_group_keeps_a_cancellation_that_came_from_outside() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let scope = world.enter(host, PLAIN);
        world.cancel(scope);
        world.step(host);
        world.ask(host, true);
        assert!(world.step(host).outside);
        let exit = world.exit(host, scope, Flight::Group);
        assert!(!exit.caught && !exit.absorbs, "the two cannot be told apart");
        assert_eq!(world.tasks[host].requests.asked(), 1, "R14: what was asked for");
        finish(world, host);
    }
}

#[test]
fn r13_a_scope_that_was_not_cancelled_takes_nothing_out_of_a_group() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, PLAIN);
    let exit = world.exit(host, scope, Flight::Group);
    assert!(!exit.caught && !exit.absorbs);
    finish(world, host);
}
