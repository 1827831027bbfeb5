//! One task's cancellation: what was asked of it, where that came from, and what its next step throws. A state
//! machine that both the program's `Task.cancel()` and the tree drive. It knows no scopes and no
//! waits: the face says what they are; it must never be asked twice about one moment.

use crate::requests::Requests;

/// Where a task stands when it is asked to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// It runs, is about to, or waits for nothing that could hear of it.
    Step,
    /// It waits for something of the face's own, which the face can cut short.
    OwnWait,
    /// It waits for something that has a `cancel()` of its own and then brings the cancellation.
    Awaited,
    /// It joins a nursery's children.
    Join,
}

/// What a face does with a request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Nothing: it waits for the next step, or for the end of a shield (R20).
    Nothing,
    /// Cut the wait short and take a step.
    Cut,
    /// Cancel what the task awaits, then call [`Inbox::handed_on`].
    HandOn,
    /// Tell the nursery that is joined: its children are cancelled, the host waits on (R15).
    Join,
}

/// What a wait has ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There was none: a first step, or a bare yield.
    Nothing,
    /// A result or an error, which is not taken from the task (R12a).
    Got,
    /// The cancellation of what was awaited.
    Cancelled,
}

/// What the tree says of a task before a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// A scope's cancellation waits to be thrown.
    pub(crate) pending: bool,
    /// ... and takes even a result from the task.
    pub(crate) abrupt: bool,
    /// A shield holds bare cancellations back.
    pub(crate) shielded: bool,
}

/// What a step throws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Throw {
    /// Nothing, or what the wait has brought.
    Nothing,
    /// A plain `CancelledError`: the program asked for it.
    Plain,
    /// A scope's `CancelledError`.
    Scoped,
}

/// How a step begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// What it throws.
    pub(crate) throw: Throw,
    /// A scope's cancellation has been heard by it.
    pub(crate) heard: bool,
}

const STARTED: u8 = 1;
const TOLD: u8 = 1 << 1;
const INSIDE: u8 = 1 << 2;
const HANDED_ON: u8 = 1 << 3;
const CUT: u8 = 1 << 4;
const ANSWERED: u8 = 1 << 5;

/// One task's cancellation.
///
/// ```
/// use nursery_core::{Ask, At, Inbox, Waited};
/// let mut inbox = Inbox::default();
/// assert!(!inbox.begin_step(Waited::Nothing));
/// assert_eq!(inbox.ask(At::OwnWait, false, || false), Ask::Cut);
/// assert!(inbox.begin_step(Waited::Cancelled));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inbox {
    /// How often it was asked to cancel.
    pub requests: Requests,
    flags: u8,
}

impl Inbox {
    #[inline]
    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    /// Whether it has taken its first step.
    #[inline]
    #[must_use]
    pub(crate) fn has_started(&self) -> bool {
        self.has(STARTED)
    }

    /// `Task.cancel()`. With `shielded`, it waits for the end of the shield, unless a block inside
    /// the shield asks (`from_inside`).
    pub fn ask(&mut self, at: At, shielded: bool, from_inside: impl FnOnce() -> bool) -> Ask {
        self.requests.ask();
        if shielded {
            if !from_inside() {
                self.requests.wait();
                return Ask::Nothing;
            }
            self.set(INSIDE, true);
        }
        if at == At::Awaited {
            return Ask::HandOn;
        }
        self.requests.wait();
        match at {
            At::Join | At::OwnWait => {
                self.set(ANSWERED, true);
                if at == At::Join { Ask::Join } else { Ask::Cut }
            }
            At::Step | At::Awaited => Ask::Nothing,
        }
    }

    /// A request that came while the task ran ends what it waits for now.
    pub fn answered(&mut self) {
        self.set(ANSWERED, true);
    }

