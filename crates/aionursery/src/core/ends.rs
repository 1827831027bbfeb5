//! How children end, and the nursery: what that means is said by the lifecycle. A nursery that is dropped
//! early leaves its errors, and its spawned children, to others (R28). It must never lose an error.

use nursery_core::{Outcome, Source};

use super::fresh::{Fresh, Started};
use super::unclaimed::{Erase, ErrorSink, Unclaimed};
use super::{Body, Core, State};
use crate::error::{AdoptedError, Failure, Reason};
#[cfg(feature = "tokio")]
use crate::scope::Left;
use crate::scope::info::Stage;
use crate::task::DriverSeat;

impl<E> Core<E> {
    /// A spawned child has returned.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(crate) fn spawned_returned(&self) {
        let (left, alive) = self.scope.children.one_less();
        self.let_go_of_ended(alive);
        if left != Left::Some || self.scope.is_held() {
            self.last_returned(left);
        }
    }

    #[cfg(feature = "tokio")]
    #[cold]
    fn last_returned(&self, left: Left) {
        match left {
            Left::Some => {}
            Left::None => self.ready().notify_driver(),
            Left::Orphans => {
                let left = {
                    let state = &mut *self.state();
                    self.tell(state, self.scope.children.alive());
                    self.unclaimed(state)
                };
                if let Some(left) = left {
                    left.hand_over();
                }
            }
        }
        self.scope.signal.tell_holders();
    }

    /// A child has failed or was cancelled.
    pub(crate) fn ended(&self, outcome: Outcome<Failure<E>>, reason: impl FnOnce() -> Reason) {
        let (cancel, alive, joins, left) = {
            let state = &mut *self.state();
            let cancel = state.life.child_ended(outcome).cancel;
            let (alive, joins) = self.scope.children.settle(1, false);
            self.tell(state, alive);
            (cancel, alive, joins, self.unclaimed(state))
        };
        #[cfg(feature = "tokio")]
        self.let_go_of_ended(alive);
        self.act(cancel, reason);
        if let Some(left) = left {
            left.hand_over();
        }
        if joins && alive == 0 {
            self.ready().notify_driver();
        }
        self.scope.signal.tell_holders();
    }

    /// An error of a child that has ended without it. Cancels as any other does (R6).
    pub(crate) fn fail(&self, failure: Failure<E>) {
        let reason = Reason::from(failure.label().to_string());
        let late = {
            let state = &mut *self.state();
            if matches!(state.sink, ErrorSink::Over) {
                Some(Unclaimed { adopter: None, failures: vec![failure], erase: state.erase() })
            } else {
                state.life.error(Outcome::Failed(failure));
                None
            }
        };
        self.act(!self.collect, || reason);
        if let Some(late) = late {
            late.hand_over();
        }
    }

    /// A child that ends as cancelled was cut off. Its nursery goes on, and says so if nothing else has heard of it.
    #[cfg(feature = "tokio")]
    pub(crate) fn cut_off(&self, failure: Failure<E>) {
        let state = &mut *self.state();
        if matches!(state.sink, ErrorSink::Driver) {
            state.life.adopted(Outcome::Failed(failure));
        }
    }

    /// The body has ended. The driver looks again before it waits, and tells of one that has returned then.
    pub(crate) fn body_ended(&self, outcome: Outcome<Failure<E>>) {
        if self.scope.signal.info.stage() == Stage::Open {
            self.scope.signal.info.set_stage(Stage::Joining);
        }
        let set =
            |to| self.local.with(|local| local.is_some_and(|local| local.body.replace(to) != to));
        if matches!(outcome, Outcome::Done) && set(Body::Returned) {
            return;
        }
        let cancelled = matches!(outcome, Outcome::Cancelled);
        let ended = self.state().life.body_ended(outcome);
        set(Body::Ended);
        if ended.cancel && cancelled {
            // If it was the scope's own cancellation, or one from outside, that is known.
            if !self.scope.is_soft() {
                let reason = "the body awaited the value of a child that had none";
                self.scope.cancel(Source::Host, Some(reason.into()));
            }
        } else {
            self.act(ended.cancel, || "the body failed".into());
        }
    }

    fn act(&self, cancel: bool, reason: impl FnOnce() -> Reason) {
        if cancel {
            self.scope.cancel(Source::Failure, Some(reason()));
        }
    }

    /// The driver gives the errors back.
    pub(crate) fn finish(&self) {
        self.scope.signal.info.set_stage(Stage::Closed);
        self.scope.signal.tell_holders();
    }

    /// The driver goes. Hands out what was not taken up; spawned children that are left are
    /// given to the nearest nursery above that is alive (R28).
    pub(crate) fn abandon(&self, seat: &mut DriverSeat) -> Fresh<E> {
        let local = self.local.own(seat);
        let mut left = local.fresh.replace(Started::new());
        {
            let state = &mut *self.state();
            state.gone = true;
            self.scope.children.leave_alone();
            self.catch_up(local, state);
            state.inbox.drain(..).for_each(|child| left.push(child));
        }
        #[cfg(feature = "tokio")]
        self.keep_all(local.spawned.take());
        self.scope.refuse_orphans();
        self.scope.signal.info.set_stage(Stage::Dropped);
        self.scope.signal.tell_holders();
        left.take()
    }

    /// The driver's own children are gone, this many. What is left is adopted, with every error that
    /// was not seen.
    pub(crate) fn leave_orphans(&self, gone: u32) {
        self.scope.pass_on_orphans();
        let is_clean = {
            let state = &mut *self.state();
            let (alive, _) = self.scope.children.settle(gone, false);
            self.tell(state, alive);
            let clean = state.life.running() == 0 && !state.has_errors();
            if clean {
                state.sink = ErrorSink::Over;
            }
            clean
        };
        if is_clean {
            return;
        }
        let adopter = self.scope.adopter();
        let left = {
            let state = &mut *self.state();
            state.sink = ErrorSink::Adopter(adopter);
            self.tell(state, self.scope.children.alive());
            self.unclaimed(state)
        };
        if let Some(left) = left {
            left.hand_over();
        }
    }

    /// What the last of an abandoned nursery's children tells the nursery that adopted it.
    #[inline]
    fn unclaimed(&self, state: &mut State<E>) -> Option<Unclaimed<E>> {
        if !state.gone || state.life.running() > 0 {
            return None;
        }
        self.claim(state)
    }

    #[cold]
    fn claim(&self, state: &mut State<E>) -> Option<Unclaimed<E>> {
        match std::mem::replace(&mut state.sink, ErrorSink::Over) {
            ErrorSink::Adopter(adopter) => {
                Some(Unclaimed { adopter, failures: state.take_errors(), erase: state.erase() })
            }
            sink => {
                state.sink = sink;
                None
            }
        }
    }
}

