//! Children that change their nursery (R24): what reaches them before and after, what moves with
//! them, and what waits for them.

use nursery_core::{Cleanup, Flight, NurseryId, Outcome, Phase, ScopeId, Stays, Verdict};

use crate::world::{Oops, PLAIN, World, cleaning, finish};

/// A caller in a nursery of its own, and another nursery that is to have its child.
struct Call {
    world: World,
    caller: usize,
    around: ScopeId,
    from: NurseryId,
    owner: usize,
    outer: ScopeId,
    to: NurseryId,
}

fn call() -> Call {
    let mut world = World::new();
    let [caller, owner] = [(); 2].map(|()| world.enroll(false));
    let around = world.enter(caller, PLAIN);
    let from = world.open(caller, PLAIN, false);
    let outer = world.enter(owner, PLAIN);
    let to = world.open(owner, PLAIN, false);
    Call { world, caller, around, from, owner, outer, to }
}

impl Call {
    /// Both hosts go; nothing stays behind.
    fn finish(mut self) {
        if self.world.tree.phase(self.from) == Phase::Open {
            assert!(self.world.body_ended(self.from, Outcome::Done));
        }
        self.world.close(self.caller, self.from, false);
        self.world.exit(self.caller, self.around, Flight::Nothing);
        if self.world.tree.phase(self.to) == Phase::Open {
            assert!(self.world.body_ended(self.to, Outcome::Done));
        }
        self.world.close(self.owner, self.to, false);
        self.world.exit(self.owner, self.outer, Flight::Nothing);
        self.world.withdraw(self.caller);
        finish(self.world, self.owner);
    }
}

#[test]
fn r24_before_it_moves_a_child_is_the_callers_and_afterwards_the_nurserys() {
    for shield in [false, true] {
        let Call { mut world, caller, around, from, owner, outer, to } = call();
        let child = world.start(from, shield).unwrap();
        world.cancel(outer);
        assert!(!world.cancelled(child), "the nursery's cancellation does not reach it yet");
        assert_eq!(world.tree.host_of(world.tasks[child].member), Some(&caller));
        assert_eq!(world.move_child(child, to), Some(None), "the caller's nursery is open");
        assert_eq!(world.tree.host_of(world.tasks[child].member), Some(&owner));
        assert_eq!(world.pending(child), !shield, "its own shield moves with it");
        world.cancel(around);
        let children: Vec<_> = world.tree.children(to).copied().collect();
        assert_eq!((world.tree.running(from), children), (0, vec![child]));
        if !shield {
            world.step(child);
        }
        world.end(child, Outcome::Failed(Oops(1)));
        assert_eq!(world.tree.cause(world.tree.scope(from)), None, "R6: it is not the caller's");
        assert!(world.body_ended(to, Outcome::Done));
        let verdict = world.close(owner, to, false).verdict;
        assert_eq!(verdict, Verdict::Errors(vec![Oops(1)]));
        world.exit(owner, outer, Flight::Error);
        world.withdraw(owner);
        world.body_ended(from, Outcome::Done);
        world.close(caller, from, false);
        world.exit(caller, around, Flight::Nothing);
        finish(world, caller);
    }
}

#[test]
fn r24_a_child_stays_with_a_caller_that_a_cancellation_reaches() {
    for outside in [false, true] {
        let mut call = call();
        let Call { world, around, from, to, .. } = &mut call;
        let child = world.start(*from, false).unwrap();
        let member = world.tasks[child].member;
        world.cancel(if outside { *around } else { world.tree.scope(*from) });
        let moved = world.change(|tree, now, out| tree.move_child(member, *to, now, out));
        assert_eq!(moved, Err(Stays::Cancelled));
        assert_eq!((world.tree.running(*from), world.tree.running(*to)), (1, 0));
        world.step(child);
        world.end(child, Outcome::Cancelled);
        call.finish();
    }
}