    /// Whether a request has ended what the task waits for, so that its `CancelledError` is on the way: that has the
    /// message of this request, and not of one that comes later.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.flags & (HANDED_ON | ANSWERED) != 0
    }

    /// What the task awaits was asked to cancel. `accepted`: it brings the cancellation; if not, the
    /// request waits for the next step.
    pub fn handed_on(&mut self, accepted: bool) {
        if accepted {
            self.set(INSIDE, false);
            self.set(HANDED_ON, true);
        } else {
            self.requests.wait();
        }
    }

    /// `Task.uncancel()`. Returns how many requests are left.
    pub fn take_back(&mut self) -> u32 {
        let left = self.requests.take_back();
        if !self.requests.is_waiting() {
            self.set(INSIDE, false);
        }
        left
    }

    /// The tree has told the task of a cancellation: ask it before the next step.
    #[inline]
    pub fn tell(&mut self) {
        self.flags |= TOLD;
    }

    /// What the tree has told it of waits no more, though the task takes no step. Where its wait was cut short,
    /// the step throws all the same, and asks the tree what.
    pub fn spare(&mut self) {
        if !self.has(CUT) {
            self.set(TOLD, false);
        }
    }

    /// Whether a cancellation that the tree has told it of waits to be thrown.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.has(TOLD)
    }

    /// The wait was cut short, or asked to end, because of a scope's cancellation.
    pub fn cut(&mut self) {
        self.flags |= CUT;
    }

    /// Whether a bare cancellation waits that no shield holds back.
    #[inline]
    #[must_use]
    pub fn is_asked(&self, shielded: impl FnOnce() -> bool) -> bool {
        self.requests.is_waiting() && (self.has(INSIDE) || !shielded())
    }

    /// Whether the tree and the wait have anything to say before the next step.
    #[inline]
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.requests.is_waiting() && !self.has(TOLD)
    }

    /// A step begins in which nothing is thrown on account of a cancellation.
    #[inline]
    pub fn begin_quietly(&mut self) {
        self.flags = STARTED;
    }

    /// A step begins of a task that stands in no tree: see [`Tree::begin_step`](crate::Tree::begin_step) for
    /// any other. Returns whether it throws a plain `CancelledError`.
    pub fn begin_step(&mut self, waited: Waited) -> bool {
        self.before_step(Told::default(), waited).throw == Throw::Plain
    }

    /// A step begins: what it throws. One that is cancelled by hand before its first step never
    /// runs, as asyncio's; one that a scope has cancelled takes it (R17).
    pub(crate) fn before_step(&mut self, told: Told, waited: Waited) -> Step {
        let Told { pending, abrupt, shielded } = told;
        let before = *self;
        self.flags = STARTED;
        let asked = before.is_asked(|| shielded);
        if asked {
            self.deliver(shielded);
        }
        let brought = before.has(HANDED_ON) && waited == Waited::Cancelled;
        let started = before.has(STARTED);
        let got = waited == Waited::Got && !abrupt;
        let late = !started || got;
        // The wait has ended for a scope's sake, even if a shield was raised since.
        let cut = started && before.has(CUT) && waited == Waited::Cancelled;
        if pending && late && !asked && !brought {
            self.tell();
            return Step { throw: Throw::Nothing, heard: false };
        }
        let throw = match () {
            () if asked => Throw::Plain,
            () if (pending || cut) && !brought => Throw::Scoped,
            () => Throw::Nothing,
        };
        Step { throw, heard: pending }
    }

    /// A bare cancellation that came while the task ran was handed on to what it awaits now.
    pub fn handed_on_late(&mut self, shielded: bool) {
        self.deliver(shielded);
        self.handed_on(true);
    }

    /// One `CancelledError` stands for all that waits; inside a shield for one, which was asked there.
    fn deliver(&mut self, shielded: bool) {
        if shielded {
            self.requests.deliver_one();
        } else {
            self.requests.deliver();
        }
    }

    /// The task has joined a nursery's children. Returns whether a cancellation waits that nothing holds back:
    /// it has come meanwhile, and the nursery is left with it (R15).
    pub fn joined(&mut self, shielded: impl FnOnce() -> bool) -> bool {
        let asked = self.is_asked(shielded);
        if asked {
            self.requests.deliver();
        }
        asked
    }

    /// The coroutine has returned. Returns whether a cancellation that came in its last step takes
    /// the result, as asyncio has it.
    pub fn returned(&mut self, shielded: impl FnOnce() -> bool) -> bool {
        if !self.requests.is_waiting() || shielded() {
            return false;
        }
        self.requests.deliver();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state that a few events lead to, by walking all orders of them.
    fn every_order(depth: usize, visit: &mut impl FnMut(&Inbox)) {
        fn walk(inbox: Inbox, depth: usize, visit: &mut impl FnMut(&Inbox)) {
            visit(&inbox);
            if depth == 0 {
                return;
            }
            for at in [At::Step, At::OwnWait, At::Awaited, At::Join] {
                for (shielded, inside) in [(false, false), (true, false), (true, true)] {
                    for accepted in [false, true] {
                        let mut next = inbox;
                        if next.ask(at, shielded, || inside) == Ask::HandOn {
                            next.handed_on(accepted);
                        }
                        walk(next, depth - 1, visit);
                    }
                }
            }
            for change in [Inbox::tell, Inbox::spare, Inbox::cut, |inbox: &mut Inbox| {
                inbox.take_back();
            }] {
                let mut next = inbox;
                change(&mut next);
                walk(next, depth - 1, visit);
            }
            for bits in 0..8 {
                let told = told(bits);
                for waited in [Waited::Nothing, Waited::Got, Waited::Cancelled] {
                    let mut next = inbox;
                    next.before_step(told, waited);
                    walk(next, depth - 1, visit);
                }
            }
        }
        walk(Inbox::default(), depth, visit);
    }

    fn told(bits: u32) -> Told {
        Told { pending: bits & 1 != 0, abrupt: bits & 2 != 0, shielded: bits & 4 != 0 }
    }

    fn steps(inbox: &Inbox) -> impl Iterator<Item = (Told, Waited, Step, Inbox)> {
        let inbox = *inbox;
        (0..8).flat_map(move |bits| {
            [Waited::Nothing, Waited::Got, Waited::Cancelled].into_iter().map(move |waited| {
                let mut after = inbox;
                let step = after.before_step(told(bits), waited);
                (told(bits), waited, step, after)
            })
        })
    }

    #[test]
    fn r12a_a_result_that_was_there_is_not_taken_by_a_scope_and_the_cancellation_stays() {
        every_order(3, &mut |inbox| {
            for (told, waited, step, after) in steps(inbox) {
                let took = told.pending && waited == Waited::Got && step.throw == Throw::Scoped;
                assert!(!took || told.abrupt);
                if told.pending && !step.heard {
                    assert!(after.has(TOLD), "the tree is asked again");
                    assert_eq!(step.throw, Throw::Nothing);
                }
            }
        });
    }

    #[test]
    fn r20_what_has_been_cut_short_still_asks_the_tree_when_it_is_spared() {
        for cut in [false, true] {
            let mut inbox = Inbox::default();
            inbox.tell();
            if cut {
                inbox.cut();
            }
            inbox.spare();
            assert_eq!(inbox.is_told(), cut);
        }
    }

    #[test]
    fn r15_what_waits_behind_a_join_leaves_the_nursery_unless_a_shield_holds_it_back() {
        every_order(3, &mut |inbox| {
            for shielded in [false, true] {
                let mut after = *inbox;
                let free = inbox.requests.is_waiting() && (!shielded || inbox.has(INSIDE));
                assert_eq!(after.joined(|| shielded), free);
                assert_eq!(after.requests.is_waiting(), inbox.requests.is_waiting() && !free);
                assert_eq!(after.requests.asked(), inbox.requests.asked());
            }
        });
    }

    #[test]
    fn r17_a_scope_never_throws_into_a_first_step() {
        every_order(3, &mut |inbox| {
            for (_, _, step, after) in steps(inbox) {
                assert!(inbox.has_started() || step.throw != Throw::Scoped);
                assert!(after.has_started());
            }
        });
    }

    #[test]
    fn r15_a_request_is_thrown_once_and_never_lost() {
        every_order(3, &mut |inbox| {
            for (told, _, step, after) in steps(inbox) {
                let free = inbox.requests.is_waiting() && (!told.shielded || inbox.has(INSIDE));
                assert_eq!(step.throw == Throw::Plain, free);
                if !free {
                    assert_eq!(after.requests, inbox.requests);
                } else if !told.shielded {
                    assert!(!after.requests.is_waiting());
                }
                assert_eq!(after.requests.asked(), inbox.requests.asked());
            }
        });
    }

    #[test]
    fn r15_what_comes_in_the_last_step_takes_the_result_unless_a_shield_holds_it_back() {
        every_order(3, &mut |inbox| {
            for shielded in [false, true] {
                let mut after = *inbox;
                let taken = after.returned(|| shielded);
                assert_eq!(taken, inbox.requests.is_waiting() && !shielded);
                assert_eq!(after.requests.is_waiting(), inbox.requests.is_waiting() && shielded);
            }
        });
    }

    #[test]
    fn r15_what_came_while_the_task_ran_and_was_handed_on_is_thrown_by_what_is_awaited() {
        every_order(2, &mut |inbox| {
            for shielded in [false, true] {
                let mut after = *inbox;
                after.handed_on_late(shielded);
                let one_less = inbox.requests.honoured() + u32::from(inbox.requests.is_waiting());
                assert!(after.requests.honoured() >= one_less);
                assert!(shielded || !after.requests.is_waiting());
                let told = Told { pending: true, abrupt: false, shielded };
                let step = after.before_step(told, Waited::Cancelled);
                assert_ne!(step.throw, Throw::Scoped, "it is the request's");
                assert!(step.heard, "and stands for the scope's");
            }
        });
    }

    #[test]
    fn r13_what_a_handed_on_request_brings_is_not_hidden_by_a_scopes() {
        every_order(3, &mut |inbox| {
            for (told, waited, step, _) in steps(inbox) {
                if inbox.has(HANDED_ON) && waited == Waited::Cancelled {
                    assert_ne!(step.throw, Throw::Scoped);
                    assert_eq!(step.heard, told.pending);
                }
            }
        });
    }
}
