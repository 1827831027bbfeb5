//! Nurseries that their host does not leave as it must (R3), in every order of what may happen
//! meanwhile, and by name: what that cancels, what joins them, what becomes of their errors.

use nursery_core::{Cause, Cleanup, Flight, NurseryId, Outcome, Phase, ScopeId, Source, Verdict};

use crate::world::{LEFT_BEHIND, Oops, PLAIN, SHIELD, World, cleaning, finish, host};

/// What a verdict holds: what leaves bare, and the errors, sorted.
fn parts(verdict: Verdict<Oops>) -> (Option<usize>, Vec<usize>) {
    let (bare, errors) = match verdict {
        Verdict::Clean => (None, Vec::new()),
        Verdict::Errors(errors) => (None, errors),
        Verdict::Bare { error, beside } => (Some(error.0), beside),
    };
    let mut errors: Vec<usize> = errors.iter().map(|error| error.0).collect();
    errors.sort_unstable();
    (bare, errors)
}

/// How a block is left that raises this.
fn flight(cancelled: bool, errors: bool) -> Flight {
    match (cancelled, errors) {
        (true, _) => Flight::Cancelled,
        (_, true) => Flight::Error,
        _ => Flight::Nothing,
    }
}

const ENDS: [fn(usize) -> Outcome<Oops>; 3] =
    [|_| Outcome::Done, |error| Outcome::Failed(Oops(error)), |error| Outcome::Bare(Oops(error))];

/// A child that has entered two nurseries, one in the other, and ends without leaving them.
#[derive(Clone, Copy, Debug)]
struct Left {
    shielded: bool,
    /// A shield stands between the two nurseries.
    wall: bool,
    collect: bool,
    /// The two nurseries will not be asked for any more.
    released: bool,
}

#[derive(Clone)]
struct Orphans {
    world: World,
    root: usize,
    outer: ScopeId,
    heir: NurseryId,
    orphans: [NurseryId; 2],
    scopes: [ScopeId; 2],
    /// The child that does not leave, and a child of each orphan.
    tasks: [usize; 3],
    alive: [bool; 3],
    cancelled: bool,
    body_over: bool,
    /// What was raised: what leaves bare, and all else.
    bare: Vec<usize>,
    errors: Vec<usize>,
    bystander: usize,
}

impl Orphans {
    fn new(left: Left) -> Self {
        let mut world = World::new();
        let [root, other] = [(); 2].map(|()| world.enroll(false));
        let beside = world.open(other, PLAIN, false);
        let bystander = world.start(beside, false).unwrap();
        let outer = world.enter(root, PLAIN);
        let heir = world.open(root, PLAIN, left.collect);
        let child = world.start(heir, left.shielded).unwrap();
        let first = world.enter(child, PLAIN);
        let far = world.open(child, PLAIN, false);
        let second = world.enter(child, if left.wall { SHIELD } else { PLAIN });
        let near = world.open(child, PLAIN, false);
        let [a, b] = [far, near].map(|nursery| world.start(nursery, false).unwrap());
        Self {
            world,
            root,
            outer,
            heir,
            orphans: [far, near],
            scopes: [first, second],
            tasks: [child, a, b],
            alive: [true; 3],
            cancelled: false,
            body_over: false,
            bare: Vec::new(),
            errors: Vec::new(),
            bystander,
        }
    }

    fn end(&mut self, which: usize, outcome: Outcome<Oops>, released: bool) {
        match outcome {
            Outcome::Bare(error) => self.bare.push(error.0),
            Outcome::Failed(error) => self.errors.push(error.0),
            _ => {}
        }
        self.alive[which] = false;
        let closed = if which == 0 {
            // The nearer one is adopted before the farther one.
            self.errors.extend([LEFT_BEHIND, LEFT_BEHIND + 1]);
            self.world.end_inside(self.tasks[0], outcome, released)
        } else {
            self.world.end(self.tasks[which], outcome)
        };
        let over = self.body_over && self.alive == [false; 3];
        assert_eq!(closed, over.then_some(self.heir), "R3: the heir joins what was left behind");
    }

    fn check(&self) {
        let Self { world, .. } = self;
        world.audit();
        assert!(!world.cancelled(self.bystander), "R3: nothing else is cancelled");
        for which in [1, 2].into_iter().filter(|which| self.alive[*which] && !self.alive[0]) {
            assert!(world.cancelled(self.tasks[which]), "R3: its children are");
        }
        let kept = world.tree.errors().count();
        assert_eq!(kept, self.errors.len() + self.bare.len(), "R7: no error is lost");
        assert!(world.again.is_empty(), "R7: none was there twice");
    }