#[test]
fn r24_a_child_stays_with_the_caller_if_it_waits_for_the_nursery() {
    // It leaves a nursery in its host's place: the one that it is to be a child of, or one around that.
    for around_it in [false, true] {
        let mut call = call();
        let Call { world, owner, from, to, .. } = &mut call;
        let child = world.start(*from, false).unwrap();
        let member = world.tasks[child].member;
        let host = world.start(*to, false).unwrap();
        let inner = world.open(host, PLAIN, false);
        world.disown(*owner, *to);
        world.body_ended(*to, Outcome::Done);
        world.tree.set_joiner(*to, Some(child), Some(member));
        let goal = if around_it { inner } else { *to };
        let moved = world.change(|tree, now, out| tree.move_child(member, goal, now, out));
        assert_eq!(moved, Err(Stays::Waits));
        assert!(!world.tree.is_awaited(member, *to), "it would wait for itself");
        world.body_ended(inner, Outcome::Done);
        world.close(host, inner, false);
        assert_eq!(world.end(host, Outcome::Done), Some(*to));
        world.discard(*to);
        world.end(child, Outcome::Done);
    }
}

#[test]
fn r24_what_a_child_has_entered_moves_with_it() {
    for shield in [false, true] {
        let mut call = call();
        let Call { world, around, from, outer, to, .. } = &mut call;
        let child = world.start(*from, shield).unwrap();
        let scope = world.enter(child, PLAIN);
        let inner = world.open(child, PLAIN, false);
        let grandchild = world.start(inner, false).unwrap();
        world.move_child(child, *to).unwrap();
        world.cancel(*around);
        assert!(!world.cancelled(child) && !world.cancelled(grandchild));
        world.cancel(*outer);
        assert_eq!(world.pending(child), !shield);
        assert_eq!(world.pending(grandchild), !shield);
        world.cancel(scope);
        assert!(world.pending(child) && world.pending(grandchild));
        world.step(grandchild);
        world.step(child);
        world.end(grandchild, Outcome::Cancelled);
        assert!(world.body_ended(inner, Outcome::Cancelled));
        assert!(world.close(child, inner, false).cancelled);
        assert_eq!(world.exit(child, scope, Flight::Cancelled).caught, shield);
        world.end(child, Outcome::Cancelled);
        call.finish();
    }
}

#[test]
fn r24_a_budget_that_runs_goes_on_running_and_that_of_the_nursery_begins_with_the_move() {
    let mut call = call();
    let Call { world, from, owner, outer, to, .. } = &mut call;
    let child = world.start(*from, false).unwrap();
    let scope = world.enter(child, cleaning(9.0));
    world.cancel(scope);
    world.step(child);
    let given = world.tree.scope(*to);
    world.change(|tree, now, out| {
        tree.set_cleanup(given, Cleanup::Limited(4.0), now, out);
    });
    world.cancel(*outer);
    world.cancel(given);
    world.step(*owner);
    world.advance(6.0);
    assert!(!world.pending(child));
    world.move_child(child, *to).unwrap();
    assert!(world.pending(child), "it hears of the nursery's cancellation now");
    world.step(child);
    assert!(!world.suspended(child), "for which it has four seconds from now");
    world.advance(8.0);
    assert!(!world.suspended(child));
    world.advance(9.0);
    assert!(world.pending(child), "its own was over at nine, as before");
    world.step(child);
    world.exit(child, scope, Flight::Cancelled);
    assert!(!world.suspended(child), "that one is gone");
    world.advance(10.0);
    assert!(world.pending(child), "and the nursery's is over four seconds after the move");
    world.step(child);
    world.end(child, Outcome::Cancelled);
    call.finish();
}

#[test]
fn r24_a_child_that_moves_directly_has_its_time_from_the_move_too() {
    let mut call = call();
    let Call { world, from, owner, to, .. } = &mut call;
    let child = world.start(*from, false).unwrap();
    world.begin(child);
    let scope = world.tree.scope(*to);
    world.change(|tree, now, out| {
        tree.set_cleanup(scope, Cleanup::Limited(4.0), now, out);
    });
    world.cancel(scope);
    world.step(*owner);
    world.advance(6.0);
    world.move_child(child, *to).unwrap();
    world.step(child);
    assert!(!world.suspended(child));
    world.advance(9.9);
    assert!(!world.pending(child));
    world.advance(10.0);
    assert!(world.pending(child));
    world.step(child);
    world.end(child, Outcome::Cancelled);
    call.finish();
}

