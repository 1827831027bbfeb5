//! What the tree does not keep it hands back: never is a reason or an error dropped inside it, for
//! that may run the program's code while the face has the tree borrowed (R31).

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use nursery_core::{
    Cause, Cleanup, Effects, Event, Face, Flight, Identity, MemberId, NurseryId, Outcome, ScopeId,
    Settings, Source, Stays, Tree,
};

/// Whether the tree is borrowed, and how many values there are.
#[derive(Default)]
struct Watch {
    borrowed: Cell<bool>,
    alive: Cell<usize>,
}

/// A reason or an error that minds where it is dropped.
struct Minds(Rc<Watch>, usize);

impl Minds {
    fn new(watch: &Rc<Watch>, number: usize) -> Self {
        watch.alive.set(watch.alive.get() + 1);
        Self(watch.clone(), number)
    }
}

impl Clone for Minds {
    fn clone(&self) -> Self {
        Self::new(&self.0, self.1)
    }
}

impl Drop for Minds {
    fn drop(&mut self) {
        self.0.alive.set(self.0.alive.get() - 1);
        if !std::thread::panicking() {
            assert!(!self.0.borrowed.get(), "R31: {} is dropped inside the tree", self.1);
        }
    }
}

impl Identity for Minds {
    fn identity(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.1)
    }
}

struct Minding;

impl Face for Minding {
    type Key = usize;
    type Error = Minds;
    type Reason = Minds;
    type Wake = ();
    type Watch = Minds;
}

/// A tree that nothing may be dropped in while it changes.
struct World {
    tree: Tree<Minding>,
    watch: Rc<Watch>,
    /// How many values it was given, and how many it has handed back.
    given: usize,
    returned: usize,
    now: f64,
}

impl World {
    fn new() -> Self {
        let mut tree = Tree::new();
        tree.cleanup = Cleanup::Limited(1.0);
        Self { tree, watch: Rc::default(), given: 0, returned: 0, now: 0.0 }
    }

    fn change<R>(
        &mut self,
        act: impl FnOnce(&mut Tree<Minding>, f64, &mut Effects<Minding>) -> R,
    ) -> R {
        let mut out = Effects::default();
        self.watch.borrowed.set(true);
        let result = act(&mut self.tree, self.now, &mut out);
        self.watch.borrowed.set(false);
        let values = out.events.iter().filter(|event| !matches!(event, Event::Joined(_)));
        self.returned += out.reasons.len() + out.errors.len() + values.count();
        result
    }

    /// A value of its own; errors of one number are one.
    fn value(&mut self, number: usize) -> Minds {
        self.given += 1;
        Minds::new(&self.watch, number)
    }

    fn open(&mut self, host: MemberId) -> NurseryId {
        self.change(|tree, now, out| tree.open(host, Settings::default(), false, 0, now, out))
    }

    fn enter(&mut self, host: MemberId) -> ScopeId {
        self.change(|tree, now, out| tree.enter(host, Settings::default(), 0, now, out))
    }

    fn start(&mut self, nursery: NurseryId, shield: bool) -> MemberId {
        self.change(|tree, _, _| tree.start(nursery, 0, shield)).expect("it is open").member
    }

    fn cancel(&mut self, scope: ScopeId) -> bool {
        let cause = Cause { source: Source::Explicit, reason: Some(self.value(0)) };
        self.change(|tree, now, out| tree.cancel(scope, cause, now, out))
    }

    fn end(&mut self, child: MemberId, outcome: Outcome<Minds>) -> Option<NurseryId> {
        let reason = self.value(0);
        self.change(|tree, now, out| tree.ended(child, outcome, now, Some(reason), out))
    }

    fn fail(&mut self, child: MemberId, number: usize) -> Option<NurseryId> {
        let error = self.value(number);
        self.end(child, Outcome::Failed(error))
    }