    /// Walks every order of what can still happen. Returns how many there were.
    fn walk(self, left: Left) -> u64 {
        self.check();
        let mut orders = 0;
        let mut go = |act: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            act(&mut next);
            orders += next.walk(left);
        };
        for which in (0..3).filter(|which| self.alive[*which]) {
            for (number, how) in ENDS.iter().enumerate() {
                let error = 1 + which * ENDS.len() + number;
                go(&|next| next.end(which, how(error), left.released));
            }
        }
        if !self.cancelled {
            go(&|next| next.cancelled = next.world.cancel(next.outer));
        }
        if !self.body_over {
            go(&|next| {
                next.body_over = true;
                let over = next.world.body_ended(next.heir, Outcome::Done);
                assert_eq!(over, next.alive == [false; 3], "R3");
            });
        }
        if self.body_over && self.alive == [false; 3] {
            self.finish(left);
            orders += 1;
        }
        orders
    }

    fn finish(mut self, left: Left) {
        let close = self.world.close(self.root, self.heir, false);
        let cancelled = close.cancelled;
        assert!(!cancelled, "an error says that they were not left");
        let (bare, errors) = parts(close.verdict);
        let mut expected = [&self.errors[..], &self.bare].concat();
        expected.sort_unstable();
        assert_eq!(bare.is_some(), !self.bare.is_empty(), "R9: what leaves bare still does");
        let all = bare.into_iter().chain(errors);
        let mut all: Vec<usize> = all.collect();
        all.sort_unstable();
        assert_eq!(all, expected, "R7: every error once, and one for each that was not left");
        self.world.exit(self.root, self.outer, flight(cancelled, true));
        for nursery in self.orphans {
            assert_eq!(self.world.tree.has_nursery(nursery), !left.released);
            let told = self.world.joined.iter().filter(|it| **it == nursery).count();
            assert_eq!(told, usize::from(!left.released), "R3: what waits for it is woken once");
            if !left.released {
                assert!(self.world.tree.is_adopted(nursery));
                assert_eq!(self.world.tree.phase(nursery), Phase::Closed);
                assert_eq!(self.world.discard(nursery), Verdict::Clean, "its heir has raised it");
            }
        }
        for scope in self.scopes {
            self.world.remove(self.tasks[0], scope);
        }
        assert_eq!(self.world.tasks[self.root].requests.asked(), 0, "R14");
    }
}

#[test]
fn r3_nurseries_that_a_child_never_left_are_joined_by_its_own_in_every_order() {
    for bits in 0..16 {
        let [shielded, wall, collect, released] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        let left = Left { shielded, wall, collect, released };
        assert!(Orphans::new(left).walk(left) > 1_000, "{left:?}");
    }
}

/// A nursery that is taken from its host while that stands in blocks inside it.
#[derive(Clone)]
struct Disowned {
    world: World,
    host: usize,
    /// Around it, itself, inside it: a scope, a nursery, a scope, a nursery.
    outer: ScopeId,
    nursery: NurseryId,
    inner: ScopeId,
    inside: NurseryId,
    children: [usize; 2],
    alive: [bool; 2],
    gone: bool,
    discarded: bool,
    cancelled: [bool; 2],
    told: bool,
    failed: [bool; 2],
    depth: usize,
}

impl Disowned {
    fn new(foreign: bool, shield: bool) -> Self {
        let (mut world, host) = host(foreign);
        let outer = world.enter(host, PLAIN);
        let nursery = world.open(host, if shield { SHIELD } else { PLAIN }, false);
        let inner = world.enter(host, PLAIN);
        let inside = world.open(host, PLAIN, false);
        let children = [nursery, inside].map(|nursery| world.start(nursery, false).unwrap());
        Self {
            world,
            host,
            outer,
            nursery,
            inner,
            inside,
            children,
            alive: [true; 2],
            gone: false,
            discarded: false,
            cancelled: [false; 2],
            told: false,
            failed: [false; 2],
            depth: 4,
        }
    }

    fn end(&mut self, which: usize, outcome: Outcome<Oops>) {
        self.alive[which] = false;
        self.failed[which] = matches!(outcome, Outcome::Failed(_));
        let closed = self.world.end(self.children[which], outcome);
        if which == 0 {
            assert_eq!(closed.is_some(), self.gone);
            self.discard();
        }
    }

