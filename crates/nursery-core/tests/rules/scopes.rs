//! Scopes by name: deadlines, shields, budgets for cleaning up.

use nursery_core::{Alarm, Cause, Cleanup, Flight, Outcome, Settings, Source};

use crate::world::{PLAIN, SHIELD, Thrown, World, cleaning, finish, host, until};

const FROM_SCOPE: Thrown = Thrown { outside: false, scope: true };

#[test]
fn r21_a_deadline_cancels_at_its_moment_and_is_caught() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, until(2.0));
    assert_eq!(world.tree.next_alarm(), Some(2.0));
    assert_eq!(world.advance(1.9), 0);
    assert!(!world.cancelled(host));
    assert_eq!(world.advance(2.0), 1);
    assert!(world.suspended(host));
    assert_eq!(world.step(host), FROM_SCOPE);
    let exit = world.exit(host, scope, Flight::Cancelled);
    assert!(exit.caught);
    assert_eq!(exit.cause, Some(Cause { source: Source::Deadline, reason: None }));
    finish(world, host);
}

#[test]
fn r21_a_deadline_that_did_not_pass_leaves_no_timer() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, until(2.0));
    let exit = world.exit(host, scope, Flight::Nothing);
    assert_eq!((exit.caught, exit.cause), (false, None));
    finish(world, host);
}

#[test]
fn r21_a_deadline_in_the_past_acts_at_the_first_await() {
    for past in [0.0, -1.0, f64::NEG_INFINITY] {
        let (mut world, host) = host(false);
        let scope = world.enter(host, until(past));
        assert!(world.cancelled(host));
        assert!(world.suspended(host), "its first await is cancelled");
        world.step(host);
        assert!(world.exit(host, scope, Flight::Cancelled).caught);
        finish(world, host);
    }
}

#[test]
fn r21_a_block_without_an_await_ends_well_though_its_deadline_has_passed() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, until(0.0));
    let exit = world.exit(host, scope, Flight::Nothing);
    assert!(!exit.caught);
    assert!(!world.pending(host), "R13: the code after the block meets nothing");
    finish(world, host);
}

#[test]
fn r21_a_deadline_can_be_moved_at_any_time() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, until(1.0));
    world.change(|tree, now, out| tree.set_deadline(scope, 5.0, now, out));
    assert_eq!(world.advance(4.0), 0);
    world.change(|tree, now, out| tree.set_deadline(scope, f64::INFINITY, now, out));
    assert_eq!(world.advance(6.0), 0);
    assert_eq!(world.tree.next_alarm(), None);
    world.change(|tree, now, out| tree.set_deadline(scope, 6.0, now, out));
    assert!(world.cancelled(host), "a moment that has come acts at once");
    // A cancellation is not taken back by moving the deadline.
    world.change(|tree, now, out| tree.set_deadline(scope, 9.0, now, out));
    assert!(world.cancelled(host));
    assert_eq!(world.tree.settings(scope).deadline, 9.0);
    assert_eq!(world.tree.next_alarm(), None);
    world.step(host);
    assert!(world.exit(host, scope, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r21_a_cancellation_that_was_already_there_is_not_turned_into_a_timeout() {
    // cpython#134471: it waits for the first await, and so does the deadline.
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        world.ask(host, false);
        let scope = world.enter(host, until(0.0));
        assert!(world.step(host).any());
        let exit = world.exit(host, scope, Flight::Cancelled);
        assert!(!exit.caught, "it comes from outside and goes on");
        assert_eq!(world.tasks[host].requests.asked(), 1);
        finish(world, host);
    }
}

#[test]
fn r21_the_outer_deadline_that_passes_in_the_same_tick_catches() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, until(1.0));
    let inner = world.enter(host, until(1.0));
    assert_eq!(world.advance(1.0), 2);
    world.step(host);
    assert_eq!(world.tree.catcher(world.tasks[host].member).map(|found| found.0), Some(outer));
    assert!(!world.exit(host, inner, Flight::Cancelled).caught);
    assert!(!world.pending(host), "R18: the one in flight stands for both");
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r21_the_effective_deadline_is_the_earliest_up_to_a_shield() {
    let (mut world, host) = host(false);
    let deadline = |world: &World| world.tree.effective_deadline(world.tasks[host].member);
    assert_eq!(deadline(&world), f64::INFINITY);
    let a = world.enter(host, until(3.0));
    let b = world.enter(host, until(5.0));
    assert_eq!(deadline(&world), 3.0);
    let c = world.enter(host, Settings { shield: true, ..until(7.0) });
    assert_eq!(deadline(&world), 7.0);
    world.change(|tree, now, out| tree.set_shield(c, false, now, out));
    assert_eq!(deadline(&world), 3.0);
    world.cancel(b);
    assert_eq!(deadline(&world), f64::NEG_INFINITY);
    world.change(|tree, now, out| tree.set_shield(c, true, now, out));
    assert_eq!(deadline(&world), 7.0);
    for scope in [c, b, a] {
        world.exit(host, scope, Flight::Nothing);
    }
    finish(world, host);
}

