//! One turn of a nursery's driver: what was started and what was woken is polled, in that order, a
//! few times over. It must leave a child that wakes itself again to the next round, and after the
//! last round, or once the task's budget is spent, the runtime its turn. It must poll something in each turn,
//! whatever is left of the budget.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use nursery_core::Outcome;

use super::Driver;
use super::held::HeldChildren;
use super::rounds::Rounds;
use crate::child::Running;
use crate::coop;
use crate::core::Closed;
use crate::error::{Failure, Label, Reason};
use crate::ignore_panics::discard;
use crate::polling::{self, Kind, PARK, WALL};
use crate::scope::{HARD, LATE, LEFT};
use crate::sync::atomic::Ordering;
use crate::task::{Header, NEW, NOWHERE, Step, waker};
use crate::wall;

/// So many children begin to wait in one turn, or as many as wait already. The runtime's turn comes after
/// that: it has to take in what they wait for, and tokio is woken by each timer that it has not seen.
const FEW: usize = 128;

/// How the child ended that has just been polled; nothing in between.
type Ending<E> = Option<Outcome<Failure<E>>>;

impl<E> Driver<E> {
    pub(super) fn turn<T, F>(
        &mut self,
        mut body: Pin<&mut Option<F>>,
        value: &mut Option<T>,
        cx: &mut Context<'_>,
        mut rounds: Rounds,
    ) -> Poll<Closed>
    where
        F: Future<Output = Result<T, E>>,
    {
        if self.at.is_bare {
            // No child of this task waits, which could be woken meanwhile.
            self.at.is_due = true;
        } else {
            self.core.ready().unregister();
        }
        if self.core.scope.is_held() {
            self.core.scope.turned();
        }
        let outcome = &mut None;
        self.at.owes_poll = true;
        self.at.full = self.children.len() + self.children.len().max(FEW);
        loop {
            let seen = self.core.scope.signal.flags();
            if seen & HARD != 0 && !self.at.stopped {
                self.stop(body.as_mut(), outcome);
            }
            if seen & LEFT != 0 {
                self.adopt_errors();
            }
            if let Some(closed) = self.take_up() {
                return Poll::Ready(closed);
            }
            self.at.is_due |= std::mem::take(&mut self.at.is_due_later);
            let has_none = self.kit.woken.is_empty() && self.fresh.is_over() && !self.at.is_due;
            if has_none {
                // Before it looks at the time: a thread that moves a deadline or adds a token after
                // that look changes no flag, and has to find a waker.
                self.core.ready().register(cx.waker());
                if !self.poll_alarms(cx) && self.is_idle(seen) {
                    return Poll::Pending;
                }
                self.core.ready().unregister();
            }
            if !rounds.next() {
                break;
            }
            if has_none {
                continue;
            }
            let goes_on = self.run(body.as_mut(), value, cx, outcome);
            if seen & LATE != 0 {
                // Its deadline had passed when it was opened: it acts at the first await (R21).
                self.poll_alarms(cx);
            }
            if !goes_on {
                break;
            }
        }
        // A nursery that has closed by the last round need not come again for that.
        if self.core.scope.has_orphan_errors() {
            self.adopt_errors();
        }
        if let Some(closed) = self.take_up() {
            return Poll::Ready(closed);
        }
        // Children that are always ready do not keep a deadline from acting.
        self.poll_alarms(cx);
        self.core.ready().register(cx.waker());
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What may cancel the nursery beside its own code: the time, and tokens. Returns whether it has.
    #[inline]
    fn poll_alarms(&mut self, cx: &mut Context<'_>) -> bool {
        if self.kit.timer.poll(&self.core.scope, cx) || self.core.scope.poll_tokens(cx) {
            return true;
        }
        if let Some(watch) = &mut self.kit.watch {
            watch.poll(&self.core.scope, cx);
        }
        false
    }

    /// Takes up what was woken and what was started. Says how the nursery has closed, once it has.
    fn take_up(&mut self) -> Option<Closed> {
        if !self.at.has_begun && !self.core.has_new() {
            return None;
        }
        self.kit.woken.take(self.core.ready());
        self.core.take_up(&mut self.fresh)
    }

    /// Nothing came between the last look and the registration of the waker.
    fn is_idle(&self, seen: u8) -> bool {
        let scope = &self.core.scope;
        self.core.ready().is_empty()
            && scope.signal.flags() == seen
            && !scope.has_orphan_errors()
            && self.core.is_idle()
    }

    /// Polls one batch. Returns `false` if the runtime wants its turn.
    fn run<T, F>(
        &mut self,
        mut body: Pin<&mut Option<F>>,
        value: &mut Option<T>,
        cx: &mut Context<'_>,
        outcome: &mut Ending<E>,
    ) -> bool
    where
        F: Future<Output = Result<T, E>>,
    {
        let woken_first = std::mem::take(&mut self.at.woken_first);
        for woken in [woken_first, !woken_first] {
            if woken {
                if !self.run_woken(body.as_mut(), value, cx, outcome) {
                    return false;
                }
            } else if !self.run_fresh(body.as_mut(), outcome) {
                // Those that start siblings without end leave the others a turn, too.
                self.at.woken_first = true;
                return false;
            }
        }
        true
    }

    #[inline]
    fn run_fresh<F>(&mut self, mut body: Pin<&mut Option<F>>, outcome: &mut Ending<E>) -> bool {
        while self.may_poll() && self.children.len() < self.at.full {
            let Some(task) = self.fresh.next() else { return true };
            self.at.owes_poll = false;
            self.begin(task, outcome);
            self.check(body.as_mut(), outcome);
        }
        false
    }

    #[inline]
    fn run_woken<T, F>(
        &mut self,
        mut body: Pin<&mut Option<F>>,
        value: &mut Option<T>,
        cx: &mut Context<'_>,
        outcome: &mut Ending<E>,
    ) -> bool
    where
        F: Future<Output = Result<T, E>>,
    {
        while self.may_poll() {
            let is_bodys = std::mem::take(&mut self.at.is_due) || {
                let Some(task) = self.kit.woken.pop() else { return true };
                if task.is(&self.kit.body) {
                    task.unqueue().is_some()
                } else {
                    if let Some(index) = task.unqueue().filter(|index| *index < NEW) {
                        self.at.owes_poll = false;
                        self.step(index, outcome);
                    }
                    false
                }
            };
            if is_bodys {
                self.run_body(body.as_mut(), value, cx);
            }
            self.check(body.as_mut(), outcome);
        }
        false
    }

    /// Whether the task's budget lets one more be polled. The first of a turn is polled without: code beside the nursery
    /// in its task may have used the budget up before each turn.
    #[inline]
    fn may_poll(&self) -> bool {
        self.at.owes_poll || coop::is_left()
    }

    /// A failure reaches the siblings in the same moment (R12).
    fn check<F>(&mut self, body: Pin<&mut Option<F>>, outcome: &mut Ending<E>) {
        if !self.at.stopped && self.core.scope.is_hard() {
            self.stop(body, outcome);
        }
    }

    fn run_body<T, F>(
        &mut self,
        mut body: Pin<&mut Option<F>>,
        value: &mut Option<T>,
        cx: &mut Context<'_>,
    ) where
        F: Future<Output = Result<T, E>>,
    {
        // Most bodies that go on when they have waited are alone in their task: what wakes such a one wakes the
        // task itself, as if there were no nursery. Not at first, when most start their children.
        let is_alone = self.children.is_empty() && self.fresh.is_over();
        let is_first = !std::mem::replace(&mut self.at.has_begun, true);
        let is_bare = is_alone && !is_first;
        self.at.is_bare = false;
        let Some(future) = body.as_mut().as_pin_mut() else { return };
        self.at.owes_poll = false;
        if self.is_body_to_go() {
            return self.end_body(body, Outcome::Cancelled);
        }
        let own = waker(&self.kit.body);
        let waker = if is_bare { cx.waker() } else { &own };
        let frame = polling::enter(Kind::Body, self.kit.body.header().state.is_asked_to_cancel());
        let polled =
            catch_unwind(AssertUnwindSafe(|| future.poll(&mut Context::from_waker(waker))));
        let marks = polling::leave(frame);
        if marks & WALL != 0 {
            self.kit.held.take_in(&self.kit.body);
        }
        if marks & PARK != 0 {
            polling::acknowledge();
            self.kit.body.header().state.ask_to_cancel();
        }
        let outcome = match polled {
            Ok(Poll::Pending) if self.is_body_to_go() => Outcome::Cancelled,
            Ok(Poll::Pending) => {
                self.at.is_bare = is_bare;
                // It may wait for a child that it has just started.
                self.at.is_due_later = is_bare && self.core.has_new();
                return;
            }
            Ok(Poll::Ready(Ok(result))) => {
                *value = Some(result);
                Outcome::Done
            }
            Ok(Poll::Ready(Err(error))) => Outcome::Failed(Failure::error(error, Label::BODY)),
            Err(payload) => Outcome::Failed(Failure::panic(payload, Label::BODY)),
        };
        self.end_body(body, outcome);
    }

    /// Whether the body was cancelled, and no shield stands in it any more.
    fn is_body_to_go(&mut self) -> bool {
        self.kit.body.header().state.is_asked_to_cancel() && !self.kit.held.holds(&self.kit.body)
    }

    pub(super) fn end_body<F>(
        &mut self,
        mut body: Pin<&mut Option<F>>,
        outcome: Outcome<Failure<E>>,
    ) {
        let dropped = catch_unwind(AssertUnwindSafe(|| body.set(None)));
        self.at.has_failed |= dropped.is_err() || matches!(outcome, Outcome::Failed(_));
        if dropped.is_ok() && matches!(outcome, Outcome::Done) {
            // Apart: an outcome has room for an error, and to move it so soon after its first word was written
            // makes the processor wait.
            return self.core.body_ended(Outcome::Done);
        }
        self.core.body_ended(match (dropped, outcome) {
            (Ok(()), outcome) => outcome,
            (Err(payload), Outcome::Failed(failure)) => {
                discard(payload);
                Outcome::Failed(failure)
            }
            (Err(payload), _) => Outcome::Failed(Failure::panic(payload, Label::BODY)),
        });
    }

    pub(super) fn body_panicked(&mut self, payload: Box<dyn Any + Send>) {
        self.at.has_failed = true;
        self.core.body_ended(Outcome::Failed(Failure::panic(payload, Label::BODY)));
    }

    /// A child's first step; it is kept if it has to wait.
    #[inline]
    fn begin(&mut self, mut child: Running<E>, outcome: &mut Ending<E>) {
        child.header().index.store(NOWHERE, Ordering::Relaxed);
        let step = if self.at.stopped && !child.header().state.is_shielded() {
            *outcome = Some(child.cancel());
            Step::Ended
        } else {
            Self::poll_child(&mut child, outcome, &mut self.kit.held)
        };
        match step {
            Step::Pending => {
                child.header().index.store(self.children.len() as u32, Ordering::Relaxed);
                self.children.push(child);
            }
            Step::Done => self.returned(child),
            Step::Ended => self.ended(child, outcome),
        }
    }

    /// A woken child's step.
    #[inline]
    fn step(&mut self, index: u32, outcome: &mut Ending<E>) {
        let at = index as usize;
        let child = &mut self.children[at];
        let step = Self::poll_child(child, outcome, &mut self.kit.held);
        if step == Step::Pending {
            return;
        }
        let child = self.children.swap_remove(at);
        if let Some(moved) = self.children.get(at) {
            moved.header().index.store(index, Ordering::Relaxed);
        }
        match step {
            Step::Done => self.returned(child),
            _ => self.ended(child, outcome),
        }
    }

    #[inline]
    fn poll_child(
        child: &mut Running<E>,
        outcome: &mut Ending<E>,
        held: &mut HeldChildren,
    ) -> Step {
        if !child.header().state.is_plain() {
            return Self::poll_special(child, outcome, held);
        }
        polling::next();
        let step = child.poll(outcome);
        match polling::marks() {
            0 => step,
            marks => Self::acknowledge(child, step, marks, outcome, held),
        }
    }

    /// One that is shielded or was asked to end.
    #[cold]
    fn poll_special(
        child: &mut Running<E>,
        outcome: &mut Ending<E>,
        held: &mut HeldChildren,
    ) -> Step {
        let shielded = child.header().state.is_shielded();
        if shielded && child.header().index.load(Ordering::Relaxed) == NOWHERE {
            held.raise();
        }
        let inside = wall::count();
        let asked = child.header().state.is_asked_to_cancel();
        let step = if asked && !held.holds(child.task()) {
            *outcome = Some(child.cancel());
            Step::Ended
        } else {
            let frame = polling::enter(if shielded { Kind::Shielded } else { Kind::Open }, asked);
            let step = child.poll(outcome);
            Self::acknowledge(child, step, polling::leave(frame), outcome, held)
        };
        if shielded {
            if step != Step::Pending {
                held.lower();
            }
            // The nursery's own wall stands for those inside.
            wall::forget(inside);
            held.pass_over();
        }
        step
    }

    /// A child that has just been polled cannot go on, or has raised a wall, or was asked to end.
    /// One that ended in spite of it has taken nothing along.
    #[cold]
    fn acknowledge(
        child: &mut Running<E>,
        step: Step,
        marks: u8,
        outcome: &mut Ending<E>,
        held: &mut HeldChildren,
    ) -> Step {
        if marks & PARK != 0 {
            polling::acknowledge_here();
        }
        if step != Step::Pending {
            held.pass_over();
            return step;
        }
        if marks & WALL != 0 {
            held.take_in(child.task());
        }
        if marks & PARK != 0 {
            child.header().state.ask_to_cancel();
        }
        if child.header().state.is_asked_to_cancel() && !held.holds(child.task()) {
            *outcome = Some(child.cancel());
            return Step::Ended;
        }
        Step::Pending
    }

    #[inline]
    fn returned(&self, child: Running<E>) {
        self.core.returned();
        child.release();
    }

    /// It did not return: `outcome` says what it did.
    #[cold]
    fn ended(&mut self, child: Running<E>, outcome: &mut Ending<E>) {
        if self.at.has_cut && matches!(outcome, Some(Outcome::Cancelled)) {
            // The lifecycle need hear once that a cancellation has ended a child.
            *outcome = None;
            self.core.returned();
        } else if let Some(outcome) = outcome.take() {
            self.at.has_cut |= matches!(outcome, Outcome::Cancelled);
            self.at.has_failed |= matches!(outcome, Outcome::Failed(_));
            self.core.ended(outcome, || name(child.header()));
        }
        child.release();
    }

    /// Drops the body and every child, but for those that are shielded, and those in which a shield
    /// stands, which go after it.
    fn stop<F>(&mut self, mut body: Pin<&mut Option<F>>, outcome: &mut Ending<E>) {
        self.at.stopped = true;
        // A shared look at it would stand against the borrows inside of a pinned future.
        if body.as_mut().as_pin_mut().is_some() {
            self.kit.body.header().state.ask_to_cancel();
            if self.is_body_to_go() {
                self.end_body(body, Outcome::Cancelled);
            }
        }
        let mut kept = Vec::new();
        let children = std::mem::take(&mut self.children);
        Running::<E>::apart(|| {
            for mut child in children {
                let shielded = child.header().state.is_shielded();
                if shielded || self.kit.held.holds(child.task()) {
                    if !shielded {
                        child.header().state.ask_to_cancel();
                    }
                    child.header().index.store(kept.len() as u32, Ordering::Relaxed);
                    kept.push(child);
                } else {
                    child.cut(outcome);
                    self.ended(child, outcome);
                }
            }
        });
        self.children = kept;
    }

    #[cold]
    fn adopt_errors(&self) {
        for error in self.core.scope.take_orphan_errors() {
            let failure = Failure::adopted(error);
            self.core.state().life.adopted(Outcome::Failed(failure));
        }
    }
}

fn name(header: &Header) -> Reason {
    match header.name() {
        Some(name) => format!("child {name:?}").into(),
        None => format!("child {}", header.id()).into(),
    }
}