    fn take(&mut self) {
        self.gone = true;
        self.world.disown(self.host, self.nursery);
        // Nothing is cancelled by that alone.
        self.check();
        let closed = self.world.body_ended(self.nursery, Outcome::Done);
        assert_eq!(closed, !self.alive[0]);
        self.discard();
    }

    fn discard(&mut self) {
        if self.gone && !self.alive[0] {
            let expected = if self.failed[0] { vec![1] } else { Vec::new() };
            assert_eq!(parts(self.world.discard(self.nursery)), (None, expected));
            self.discarded = true;
        }
    }

    fn shield(&self) -> bool {
        !self.discarded && self.world.tree.settings(self.world.tree.scope(self.nursery)).shield
    }

    fn check(&self) {
        let Self { world, cancelled: [outer, nursery], .. } = self;
        world.audit();
        let nursery = *nursery || self.failed[0];
        let held = self.shield();
        let below = |inside: bool| (nursery && inside) || (*outer && !(inside && held));
        if self.alive[0] {
            assert_eq!(world.cancelled(self.children[0]), below(true), "its child stays in it");
        }
        let host = below(!self.gone) || (self.depth == 4 && self.failed[1]);
        assert_eq!(world.cancelled(self.host), host, "R3: its host is no longer below it");
        if self.alive[1] {
            assert_eq!(world.cancelled(self.children[1]), host, "nor what its host has entered");
        }
    }

    fn walk(self) -> u64 {
        self.check();
        let mut orders = 0;
        let mut go = |act: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            act(&mut next);
            orders += next.walk();
        };
        for which in (0..2).filter(|which| self.alive[*which]) {
            go(&|next| next.end(which, Outcome::Done));
            go(&|next| next.end(which, Outcome::Failed(Oops(1 + which))));
        }
        if !self.cancelled[0] && self.depth > 0 {
            go(&|next| next.cancelled[0] = next.world.cancel(next.outer));
        }
        if !self.cancelled[1] && !self.failed[0] && !self.discarded {
            go(&|next| {
                let scope = next.world.tree.scope(next.nursery);
                next.cancelled[1] = next.world.cancel(scope);
            });
        }
        if self.world.pending(self.host) && !self.told {
            go(&|next| {
                next.told = true;
                next.world.step(next.host);
            });
        }
        if !self.gone {
            go(&|next| next.take());
        } else if self.depth == 4 && !self.alive[1] {
            go(&Self::leave);
        }
        if self.depth == 0 && self.discarded {
            self.finish();
            orders += 1;
        }
        orders
    }

    /// The host leaves what it still stands in, quietly, whatever it was told.
    fn leave(&mut self) {
        assert!(self.world.body_ended(self.inside, Outcome::Done));
        let close = self.world.close(self.host, self.inside, false);
        assert!(!close.cancelled, "R13a: nothing in it ended as cancelled");
        self.world.exit(self.host, self.inner, flight(false, self.failed[1]));
        self.depth = 1;
        self.check();
        let exit = self.world.exit(self.host, self.outer, flight(false, self.failed[1]));
        assert!(!exit.caught);
        self.depth = 0;
        self.cancelled[0] = false;
        self.check();
    }

    fn finish(mut self) {
        assert_eq!(self.world.tasks[self.host].requests.asked(), 0, "R14");
        assert!(!self.world.pending(self.host), "R13");
        self.world.withdraw(self.host);
        self.world.assert_empty();
    }
}

#[test]
fn r3_a_nursery_taken_from_its_host_concerns_the_host_no_more_in_every_order() {
    for foreign in [false, true] {
        for shield in [false, true] {
            assert!(Disowned::new(foreign, shield).walk() > 1_000);
        }
    }
}

#[test]
fn r3_a_scope_removed_out_of_order_leaves_what_is_inside_it_alone() {
    for foreign in [false, true] {
        let (mut world, host) = host(foreign);
        let scopes = [PLAIN; 3].map(|settings| world.enter(host, settings));
        let nursery = world.open(host, PLAIN, false);
        let child = world.start(nursery, false).unwrap();
        assert!(!world.remove(host, scopes[1]));
        assert!(!world.cancelled(host) && !world.cancelled(child), "nothing is cancelled");
        assert_eq!(world.tree.innermost(world.tasks[host].member), Some(world.tree.scope(nursery)));
        assert!(world.tree.is_innermost(nursery));
        let within = world.enter(host, PLAIN);
        assert!(!world.tree.is_innermost(nursery), "its host has entered another inside it");
        assert!(!world.remove(host, within));
        world.cancel(scopes[0]);
        assert!(world.pending(host) && world.pending(child), "what lies around it still reaches");
        assert!(!world.remove(host, scopes[2]));
        world.step(host);
        world.step(child);
        world.end(child, Outcome::Cancelled);
        assert!(world.body_ended(nursery, Outcome::Cancelled));
        assert!(world.close(host, nursery, false).cancelled);
        assert!(world.exit(host, scopes[0], Flight::Cancelled).caught);
        finish(world, host);
    }
}

