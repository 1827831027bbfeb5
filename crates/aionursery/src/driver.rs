//! The nursery's own future: polls the body and the children that were woken, drops them when they
//! are cancelled, and ends when all have. It holds the children; nothing else may drop one. What is
//! polled in a turn, and when, is said in `turn.rs`.

mod held;
mod kit;
mod rounds;
mod turn;

use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use nursery_core::{Outcome, Phase};
use pin_project_lite::pin_project;

use crate::builder::{Builder, OnError};
use crate::child::Running;
use crate::core::{Closed, Core, Fresh};
use crate::ended_outside::EndedOutside;
use crate::error::{Failure, Label, MultiError};
use crate::ignore_panics::{first, ignore_panics};
use crate::nursery::{Nursery, Sendable};
use crate::polling::{self, InScope, Kind};
use crate::scope::info::OpenedAt;
use crate::task::{Counted, DriverSeat};
use crate::trace::Span;
use crate::wall;
use kit::Kit;
use rounds::Rounds;

pin_project! {
    /// The future of a nursery.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let block = aionursery::nursery(async |n| {
    ///     Ok(n.start_soon(async { Ok::<_, String>(7) }).value().await)
    /// });
    /// // Nothing has run yet.
    /// assert_eq!(block.await.unwrap(), 7);
    /// # });
    /// ```
    #[must_use = "a nursery does nothing unless awaited"]
    #[project(!Unpin)]
    pub struct Block<'env, T, E, B, F, M = Sendable> {
        start: Option<Start<'env, E, B, F, M>>,
        #[pin]
        body: Option<F>,
        value: Option<T>,
        driver: Option<Driver<E>>,
        // Beside the driver, which it is borrowed with.
        seat: Option<DriverSeat>,
        // It has ended, and the future that awaits it is cancelled.
        gone: Option<Box<EndedOutside>>,
        env: PhantomData<(fn(&'env ()) -> &'env (), M)>,
    }

    impl<T, E, B, F, M> PinnedDrop for Block<'_, T, E, B, F, M> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let Some(driver) = this.driver.take() else { return };
            let body = catch_unwind(AssertUnwindSafe(|| this.body.set(None)));
            let value = catch_unwind(AssertUnwindSafe(|| *this.value = None));
            let seat = this.seat.as_mut().expect("a driver has a seat");
            driver.abandon(seat, first(body, value));
        }
    }
}