#[test]
fn r19_a_shield_keeps_out_what_comes_from_outside_and_nothing_else() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let shield = world.enter(host, SHIELD);
    world.cancel(outer);
    assert!(!world.cancelled(host) && !world.suspended(host));
    world.cancel(shield);
    assert!(world.cancelled(host));
    world.step(host);
    assert!(world.exit(host, shield, Flight::Cancelled).caught);
    assert!(world.pending(host), "what it kept out comes when it is left");
    world.step(host);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r19_a_shield_that_is_raised_late_takes_back_what_was_not_thrown_yet() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let inner = world.enter(host, PLAIN);
    world.cancel(outer);
    assert!(world.pending(host));
    world.change(|tree, now, out| tree.set_shield(inner, true, now, out));
    assert!(!world.pending(host) && !world.suspended(host) && !world.cancelled(host));
    world.change(|tree, now, out| tree.set_shield(inner, false, now, out));
    assert!(world.pending(host), "lowered again, it comes");
    world.step(host);
    world.exit(host, inner, Flight::Cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r19_a_shield_in_a_cancelled_scope_lets_the_cleanup_await() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(0.0));
    world.cancel(outer);
    world.step(host);
    assert!(world.suspended(host), "without a shield every await is cancelled");
    let shield = world.enter(host, SHIELD);
    assert!(!world.suspended(host));
    let inner = world.enter(host, PLAIN);
    assert!(!world.suspended(host));
    world.exit(host, inner, Flight::Nothing);
    world.exit(host, shield, Flight::Nothing);
    assert!(world.suspended(host));
    world.step(host);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r19_a_lowered_shield_reaches_all_below_in_one_moment() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let nursery = world.open(host, SHIELD, false);
    let open = world.start(nursery, false).unwrap();
    let shielded = world.start(nursery, true).unwrap();
    world.cancel(outer);
    assert!(!world.cancelled(host) && !world.cancelled(open));
    let scope = world.tree.scope(nursery);
    world.change(|tree, now, out| tree.set_shield(scope, false, now, out));
    assert!(world.pending(host) && world.pending(open));
    assert!(!world.pending(shielded), "it has a shield of its own");
    let late = world.start(nursery, false).unwrap();
    assert!(world.pending(late), "R17");
    for child in [open, shielded, late] {
        world.end(child, Outcome::Done);
    }
    world.step(host);
    assert!(world.body_ended(nursery, Outcome::Cancelled));
    assert!(world.close(host, nursery, false).cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r20_a_bare_cancellation_waits_for_the_end_of_the_shield() {
    let (mut world, host) = host(false);
    let shield = world.enter(host, SHIELD);
    world.ask(host, false);
    assert!(!world.would_throw(host));
    assert!(!world.exit(host, shield, Flight::Nothing).caught);
    assert_eq!(world.step(host), Thrown { outside: true, scope: false });
    finish(world, host);
}

#[test]
fn r18_without_a_budget_a_cancellation_is_delivered_once() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, PLAIN);
    world.cancel(scope);
    assert!(world.suspended(host));
    world.step(host);
    world.now = 1e9;
    assert!(!world.suspended(host), "cleaning up may await freely");
    assert_eq!(world.tree.next_alarm(), None, "and nothing polls");
    assert!(world.exit(host, scope, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_a_budget_of_zero_cancels_every_await() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, cleaning(0.0));
    world.cancel(scope);
    for _ in 0..3 {
        assert!(world.suspended(host));
        assert_eq!(world.step(host), FROM_SCOPE);
        world.audit();
    }
    assert!(world.exit(host, scope, Flight::Cancelled).caught);
    assert!(!world.suspended(host));
    finish(world, host);
}

#[test]
fn r18_a_budget_lets_cleanup_await_until_it_is_spent() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let scope = world.enter(host, cleaning(3.0));
        world.now = 1.0;
        world.cancel(scope);
        world.step(host);
        assert!(!world.suspended(host));
        assert_eq!(world.tree.next_alarm(), Some(4.0), "one timer, no polling");
        assert_eq!(world.advance(3.9), 0);
        assert_eq!(world.advance(4.0), 1);
        assert!(world.pending(host), "what it waits for is cancelled when the budget is spent");
        world.step(host);
        assert!(world.suspended(host), "and every await after that");
        world.step(host);
        assert!(world.exit(host, scope, Flight::Cancelled).caught);
        assert_eq!(world.tasks[host].requests.asked(), 0, "R14");
        finish(world, host);
    }
}

