//! Scopes by name: deadlines, shields, budgets for cleaning up, who catches what, who counts.

use nursery_core::{Alarm, Cause, Flight, Outcome, Settings, Source, Verdict};

use crate::world::{Oops, Thrown, World};

const PLAIN: Settings = Settings { deadline: f64::INFINITY, shield: false, cleanup: None };
const SHIELD: Settings = Settings { shield: true, ..PLAIN };

fn until(deadline: f64) -> Settings {
    Settings { deadline, ..PLAIN }
}

fn cleaning(seconds: f64) -> Settings {
    Settings { cleanup: Some(seconds), ..PLAIN }
}

fn host(foreign: bool) -> (World, usize) {
    let mut world = World::new();
    let host = world.enroll(foreign);
    (world, host)
}

/// The host leaves its last scope and the tree; nothing stays behind.
fn finish(mut world: World, host: usize) {
    world.audit();
    world.withdraw(host);
    world.assert_empty();
}

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
    world.change(|tree, _, out| tree.set_shield(c, false, out));
    assert_eq!(deadline(&world), 3.0);
    world.cancel(b);
    assert_eq!(deadline(&world), f64::NEG_INFINITY);
    world.change(|tree, _, out| tree.set_shield(c, true, out));
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
    world.change(|tree, _, out| tree.set_shield(inner, true, out));
    assert!(!world.pending(host) && !world.suspended(host) && !world.cancelled(host));
    world.change(|tree, _, out| tree.set_shield(inner, false, out));
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
    world.change(|tree, _, out| tree.set_shield(scope, false, out));
    assert!(world.pending(host) && world.pending(open));
    assert!(!world.pending(shielded), "it has a shield of its own");
    let late = world.start(nursery, false).unwrap();
    assert!(world.pending(late), "R17");
    for child in [open, shielded, late] {
        world.end(child, Outcome::Done);
    }
    world.step(host);
    assert!(world.body_ended(nursery, Outcome::Cancelled));
    assert!(world.close(host, nursery, false, false).cancelled);
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
    assert!(world.close(host, nursery, false, false).cancelled);
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
    world.change(|tree, now, out| tree.set_cleanup(scope, Some(2.0), now, out));
    assert_eq!(world.tree.next_alarm(), Some(2.0));
    world.change(|tree, now, out| tree.set_cleanup(scope, None, now, out));
    assert_eq!(world.tree.next_alarm(), None);
    assert_eq!(world.advance(3.0), 0);
    world.change(|tree, now, out| tree.set_cleanup(scope, Some(1.0), now, out));
    assert_eq!(world.advance(3.0), 1, "it is spent already");
    assert!(world.pending(host));
    world.step(host);
    world.change(|tree, now, out| tree.set_cleanup(scope, Some(0.0), now, out));
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
    world.change(|tree, now, out| tree.set_cleanup(outer, Some(2.0), now, out));
    assert_eq!(world.tree.next_alarm(), Some(2.0));
    assert_eq!(world.advance(2.0), 1);
    assert!(world.suspended(host));
    world.step(host);
    world.change(|tree, now, out| tree.set_cleanup(outer, None, now, out));
    assert!(!world.suspended(host), "and time again");
    world.change(|tree, now, out| tree.set_cleanup(outer, Some(0.0), now, out));
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
    world.end(child, Outcome::Cancelled);
    world.end(shielded, Outcome::Done);
    assert!(world.body_ended(nursery, Outcome::Done));
    assert!(world.close(host, nursery, false, false).exit.caught);
    finish(world, host);
}

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
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let outer = world.enter(host, PLAIN);
        let nursery = world.open(host, PLAIN, false);
        let child = world.start(nursery, false).unwrap();
        world.cancel(outer);
        world.step(host);
        assert!(!world.body_ended(nursery, Outcome::Cancelled));
        assert_eq!(world.end(child, Outcome::Failed(Oops(1))), Some(nursery));
        let close = world.close(host, nursery, false, true);
        assert_eq!(close.verdict, Verdict::Errors(vec![Oops(1)]));
        assert!(!close.cancelled && !close.rearm && !close.exit.caught);
        assert!(world.suspended(host), "the outer cancellation has not been honoured");
        // The error goes on and leaves the outer scope: that is the end of its cancellation.
        assert!(world.exit(host, outer, Flight::Error).caught, "cancelled_caught, as in trio");
        assert!(!world.pending(host));
        finish(world, host);
    }
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
        let close = world.close(host, nursery, false, true);
        assert!(close.rearm && !close.cancelled);
        assert_eq!(world.tasks[host].requests.asked(), 1, "R14: it counts once");
        assert_eq!(world.step(host), Thrown { outside: true, scope: false });
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
    world.close(host, nursery, false, true);
    // The program handles the error and leaves without another await.
    assert!(!world.exit(host, outer, Flight::Nothing).caught);
    let later = world.enter(host, PLAIN);
    world.cancel(later);
    assert!(!world.exit(host, later, Flight::Error).caught, "it has swallowed nothing");
    world.audit();
    world.end(host, Outcome::Done);
    assert!(world.body_ended(around, Outcome::Done));
    world.close(root, around, false, false);
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
    let owed = world.tree.detach(nursery);
    world.take_back(host, owed);
    world.audit();
    assert!(!world.pending(host), "R13: the code after the block meets nothing");
    assert_eq!(world.tree.host(nursery), None);
    assert_eq!(world.end(child, Outcome::Failed(Oops(1))), Some(nursery));
    assert_eq!(world.tree.discard(nursery), Verdict::Errors(vec![Oops(1)]));
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
    let owed = world.tree.detach(nursery);
    world.take_back(host, owed);
    assert!(world.suspended(host), "the shield is behind it");
    world.step(host);
    assert_eq!(world.end(child, Outcome::Done), Some(nursery));
    world.tree.discard(nursery);
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
    world.tree.discard(inner);
    assert_eq!(world.tree.forget(scope), None);
    assert!(world.body_ended(nursery, Outcome::Done));
    world.close(root, nursery, false, false);
    finish(world, root);
}