opaque!("Block", [T, E, B, F, M] Block<'_, T, E, B, F, M>);

/// What begins with the first poll.
///
/// The call stands here, and not in a bound of `Future`'s: whether a closure takes the handle of a
/// certain `'env` is more than the compiler can see inside of an `async` block, and what it cannot
/// see there may neither be joined nor be sent to another thread.
struct Start<'env, E, B, F, M> {
    /// Boxed: most nurseries have none, and a block is moved before it is polled.
    rules: Option<Box<Builder>>,
    collects: bool,
    place: OpenedAt,
    body: B,
    call: fn(B, Nursery<'env, E, M>) -> F,
}

struct Driver<E> {
    core: Counted<Core<E>>,
    /// Those that wait for something; each knows its index.
    children: Vec<Running<E>>,
    fresh: Fresh<E>,
    at: Progress,
    kit: Box<Kit>,
    span: Span,
}

/// How far a driver is.
#[derive(Default)]
struct Progress {
    /// The body has been polled.
    has_begun: bool,
    /// The body is to be polled.
    is_due: bool,
    /// The body was last polled with the waker of the task, and waits: each turn polls it.
    is_bare: bool,
    /// The body is to be polled once what it has started has begun.
    is_due_later: bool,
    /// Nothing has been polled in this turn.
    owes_poll: bool,
    /// The last turn ended among the fresh.
    woken_first: bool,
    stopped: bool,
    /// A child has ended as cancelled.
    has_cut: bool,
    /// Something in it has failed.
    has_failed: bool,
    /// The whole nursery is a shield.
    shields: bool,
    /// It has time of its own to clean up.
    has_budget: bool,
    /// Whether an owner around may not drop it is known there.
    is_known: bool,
    /// At how many waiting children no other begins in this turn.
    full: usize,
}

impl<'env, T, E, B, F, M> Block<'env, T, E, B, F, M>
where
    F: Future<Output = Result<T, E>>,
{
    #[inline]
    pub(crate) fn new(builder: Builder, body: B) -> Self
    where
        B: FnOnce(Nursery<'env, E, M>) -> F,
    {
        Self::with(builder, body, |body, handle| body(handle))
    }

    /// A nursery whose body is what `call` makes of `body` and its handle.
    #[inline]
    pub(crate) fn with(builder: Builder, body: B, call: fn(B, Nursery<'env, E, M>) -> F) -> Self {
        let (place, collects) = (builder.place, builder.on_error == OnError::Collect);
        let rules = if builder.is_plain() { None } else { Some(Box::new(builder)) };
        Self {
            start: Some(Start { rules, collects, place, body, call }),
            body: None,
            value: None,
            driver: None,
            seat: None,
            gone: None,
            env: PhantomData,
        }
    }
}

impl<T, E, B, F, M> Future for Block<'_, T, E, B, F, M>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, MultiError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(gone) = this.gone {
            return gone.poll_nursery(cx).map(Err);
        }
        let since = wall::count();
        let mut begun = None;
        let driver = match this.driver {
            Some(driver) => driver,
            None => {
                let start = this.start.as_ref().expect("a nursery is not polled once it is done");
                let (driver, handle) =
                    Driver::new(start.rules.as_deref(), start.collects, start.place);
                begun = Some(handle);
                let driver = this.driver.insert(driver);
                *this.seat = driver.kit.seat.take();
                driver
            }
        };
        let span = driver.span.clone();
        let _entered = span.enter();
        let inside = wall::count();
        let scope = driver.kit.scope.take();
        let scope = scope.expect("a nursery is not polled while it is being polled");
        let standing = InScope::enter(scope);
        let outermost = standing.is_outermost();
        driver.kit.held.pass_over();
        let seat = this.seat.as_mut().expect("a driver has a seat");
        let turn = seat.drive(|amid| {
            let frame = polling::enter(Kind::Open, false);
            if let Some((Start { body, call, .. }, handle)) = this.start.take().zip(begun) {
                let handle = Nursery::new(handle);
                let begin = || this.body.set(Some(call(body, handle)));
                if let Err(payload) = catch_unwind(AssertUnwindSafe(begin)) {
                    driver.body_panicked(payload);
                }
            }
            let turn = driver.turn(this.body.as_mut(), this.value, cx, Rounds::begin(amid));
            polling::leave(frame);
            driver.kit.held.end_turn(driver.children.len());
            #[cfg(feature = "tokio")]
            driver.core.end_turn(turn.is_ready(), driver.children.len() + driver.fresh.left());
            turn
        });
        driver.kit.scope = Some(standing.leave());
        if driver.at.shields {
            // Its own wall stands for those inside.
            wall::forget(inside);
        } else if turn.is_pending() && !outermost {
            driver.raise_wall(inside);
        }
        if wall::count() > since {
            match outermost {
                true => wall::forget(since),
                false => polling::mark_wall(),
            }
        }
        let Poll::Ready(closed) = turn else { return Poll::Pending };
        let along = driver.core.scope.is_taken_along().then(|| driver.core.scope.clone());
        driver.core.finish();
        let ended = driver.end(closed, this.value.take());
        // What a cancellation from outside has cut off is not done, whatever the body returned.
        let is_cut = |_: &_| driver.core.state().life.saw_cancellation();
        let along = along.filter(|_| ended.as_ref().map_or_else(MultiError::is_empty, is_cut));
        if let Some(driver) = this.driver.take() {
            driver.leave(this.seat.take());
        }
        if let Some(scope) = along {
            let gone = this.gone.insert(EndedOutside::new(scope));
            return gone.poll_nursery(cx).map(Err);
        }
        Poll::Ready(ended)
    }
}