#[test]
fn r3_a_cancelled_scope_that_is_removed_takes_its_cancellation_along() {
    for foreign in [false, true] {
        for told in [false, true] {
            let (mut world, host) = host(foreign);
            let outer = world.enter(host, PLAIN);
            let inner = world.enter(host, PLAIN);
            world.cancel(outer);
            if told {
                world.step(host);
            }
            assert!(world.remove(host, outer), "it says that it was cancelled");
            assert!(!world.cancelled(host) && !world.pending(host));
            assert_eq!(world.tasks[host].requests.asked(), 0, "R14");
            assert!(!world.exit(host, inner, Flight::Nothing).caught);
            finish(world, host);
        }
    }
}

#[test]
fn r18_the_removal_of_a_shield_begins_the_time_of_what_was_inside_it() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, cleaning(2.0));
    let shield = world.enter(host, SHIELD);
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    world.cancel(outer);
    world.advance(7.0);
    assert!(!world.cancelled(child));
    world.remove(host, shield);
    for task in [host, child] {
        assert!(world.pending(task), "it hears now");
        world.step(task);
        assert!(!world.suspended(task), "and has its two seconds");
    }
    world.advance(8.9);
    assert!(!world.pending(child));
    world.advance(9.0);
    assert!(world.pending(child) && world.pending(host));
    world.end(child, Outcome::Cancelled);
    world.body_ended(nursery, Outcome::Cancelled);
    assert!(world.close(host, nursery, false).cancelled);
    assert!(world.exit(host, outer, Flight::Cancelled).caught);
    finish(world, host);
}