    fn adopt(&mut self, nursery: NurseryId, number: usize) {
        let (error, reason) = (self.value(number), self.value(0));
        self.change(|tree, now, out| tree.adopt(nursery, error, Some(reason), now, out));
    }

    fn body_ended(&mut self, nursery: NurseryId, outcome: Outcome<Minds>) -> bool {
        let reason = self.value(0);
        self.change(|tree, now, out| tree.body_ended(nursery, outcome, now, Some(reason), out))
    }

    /// The answer of a call holds this many values that the tree has kept.
    fn answered<A>(&mut self, answer: A, values: usize) {
        let before = self.watch.alive.get();
        drop(answer);
        assert_eq!(before - self.watch.alive.get(), values);
        self.returned += values;
    }

    /// What the tree keeps and what it has handed back is what it was given.
    fn check(&self) {
        let values = self.tree.errors().chain(self.tree.reasons()).chain(self.tree.watches());
        let kept = values.count();
        assert_eq!(kept, self.watch.alive.get(), "what is not kept is handed back");
        assert_eq!(kept + self.returned, self.given, "all of it");
    }
}

#[test]
fn r31_a_reason_that_comes_too_late_is_handed_back() {
    let mut world = World::new();
    let host = world.tree.enroll(0, false);
    let nursery = world.open(host);
    let scope = world.tree.scope(nursery);
    let child = world.start(nursery, false);
    assert!(world.cancel(scope));
    assert!(!world.cancel(scope));
    world.check();
    let reason = world.value(0);
    world.change(|tree, now, out| tree.host_cancelled(nursery, Some(reason), now, out));
    assert_eq!(world.returned, 2);
    // Neither an end that cancels nothing nor a failure after the first one needs its words.
    world.fail(child, 1);
    world.body_ended(nursery, Outcome::Done);
    world.check();
    assert_eq!(world.returned, 4);
    let close = world.change(|tree, now, out| tree.close(nursery, 0, false, now, out));
    world.answered(close, 2);
    world.check();
}

#[test]
fn r31_an_error_that_was_reported_before_is_handed_back() {
    let mut world = World::new();
    let host = world.tree.enroll(0, false);
    let nursery = world.open(host);
    let children = [(); 3].map(|()| world.start(nursery, false));
    for child in children {
        world.fail(child, 7);
        world.check();
    }
    let error = world.value(7);
    world.body_ended(nursery, Outcome::Alone(error));
    world.check();
    let close = world.change(|tree, now, out| tree.close(nursery, 0, false, now, out));
    world.answered(close, 2);
    world.check();
}

#[test]
fn r31_what_a_nursery_that_goes_has_kept_is_handed_over_or_back() {
    for released in [false, true] {
        for shielded in [false, true] {
            let mut world = World::new();
            let host = world.tree.enroll(0, false);
            let heir = world.open(host);
            let child = world.start(heir, shielded);
            if shielded {
                // The shield goes with the child, and its reason is handed back.
                let wall = world.tree.innermost(child).expect("a shield");
                world.cancel(wall);
            }
            let scope = world.enter(child);
            world.cancel(scope);
            let orphan = world.open(child);
            let [a, b, c] = [(); 3].map(|()| world.start(orphan, false));
            world.fail(a, 1);
            if released {
                world.change(|tree, _, out| tree.release(orphan, out));
            }
            world.adopt(orphan, 2);
            world.check();
            world.end(child, Outcome::Done);
            world.check();
            let error = world.value(3);
            world.end(b, Outcome::Bare(error));
            world.fail(c, 3);
            world.check();
            assert_eq!(world.tree.errors().count(), 3, "they are the heir's");
            let error = world.value(4);
            assert!(world.body_ended(heir, Outcome::Failed(error)));
            let close = world.change(|tree, now, out| tree.close(heir, 0, false, now, out));
            world.answered(close, 4);
            world.check();
            if !released {
                let gone = world.change(|tree, now, out| tree.discard(orphan, None, now, out));
                world.answered(gone, 1);
            }
            let removed = world.change(|tree, now, out| tree.remove(scope, now, out));
            world.answered(removed, 1);
            world.check();
            world.change(|tree, _, out| tree.withdraw(host, out));
            assert_eq!((world.tree.size(), world.watch.alive.get()), ((0, 0, 0), 0));
        }
    }
}