#[test]
fn r18_a_budget_is_inherited_and_the_strictest_one_that_cancels_wins() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(1.0));
    let inner = world.enter(host, PLAIN);
    let own = world.enter(host, cleaning(9.0));
    world.cancel(inner);
    world.step(host);
    assert_eq!(world.tree.next_alarm(), Some(1.0), "the inner one has the outer one's budget");
    world.cancel(own);
    world.step(host);
    assert_eq!(world.tree.next_alarm(), Some(1.0));
    assert_eq!(world.advance(1.0), 1);
    assert!(world.suspended(host));
    world.step(host);
    // Only what is cancelled counts: `own` alone would still have time.
    for scope in [own, inner] {
        world.exit(host, scope, Flight::Cancelled);
    }
    assert!(!world.cancelled(host));
    world.exit(host, outer, Flight::Nothing);
    finish(world, host);
}

#[test]
fn r18_a_stricter_budget_above_counts_only_once_it_cancels() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(0.0));
    let inner = world.enter(host, cleaning(5.0));
    world.cancel(inner);
    world.step(host);
    assert!(!world.suspended(host));
    world.cancel(outer);
    assert!(world.suspended(host), "the outer one cancels and gives no time");
    world.step(host);
    assert!(!world.exit(host, inner, Flight::Cancelled).caught);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_a_budget_reaches_the_children_of_a_nursery() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(2.0));
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    let shielded = world.start(nursery, true).unwrap();
    world.cancel(outer);
    world.step(child);
    world.step(host);
    assert!(!world.suspended(child));
    world.advance(2.0);
    assert!(world.pending(child) && world.pending(host) && !world.pending(shielded));
    world.step(child);
    assert!(world.suspended(child) && !world.suspended(shielded));
    let late = world.start(nursery, false).unwrap();
    world.step(late);
    assert!(world.suspended(late), "one that starts late has no budget of its own");
    for child in [child, shielded, late] {
        world.end(child, Outcome::Cancelled);
    }
    world.step(host);
    assert!(world.body_ended(nursery, Outcome::Cancelled));
    assert!(world.close(host, nursery, false).cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_what_a_spent_budget_says_is_not_unsaid_by_a_cancellation_nearer_by() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(0.0));
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    world.cancel(outer);
    world.step(child);
    world.step(host);
    assert!(world.suspended(child), "the child awaits again, and is to be cancelled again");
    // Meanwhile its host leaves the body, and cancels the nursery itself by that.
    assert!(!world.body_ended(nursery, Outcome::Cancelled));
    assert_eq!(world.step(child), FROM_SCOPE);
    assert!(world.end(child, Outcome::Cancelled).is_some());
    assert!(world.close(host, nursery, false).cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_a_task_that_waits_again_and_again_is_let_wait_in_the_end() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let scope = world.enter(host, cleaning(0.0));
        world.cancel(scope);
        let mut times = 0;
        while world.suspended(host) {
            world.step(host);
            times += 1;
            assert!(times < 1000, "a task that catches every cancellation polls");
        }
        assert!(times >= 100, "it is cancelled often enough to end any cleanup: {times}");
        let inner = world.enter(host, PLAIN);
        assert!(world.suspended(host), "somewhere else it is cancelled again");
        world.step(host);
        world.exit(host, inner, Flight::Cancelled);
        assert!(world.exit(host, scope, Flight::Cancelled).caught);
        finish(world, host);
    }
}

#[test]
fn r12_a_cancellation_farther_out_reaches_a_task_that_cleans_up_after_a_nearer_one() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let outer = world.enter(host, until(5.0));
        let inner = world.enter(host, until(1.0));
        world.advance(1.0);
        world.step(host);
        assert!(!world.suspended(host), "it cleans up, and hangs");
        world.advance(5.0);
        assert!(world.pending(host), "the deadline farther out ends that");
        world.step(host);
        assert!(!world.suspended(host), "of which it is told once as well");
        assert!(!world.exit(host, inner, Flight::Cancelled).caught);
        assert!(world.exit(host, outer, Flight::Cancelled).caught);
        assert_eq!(world.tasks[host].requests.asked(), 0, "R14");
        finish(world, host);
    }
}