impl<E> State<E> {
    fn erase(&self) -> Erase<E> {
        self.erase.unwrap_or(AdoptedError::record)
    }
}

#[cfg(all(test, feature = "tokio", not(aionursery_loom)))]
mod tests {
    use crate::{Builder, ErrorKind, Nursery, OnError};

    #[tokio::test]
    async fn r5_a_nursery_keeps_nothing_of_errors_that_awaiting_the_child_has_taken() {
        let builder = Builder::new().on_error(OnError::Collect);
        let ended = builder.nursery(async |n: Nursery<'_, usize>| {
            for round in 0..1000 {
                let in_task = n.start_soon(async move { Err::<(), _>(round) });
                let spawned = n.spawn(async move { Err::<(), _>(round) });
                let panics = n.spawn(async { std::panic::resume_unwind(Box::new(())) });
                let [in_task, spawned, panics]: [Result<(), _>; 3] =
                    [in_task.await, spawned.await, panics.await];
                for ended in [in_task, spawned] {
                    assert!(matches!(ended.unwrap_err().into_kind(), ErrorKind::Error(_)));
                }
                assert!(matches!(panics.unwrap_err().into_kind(), ErrorKind::Panic(_)));
                if round % 100 == 0 {
                    n.start_soon(async move { Err::<(), _>(round) });
                }
                assert!(n.core().state().life.errors().count() <= 64);
            }
            Ok(())
        });
        let errors = ended.await.unwrap_err();
        let reported = errors.errors().copied().collect::<Vec<_>>();
        assert_eq!((errors.len(), reported), (10, (0..1000).step_by(100).collect()));
    }
}