impl<E> Driver<E> {
    /// The driver, and the body's share of what they have.
    #[inline(always)]
    fn new(rules: Option<&Builder>, collects: bool, place: OpenedAt) -> (Self, Counted<Core<E>>) {
        // A subscriber's code, which may panic: nothing is there yet that would stay for ever.
        let span = Span::nursery(rules.and_then(|rules| rules.name.as_deref()));
        let mut kit = Kit::open(rules, place);
        let (scope, list) = kit.again.take().zip(kit.list.take()).expect("no core has them");
        let limit = rules.and_then(|rules| rules.limit);
        let [core, handle] = Core::new(scope, list, collects, limit);
        let (children, fresh) = (Vec::new(), Fresh::new());
        let options = rules.map(|rules| &rules.scope);
        let budget = options.and_then(|options| options.cleanup);
        let at = Progress {
            is_due: true,
            shields: options.is_some_and(|options| options.shield),
            has_budget: budget.is_some_and(|budget| !budget.is_zero()),
            ..Progress::default()
        };
        (Self { core, children, fresh, at, kit, span }, handle)
    }

    /// The nursery has ended.
    #[inline]
    fn leave(self, seat: Option<DriverSeat>) {
        let Self { core, kit, .. } = self;
        kit.close(seat, core.into_inner(Core::into_parts));
    }

    /// From the first spawned child on, or the first error, which would be lost with it, or if it has a budget of
    /// its own, the owners of what it stands in wait for it (R27a); and from the first nursery of that kind on
    /// that stands in it: both are taken along. `inside`: where the walls begin that were raised in it.
    #[inline]
    fn raise_wall(&mut self, inside: usize) {
        if self.at.is_known {
            return;
        }
        let scope = &self.core.scope;
        if self.at.has_budget
            || self.at.has_failed
            || scope.children.spawned() > 0
            || scope.adopts()
            || wall::has_nursery(inside)
        {
            self.at.is_known = true;
            wall::raise_nursery(scope);
        }
    }

    /// What the block gives.
    fn end<T>(&self, closed: Closed, value: Option<T>) -> Result<T, MultiError<E>> {
        if closed == Closed::Clean
            && let Some(value) = value
        {
            return Ok(value);
        }
        let failures = self.core.take_errors();
        let scope = &self.core.scope;
        let name = scope.signal.info.name.clone();
        let mut error = MultiError::collect(failures, scope.cause(), name);
        match value {
            // Every error was handed over to the future that awaited the child.
            Some(value) if error.is_empty() => Ok(value),
            value => {
                // Its destructor must not take the errors along.
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
                    error.add(Failure::panic(payload, Label::BODY));
                }
                Err(error)
            }
        }
    }

    /// The block was dropped early: its children go at once, spawned ones are left to the nearest
    /// nursery above (R28).
    fn abandon(mut self, seat: &mut DriverSeat, body: std::thread::Result<()>) {
        let mut failures = Vec::new();
        if let Err(payload) = body {
            failures.push(Failure::panic(payload, Label::BODY));
        }
        let started = self.core.abandon(seat);
        let standing = self.kit.scope.take().map(InScope::enter);
        self.core.scope.abort();
        let open = self.core.state().life.phase() == Phase::Open;
        if open {
            self.core.body_ended(Outcome::Cancelled);
        }
        let waiting = std::mem::take(&mut self.children);
        let fresh = std::mem::replace(&mut self.fresh, Fresh::new());
        let mut ended = 0;
        for mut child in waiting.into_iter().chain(fresh).chain(started) {
            ended += 1;
            // Shielded or not: what borrows from here cannot stay.
            if let Outcome::Failed(failure) = child.cancel() {
                failures.push(failure);
            }
        }
        // The body's waker, and what the children gave back.
        seat.close();
        // One panic goes on from here; the others are errors of what is left.
        let mut resumed = None;
        for failure in failures {
            let failure = match (&resumed, std::thread::panicking()) {
                (None, false) => match failure.into_payload() {
                    Ok(payload) => {
                        resumed = Some(payload);
                        continue;
                    }
                    Err(failure) => failure,
                },
                _ => failure,
            };
            self.core.state().life.error(Outcome::Failed(failure));
        }
        self.core.leave_orphans(ended);
        drop(standing);
        // A panic of what is left here, beside another, would end the program.
        ignore_panics(|| drop(self));
        if let Some(payload) = resumed {
            resume_unwind(payload);
        }
    }
}