#[test]
fn r12_a_child_that_cleans_up_is_not_told_of_what_lies_above_its_nursery_again() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    let scope = world.tree.scope(nursery);
    world.cancel(scope);
    world.step(child);
    world.step(host);
    world.cancel(outer);
    assert!(!world.suspended(child), "as a TaskGroup's tasks, it was told to go");
    assert!(world.suspended(host), "its host has entered both");
    world.step(host);
    world.end(child, Outcome::Cancelled);
    assert!(world.body_ended(nursery, Outcome::Cancelled));
    assert!(world.close(host, nursery, false).cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_a_budget_can_be_changed_while_a_cancelled_task_cleans_up() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, PLAIN);
    world.cancel(scope);
    world.step(host);
    assert!(!world.suspended(host));
    world.change(|tree, now, out| tree.set_cleanup(scope, Cleanup::Limited(2.0), now, out));
    assert_eq!(world.tree.next_alarm(), Some(2.0));
    world.change(|tree, now, out| tree.set_cleanup(scope, Cleanup::Inherited, now, out));
    assert_eq!(world.tree.next_alarm(), None);
    assert_eq!(world.advance(3.0), 0);
    world.change(|tree, now, out| tree.set_cleanup(scope, Cleanup::Limited(1.0), now, out));
    assert_eq!(world.advance(3.0), 1, "it is spent already");
    assert!(world.pending(host));
    world.step(host);
    world.change(|tree, now, out| tree.set_cleanup(scope, Cleanup::Limited(0.0), now, out));
    assert!(world.pending(host));
    world.step(host);
    assert!(world.exit(host, scope, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r18_a_budget_that_changes_above_changes_for_those_that_inherit_it() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let inner = world.enter(host, PLAIN);
    world.cancel(inner);
    world.step(host);
    assert!(!world.suspended(host));
    world.change(|tree, now, out| tree.set_cleanup(outer, Cleanup::Limited(2.0), now, out));
    assert_eq!(world.tree.next_alarm(), Some(2.0));
    assert_eq!(world.advance(2.0), 1);
    assert!(world.suspended(host));
    world.step(host);
    world.change(|tree, now, out| tree.set_cleanup(outer, Cleanup::Inherited, now, out));
    assert!(!world.suspended(host), "and time again");
    world.change(|tree, now, out| tree.set_cleanup(outer, Cleanup::Limited(0.0), now, out));
    assert!(world.pending(host), "and none");
    world.step(host);
    assert!(world.exit(host, inner, Flight::Cancelled).caught);
    world.exit(host, outer, Flight::Nothing);
    finish(world, host);
}

#[test]
fn r18_a_cancelled_scope_that_still_has_tasks_warns_and_names_them() {
    let (mut world, host) = host(false);
    world.tree.warn_after = 10.0;
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    let shielded = world.start(nursery, true).unwrap();
    let scope = world.tree.scope(nursery);
    world.cancel(scope);
    world.now = 10.0;
    let alarm = world.change(|tree, now, out| tree.advance(now, out));
    assert_eq!(alarm, Some(Alarm::Warning(scope)));
    assert_eq!(world.tree.reached(scope), [host, child], "not the shielded one");
    world.step(child);
    world.end(child, Outcome::Cancelled);
    world.end(shielded, Outcome::Done);
    assert!(world.body_ended(nursery, Outcome::Done));
    assert!(world.close(host, nursery, false).exit.caught);
    finish(world, host);
}

#[test]
fn r11_a_scope_that_was_cancelled_after_one_above_says_why_that_was() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, until(2.0));
    let inner = world.enter(host, PLAIN);
    let source = |world: &World, scope| world.tree.first_cause(scope).map(|cause| cause.source);
    assert_eq!(source(&world, inner), None);
    world.advance(2.0);
    world.cancel(inner);
    assert_eq!(source(&world, inner), Some(Source::Deadline));
    world.exit(host, inner, Flight::Cancelled);
    world.exit(host, outer, Flight::Cancelled);

    let outer = world.enter(host, PLAIN);
    let shield = world.enter(host, SHIELD);
    let inner = world.enter(host, until(4.0));
    world.cancel(outer);
    assert_eq!(source(&world, inner), None, "a shield stands between");
    world.advance(4.0);
    assert_eq!(source(&world, inner), Some(Source::Deadline));
    world.exit(host, inner, Flight::Cancelled);
    world.exit(host, shield, Flight::Nothing);
    world.exit(host, outer, Flight::Cancelled);
    finish(world, host);
}

#[test]
fn r20_a_porous_shield_lets_a_bare_cancellation_in_and_keeps_scopes_out() {
    for porous in [false, true] {
        let (mut world, host) = host(false);
        let outer = world.enter(host, PLAIN);
        let shield = world.enter(host, SHIELD);
        if porous {
            world.tree.be_porous(shield);
        }
        world.cancel(outer);
        assert!(!world.cancelled(host), "the shield holds against scopes");
        world.ask(host, false);
        assert_eq!(world.step(host).outside, porous);
        let flight = if porous { Flight::Cancelled } else { Flight::Nothing };
        assert!(!world.exit(host, shield, flight).caught);
        assert_eq!(world.step(host).outside, !porous, "what was held back comes with its end");
        world.exit(host, outer, Flight::Cancelled);
        finish(world, host);
    }
}