#[test]
fn r24_the_callers_nursery_closes_by_the_move_of_its_last_child() {
    let mut call = call();
    let Call { world, from, to, .. } = &mut call;
    let [first, last] = [(); 2].map(|()| world.start(*from, false).unwrap());
    assert!(!world.body_ended(*from, Outcome::Done));
    assert_eq!(world.move_child(first, *to), Some(None));
    assert_eq!(world.move_child(last, *to), Some(Some(*from)));
    for child in [first, last] {
        assert_eq!(world.end(child, Outcome::Done), None);
    }
    call.finish();
}

#[test]
fn r2_a_closed_nursery_takes_no_child_of_another_and_leaves_it_where_it_is() {
    let mut call = call();
    let Call { world, from, outer, to, .. } = &mut call;
    let child = world.start(*from, false).unwrap();
    assert!(world.body_ended(*to, Outcome::Done));
    assert_eq!(world.move_child(child, *to), None);
    world.cancel(*outer);
    assert!(!world.cancelled(child));
    assert_eq!(world.tree.running(*from), 1);
    world.end(child, Outcome::Done);
    call.finish();
}

#[test]
fn r24_what_is_reserved_keeps_a_nursery_joining() {
    let mut call = call();
    let Call { world, from, to, .. } = &mut call;
    assert_eq!(world.tree.reserve(*to, None), Ok(true));
    assert_eq!(world.tree.reserve(*to, None), Ok(true));
    assert!(!world.body_ended(*to, Outcome::Done), "two are still to come");
    assert_eq!(world.tree.phase(*to), Phase::Joining);
    let child = world.start(*from, false).unwrap();
    assert_eq!(world.move_child(child, *to), Some(None));
    assert_eq!(world.change(|tree, now, out| tree.unreserve(*to, now, out)), None);
    assert_eq!(world.end(child, Outcome::Done), None, "one is still to come");
    let closed = world.change(|tree, now, out| tree.unreserve(*to, now, out));
    assert_eq!(closed, Some(*to));
    assert!(world.tree.reserve(*to, None).is_err(), "R2");
    call.finish();
}

#[test]
fn r24_a_child_that_fails_before_its_move_fails_in_the_caller_alone() {
    let mut call = call();
    let Call { world, from, to, .. } = &mut call;
    assert_eq!(world.tree.reserve(*to, None), Ok(true));
    let child = world.start(*from, false).unwrap();
    assert_eq!(world.end(child, Outcome::Failed(Oops(1))), None);
    assert_eq!(world.change(|tree, now, out| tree.unreserve(*to, now, out)), None, "its body runs");
    assert_eq!(world.tree.cause(world.tree.scope(*to)), None, "R24: it fails in the caller");
    let Call { mut world, caller, around, from, owner, outer, to } = call;
    world.body_ended(from, Outcome::Done);
    let verdict = world.close(caller, from, false).verdict;
    assert_eq!(verdict, Verdict::Errors(vec![Oops(1)]));
    world.exit(caller, around, Flight::Error);
    world.withdraw(caller);
    world.body_ended(to, Outcome::Done);
    world.close(owner, to, false);
    world.exit(owner, outer, Flight::Nothing);
    finish(world, owner);
}

#[test]
fn r24_a_child_that_has_moved_has_another_parent_and_its_moment() {
    let mut call = call();
    let world = &mut call.world;
    let child = world.start(call.from, false).unwrap();
    let member = world.tasks[child].member;
    let [caller, owner] = [call.caller, call.owner].map(|task| world.tasks[task].member);
    let since = |world: &World, host| world.tree.entered(host)[0];
    assert_eq!(world.tree.parent(member), Some((&call.caller, since(world, caller))));
    assert_eq!(world.tree.parent(caller), None, "it is no child");
    world.move_child(child, call.to).unwrap();
    let world = &call.world;
    assert_eq!(world.tree.parent(member), Some((&call.owner, since(world, owner))));
    assert!(since(world, caller) < since(world, owner), "it was entered later");
    assert_eq!(world.tree.moment(), since(world, owner), "the last one");
    assert_eq!(world.tree.entered(member), [], "it has entered none");
    call.world.end(child, Outcome::Done);
    call.finish();
}