/// A root, the nursery of it, and a child of that.
fn child() -> (World, usize, NurseryId, usize) {
    let (mut world, root) = host(false);
    let nursery = world.open(root, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    (world, root, nursery, child)
}

#[test]
fn r3_what_a_child_has_not_left_is_named_from_the_inside_out() {
    let (mut world, root, nursery, child) = child();
    let far = world.open(child, PLAIN, false);
    let scope = world.enter(child, PLAIN);
    let near = world.open(child, PLAIN, false);
    assert_eq!(world.tree.unleft(world.tasks[child].member), [near, far]);
    world.body_ended(near, Outcome::Done);
    world.close(child, near, false);
    world.exit(child, scope, Flight::Nothing);
    assert_eq!(world.tree.unleft(world.tasks[child].member), [far]);
    world.body_ended(far, Outcome::Done);
    world.close(child, far, false);
    assert_eq!(world.tree.unleft(world.tasks[child].member), []);
    world.end(child, Outcome::Done);
    world.body_ended(nursery, Outcome::Done);
    world.close(root, nursery, false);
    finish(world, root);
}

#[test]
fn r3_the_join_of_what_was_left_behind_ends_with_its_last_child() {
    let (mut world, root, nursery, child) = child();
    let left = world.open(child, PLAIN, false);
    let shielded = world.start(left, true).unwrap();
    assert_eq!(world.end_inside(child, Outcome::Done, true), None);
    assert!(!world.body_ended(nursery, Outcome::Cancelled), "a shielded child is waited for");
    let late = world.start(left, false).expect("R2: it takes children while it is joined");
    assert!(world.pending(late));
    world.step(late);
    assert_eq!(world.end(late, Outcome::Cancelled), None);
    assert_eq!(world.end(shielded, Outcome::Failed(Oops(1))), Some(nursery));
    let errors = vec![Oops(LEFT_BEHIND), Oops(1)];
    assert_eq!(world.close(root, nursery, false).verdict, Verdict::Errors(errors));
    finish(world, root);
}

#[test]
fn r7_an_error_that_both_have_is_one_error() {
    let (mut world, root, nursery, child) = child();
    let left = world.open(child, PLAIN, false);
    let grandchild = world.start(left, false).unwrap();
    world.end(grandchild, Outcome::Failed(Oops(1)));
    assert_eq!(world.end_inside(child, Outcome::Failed(Oops(1)), true), None);
    assert!(world.body_ended(nursery, Outcome::Done));
    let errors = vec![Oops(LEFT_BEHIND), Oops(1)];
    assert_eq!(world.close(root, nursery, false).verdict, Verdict::Errors(errors));
    assert_eq!(world.again, [Oops(1)], "and is handed back");
    finish(world, root);
}

#[test]
fn r7_what_closes_a_generator_is_an_ordinary_error_for_the_nursery_around_it() {
    let (mut world, root, nursery, child) = child();
    let left = world.open(child, PLAIN, false);
    let grandchild = world.start(left, false).unwrap();
    world.body_ended(left, Outcome::Alone(Oops(1)));
    world.step(grandchild);
    assert_eq!(world.end_inside(child, Outcome::Done, true), None);
    assert_eq!(world.end(grandchild, Outcome::Cancelled), None);
    assert!(world.body_ended(nursery, Outcome::Done));
    let errors = vec![Oops(LEFT_BEHIND), Oops(1)];
    assert_eq!(world.close(root, nursery, false).verdict, Verdict::Errors(errors));
    finish(world, root);
}

#[test]
fn r3_a_nursery_that_has_closed_before_its_host_could_leave_it_holds_up_no_other() {
    for released in [false, true] {
        let (mut world, root, nursery, child) = child();
        let left = world.open(child, PLAIN, false);
        let grandchild = world.start(left, false).unwrap();
        assert!(!world.body_ended(left, Outcome::Done));
        assert_eq!(world.end(grandchild, Outcome::Failed(Oops(1))), Some(left));
        if released {
            world.change(|tree, _, out| tree.release(left, out));
        }
        assert_eq!(world.end_inside(child, Outcome::Done, false), None);
        assert!(world.body_ended(nursery, Outcome::Done), "nothing is left to wait for");
        let errors = vec![Oops(LEFT_BEHIND), Oops(1)];
        assert_eq!(world.close(root, nursery, false).verdict, Verdict::Errors(errors));
        if !released {
            assert_eq!(world.discard(left), Verdict::Clean);
        }
        finish(world, root);
    }
}

#[test]
fn r3_what_was_taken_from_a_child_before_is_not_joined_for_it() {
    let (mut world, root, nursery, child) = child();
    let taken = world.open(child, PLAIN, false);
    let grandchild = world.start(taken, false).unwrap();
    world.disown(child, taken);
    world.change(|tree, now, out| tree.adopt(taken, Oops(9), Some("late"), now, out));
    assert_eq!((&world.again[..], world.reasons), (&[Oops(9)][..], 1), "both are handed back");
    assert_eq!(world.end_inside(child, Outcome::Done, true), None);
    assert!(world.body_ended(nursery, Outcome::Done), "it does not wait for the other");
    assert_eq!(world.close(root, nursery, false).verdict, Verdict::Clean);
    assert!(!world.body_ended(taken, Outcome::Done));
    assert_eq!(world.end(grandchild, Outcome::Done), Some(taken));
    assert_eq!(world.discard(taken), Verdict::Clean);
    finish(world, root);
}

#[test]
fn r12_what_goes_around_an_orphan_does_not_cut_it_off() {
    let (mut world, root, nursery, child) = child();
    let scope = world.enter(child, SHIELD);
    let left = world.open(child, cleaning(50.0), false);
    let grandchild = world.start(left, false).unwrap();
    world.end_inside(child, Outcome::Done, true);
    world.step(grandchild);
    assert!(!world.suspended(grandchild), "it has fifty seconds");
    // Its owner lets go of the scope around it, which was a shield.
    let outer = world.tree.scope(nursery);
    world.change(|tree, now, out| tree.set_cleanup(outer, Cleanup::Limited(1.0), now, out));
    world.advance(3.0);
    world.remove(child, scope);
    assert!(!world.suspended(grandchild), "the nursery that joins it reaches it from now on");
    world.advance(3.9);
    assert!(!world.pending(grandchild));
    world.advance(4.0);
    assert!(world.pending(grandchild), "and gives it one second");
    assert_eq!(world.end(grandchild, Outcome::Cancelled), None);
    assert!(world.body_ended(nursery, Outcome::Done));
    let verdict = world.close(root, nursery, false).verdict;
    assert_eq!(verdict, Verdict::Errors(vec![Oops(LEFT_BEHIND)]));
    finish(world, root);
}

#[test]
fn r3_a_nursery_that_was_freed_is_not_there_even_if_another_takes_its_place() {
    let (mut world, host) = host(false);
    let nursery = world.open(host, PLAIN, false);
    let scope = world.tree.scope(nursery);
    assert!(world.tree.has(scope) && world.tree.has_nursery(nursery));
    world.body_ended(nursery, Outcome::Done);
    world.close(host, nursery, false);
    for _ in 0..3 {
        let other = world.open(host, PLAIN, false);
        assert!(world.tree.has(world.tree.scope(other)) && world.tree.has_nursery(other));
        assert!(!world.tree.has(scope) && !world.tree.has_nursery(nursery));
        world.disown(host, other);
        world.body_ended(other, Outcome::Done);
        world.discard(other);
        let other = world.enter(host, PLAIN);
        assert!(world.tree.has(other) && !world.tree.has(scope));
        world.remove(host, other);
        assert!(!world.tree.has(other));
    }
    finish(world, host);
}

#[test]
fn r3_only_the_joiner_that_was_set_last_waits_for_a_nursery() {
    let (mut world, root, nursery, child) = child();
    assert_eq!(world.tree.joiner(nursery), None);
    world.tree.set_joiner(nursery, Some(root), None);
    world.tree.set_joiner(nursery, Some(child), None);
    assert_eq!(world.tree.joiner(nursery), Some(&child));
    world.tree.set_joiner(nursery, None, None);
    assert_eq!(world.tree.joiner(nursery), None);
    assert!(!world.tree.is_released(nursery));
    world.change(|tree, _, out| tree.release(nursery, out));
    assert!(world.tree.is_released(nursery));
    world.end(child, Outcome::Done);
    world.disown(root, nursery);
    assert!(world.body_ended(nursery, Outcome::Done));
    assert_eq!(world.discard(nursery), Verdict::Clean);
    finish(world, root);
}

#[test]
fn r1_a_child_that_only_has_to_return_ends_as_any_other_does() {
    let (mut world, root, nursery, child) = child();
    let other = world.start(nursery, false).unwrap();
    let returned = |world: &mut World, task: usize| {
        let member = world.tasks[task].member;
        let closed = world.tree.returned(member);
        world.tasks[task].alive &= closed.is_none();
        closed
    };
    assert_eq!(returned(&mut world, other), Some(None), "its body runs");
    let scope = world.enter(child, PLAIN);
    assert_eq!(returned(&mut world, child), None, "what it stands in has a say in that");
    world.exit(child, scope, Flight::Nothing);
    let walled = world.start(nursery, true).unwrap();
    assert_eq!(returned(&mut world, walled), None, "its shield has to go");
    world.end(walled, Outcome::Done);
    assert!(!world.body_ended(nursery, Outcome::Done));
    assert_eq!(returned(&mut world, child), Some(Some(nursery)));
    world.close(root, nursery, false);
    finish(world, root);
}

#[test]
fn r3_a_child_that_returns_in_an_orphan_lets_the_heir_close() {
    let (mut world, root, nursery, child) = child();
    let left = world.open(child, PLAIN, false);
    let grandchild = world.start(left, false).unwrap();
    world.end_inside(child, Outcome::Done, true);
    let member = world.tasks[grandchild].member;
    assert_eq!(world.tree.returned(member), None, "another nursery joins its own");
    assert!(!world.body_ended(nursery, Outcome::Done));
    assert_eq!(world.end(grandchild, Outcome::Done), Some(nursery));
    world.close(root, nursery, false);
    finish(world, root);
}

#[test]
fn r7_what_a_body_raises_after_its_nursery_was_taken_from_it_is_not_lost() {
    for others in [false, true] {
        let (mut world, host) = host(false);
        let nursery = world.open(host, PLAIN, false);
        let child = world.start(nursery, false).unwrap();
        world.disown(host, nursery);
        world.body_ended(nursery, Outcome::Cancelled);
        assert!(world.tree.is_scope_cancelled(nursery));
        let outcome = Outcome::Alone(Oops(1));
        assert!(!world.body_ended(nursery, outcome), "a child runs");
        let ended = if others { Outcome::Failed(Oops(2)) } else { Outcome::Done };
        assert_eq!(world.end(child, ended), Some(nursery));
        let both = Verdict::Errors(vec![Oops(1), Oops(2)]);
        let alone = Verdict::Bare { error: Oops(1), beside: Vec::new() };
        assert_eq!(world.discard(nursery), if others { both } else { alone });
        finish(world, host);
    }
}

#[test]
fn r3_a_nursery_that_is_closed_by_force_cancels_its_children_and_wakes_nothing() {
    for joins in [false, true] {
        let (mut world, host) = host(false);
        let nursery = world.open(host, PLAIN, false);
        let child = world.start(nursery, false).unwrap();
        if joins {
            world.body_ended(nursery, Outcome::Done);
        }
        world.tree.set_joiner(nursery, Some(host), None);
        let cause = Cause { source: Source::Host, reason: Some("closed") };
        let owed = world.change(|tree, now, out| tree.close_by_force(nursery, cause, now, out));
        world.take_back(host, owed);
        assert!(world.cancelled(child) && !world.cancelled(host));
        assert_eq!(world.tree.phase(nursery), Phase::Joining);
        assert_eq!((world.tree.joiner(nursery), world.tree.host(nursery)), (None, None));
        world.step(child);
        assert_eq!(world.end(child, Outcome::Failed(Oops(1))), Some(nursery));
        assert_eq!(world.discard(nursery).into_errors(), [Oops(1)]);
        finish(world, host);
    }
}

#[test]
fn r3_what_another_task_leaves_raises_the_misuse_before_the_rest() {
    let ends = [Outcome::Done, Outcome::Failed(Oops(1)), Outcome::Bare(Oops(1))];
    for (end, strict) in ends.into_iter().flat_map(|end| [(end.clone(), false), (end, true)]) {
        let (mut world, host) = host(false);
        let nursery = world.open(host, PLAIN, false);
        if strict {
            world.tree.be_strict(nursery);
        }
        let child = world.start(nursery, false).unwrap();
        world.disown(host, nursery);
        world.body_ended(nursery, Outcome::Done);
        world.end(child, end.clone());
        let misuse = Some(Oops(9));
        let (verdict, _) = world.change(|tree, now, out| tree.discard(nursery, misuse, now, out));
        let bare = |error, beside| Verdict::Bare { error: Oops(error), beside };
        let expected = match end {
            Outcome::Failed(_) => Verdict::Errors(vec![Oops(9), Oops(1)]),
            Outcome::Bare(_) if strict => Verdict::Errors(vec![Oops(1), Oops(9)]),
            Outcome::Bare(_) => bare(1, vec![Oops(9)]),
            _ if strict => Verdict::Errors(vec![Oops(9)]),
            _ => bare(9, vec![]),
        };
        assert_eq!(verdict, expected);
        finish(world, host);
    }
}

#[test]
fn r3_what_stands_in_a_scope_that_is_left_too_early_is_cancelled() {
    let (mut world, host) = host(false);
    let outer = world.enter(host, PLAIN);
    let shield = world.enter(host, SHIELD);
    let nursery = world.open(host, PLAIN, false);
    let child = world.start(nursery, false).unwrap();
    world.change(|tree, now, out| tree.cancel_inside(outer, Some("early"), now, out));
    assert!(world.tree.cause(outer).is_none(), "the scope itself is not");
    assert_eq!(world.tree.cause(shield).and_then(|cause| cause.reason), Some("early"));
    assert!(world.cancelled(child) && world.cancelled(host));
    world.remove(host, outer);
    world.end(child, Outcome::Cancelled);
    world.body_ended(nursery, Outcome::Cancelled);
    let close = world.close(host, nursery, false);
    assert!(close.cancelled, "it goes on to the scope that was cancelled");
    assert!(world.exit(host, shield, Flight::Cancelled).caught);
    finish(world, host);
}

#[test]
fn r3_a_scope_with_nothing_inside_cancels_nothing() {
    let (mut world, host) = host(false);
    let scope = world.enter(host, PLAIN);
    world.change(|tree, now, out| tree.cancel_inside(scope, Some("early"), now, out));
    assert_eq!(world.reasons, 1, "the reason is handed back");
    assert!(!world.cancelled(host));
    world.exit(host, scope, Flight::Nothing);
    finish(world, host);
}

#[test]
fn r10_what_is_released_goes_with_the_host_that_has_not_left_it() {
    for first in [false, true] {
        let (mut world, host) = host(false);
        let scope = world.enter(host, SHIELD);
        let nursery = world.open(host, PLAIN, false);
        let inner = world.enter(host, PLAIN);
        if first {
            world.tree.release_scope(scope);
            world.change(|tree, _, out| tree.release(nursery, out));
        }
        world.tree.release_scope(inner);
        assert_eq!(world.tree.size(), (3, 1, 1), "its host may leave them still");
        let member = world.tasks[host].member;
        world.tasks[host].alive = false;
        world.change(|tree, _, out| tree.withdraw(member, out));
        if !first {
            assert_eq!(world.tree.size(), (2, 0, 1), "they are still asked for");
            world.change(|tree, _, out| tree.release(nursery, out));
            world.change(|tree, now, out| tree.remove(scope, now, out));
        }
        assert_eq!(world.tree.size(), (0, 0, 0));
    }
}

#[test]
fn r3_what_is_released_and_has_no_host_closes_with_its_last_child() {
    for first in [false, true] {
        let (mut world, host) = host(false);
        let nursery = world.open(host, PLAIN, false);
        let children = [(); 2].map(|()| world.start(nursery, false).unwrap());
        if first {
            world.change(|tree, _, out| tree.release(nursery, out));
        }
        assert_eq!(world.tree.phase(nursery), Phase::Open);
        let member = world.tasks[host].member;
        world.tasks[host].alive = false;
        world.change(|tree, _, out| tree.withdraw(member, out));
        if !first {
            assert_eq!(world.tree.phase(nursery), Phase::Open, "it is still asked for");
            world.change(|tree, _, out| tree.release(nursery, out));
        }
        assert_eq!(world.tree.phase(nursery), Phase::Joining);
        assert_eq!(world.end(children[0], Outcome::Done), None);
        assert_eq!(world.end(children[1], Outcome::Failed(Oops(0))), Some(nursery));
        assert!(world.tree.is_released(nursery), "the face is to discard it");
        assert_eq!(parts(world.discard(nursery)), (None, vec![0]));
        world.assert_empty();
    }
}

#[test]
fn r3_a_nursery_waits_for_what_is_inside_it_by_children_hosts_heirs_and_successors() {
    let (mut world, root, nursery, child) = child();
    let awaited = |world: &World, task: usize, nursery: NurseryId| {
        world.tree.is_awaited(world.tasks[task].member, nursery)
    };
    assert!(awaited(&world, child, nursery) && !awaited(&world, root, nursery));
    let inner = world.open(child, PLAIN, false);
    let grandchild = world.start(inner, false).unwrap();
    assert!(awaited(&world, grandchild, inner) && awaited(&world, grandchild, nursery));
    assert!(!awaited(&world, child, inner), "its host leaves it");

    // A task outside leaves the inner one in its host's place: that no longer waits by the host.
    let other = world.enroll(false);
    let others = world.open(other, PLAIN, false);
    let stranger = world.start(others, false).unwrap();
    world.disown(child, inner);
    let successor = Some(world.tasks[stranger].member);
    world.tree.set_joiner(inner, Some(stranger), successor);
    assert!(!awaited(&world, grandchild, nursery) && awaited(&world, grandchild, others));
    world.tree.set_joiner(inner, None, None);
    assert!(!awaited(&world, grandchild, others) && awaited(&world, grandchild, inner));
    world.end(grandchild, Outcome::Done);
    world.body_ended(inner, Outcome::Done);
    world.discard(inner);

    // Nor by one that has ended since, and whose place another task has now.
    let third = world.open(child, PLAIN, false);
    let grandchild = world.start(third, false).unwrap();
    world.disown(child, third);
    let passing = world.start(others, false).unwrap();
    let successor = Some(world.tasks[passing].member);
    world.tree.set_joiner(third, Some(passing), successor);
    assert!(awaited(&world, grandchild, others));
    world.end(passing, Outcome::Done);
    assert!(!awaited(&world, grandchild, others));
    let next = world.start(others, false).unwrap();
    assert!(!awaited(&world, grandchild, others));
    world.end(next, Outcome::Done);
    world.end(grandchild, Outcome::Done);
    world.body_ended(third, Outcome::Done);
    world.discard(third);

    // An heir waits in place of a host that has ended.
    let left = world.open(child, PLAIN, false);
    let orphan = world.start(left, false).unwrap();
    world.end_inside(child, Outcome::Done, false);
    assert!(awaited(&world, orphan, left) && awaited(&world, orphan, nursery));
    world.end(orphan, Outcome::Done);
    world.end(stranger, Outcome::Done);
}

#[test]
fn r7_what_a_tree_that_goes_still_holds_of_errors_is_handed_out_once() {
    let (mut world, _, nursery, child) = child();
    let bare = world.start(nursery, false).unwrap();
    world.end(child, Outcome::Failed(Oops(1)));
    world.end(bare, Outcome::Bare(Oops(2)));
    let mut errors: Vec<usize> = world.tree.take_errors().iter().map(|error| error.0).collect();
    errors.sort_unstable();
    assert_eq!(errors, [1, 2]);
    assert!(world.tree.take_errors().is_empty());
}