#[test]
fn r31_what_is_joined_no_more_is_handed_back() {
    let mut world = World::new();
    let host = world.tree.enroll(0, false);
    let taken = world.open(host);
    let child = world.start(taken, false);
    world.change(|tree, now, out| tree.disown(taken, now, out));
    // Too late for an orphan: nothing is left that would join it.
    world.adopt(taken, 1);
    world.check();
    assert_eq!(world.returned, 2);
    world.fail(child, 2);
    world.body_ended(taken, Outcome::Cancelled);
    let gone = world.change(|tree, now, out| tree.discard(taken, None, now, out));
    world.answered(gone, 2);
    world.check();
}

#[test]
fn r31_deadlines_shields_budgets_and_moves_drop_nothing() {
    let mut world = World::new();
    let host = world.tree.enroll(0, false);
    let scope = world.enter(host);
    let [from, to] = [world.open(host), world.open(host)];
    let child = world.start(from, true);
    let inner = world.enter(child);
    world.cancel(inner);
    world.change(|tree, now, out| tree.set_deadline(inner, now, now, out));
    let moved = world.change(|tree, now, out| tree.move_child(child, to, now, out));
    assert_eq!(moved, Ok(None));
    world.change(|tree, now, out| tree.set_deadline(scope, now, now, out));
    world.cancel(scope);
    for shield in [true, false] {
        world.change(|tree, now, out| tree.set_shield(inner, shield, now, out));
    }
    for cleanup in [Cleanup::Never, Cleanup::Limited(0.0), Cleanup::Limited(2.0)] {
        world.change(|tree, now, out| tree.set_cleanup(scope, cleanup, now, out));
    }
    let moved = world.change(|tree, now, out| tree.move_child(child, from, now, out));
    assert_eq!(moved, Err(Stays::Cancelled));
    world.now = 5.0;
    while world.change(|tree, now, out| tree.advance(now, out)).is_some() {}
    world.check();
    let exit = world.change(|tree, now, out| tree.exit(inner, Flight::Cancelled, 0, now, out));
    world.answered(exit, 1);
    assert_eq!(world.end(child, Outcome::Cancelled), None);
    world.check();
}

#[test]
fn r31_a_watch_is_handed_back_however_its_scope_goes() {
    for go in 0..5 {
        let mut world = World::new();
        let host = world.tree.enroll(0, false);
        let nursery = world.open(host);
        let child = world.start(nursery, false);
        let scope = world.enter(child);
        let watch = world.value(8);
        world.change(|tree, _, out| tree.watch(scope, watch, out));
        world.check();
        match go {
            0 => {
                drop(world.change(|tree, now, out| tree.exit(scope, Flight::Nothing, 0, now, out)))
            }
            1 => drop(world.change(|tree, now, out| tree.remove(scope, now, out))),
            2 => {
                world.tree.release_scope(scope);
                world.end(child, Outcome::Done);
            }
            3 => assert!(world.cancel(scope)),
            _ => {
                let found = world.tree.unwatch(scope, |watch| watch.1 == 8);
                world.answered(found, 1);
            }
        }
        world.check();
        let uncalled = world.tree.uncalled();
        world.answered(uncalled, usize::from(go < 2));
        assert_eq!(world.tree.watches().count(), 0);
        if world.tree.has(scope) {
            let watch = world.value(9);
            world.change(|tree, _, out| tree.watch(scope, watch, out));
            assert_eq!(
                world.tree.watches().count(),
                usize::from(go != 3),
                "or it is called at once"
            );
        }
        world.check();
    }
}
