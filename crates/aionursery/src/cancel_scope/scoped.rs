//! The future of something that runs in a scope of its own: it is dropped when that is cancelled,
//! after the shields in it, and gives then what its scope has caused, no other cancellation. It must
//! never end in the place of whoever a cancellation from outside is for.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::Shared;
use crate::error::Cancelled;
use crate::frame::{self, Kind, STOP, Standing};
use crate::ready::Share;
use crate::scope::{Scope, lock};
use crate::timer::Timer;
use crate::wall::{self, Held, Raised};

pin_project! {
    /// The future of [`CancelScope::run`].
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{CancelScope, Scoped};
    /// let ready: Scoped<_> = CancelScope::new().run(std::future::ready(7));
    /// assert_eq!(ready.await.unwrap(), 7);
    /// # });
    /// ```
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        shared: Arc<Shared>,
        #[pin]
        future: Option<F>,
        scope: Option<(Arc<Scope>, Share)>,
        timer: Timer,
        held: Held,
        shield: bool,
        // It shields, for those who are around.
        wall: Option<Raised>,
        // What it shields cannot go on.
        stuck: bool,
        // It has ended, and whoever awaits it is cancelled.
        gone: bool,
        place: &'static Location<'static>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            lock(&this.project().shared.told).scope = None;
        }
    }
}

impl<F> Scoped<F> {
    pub(super) fn new(shared: Arc<Shared>, future: F, place: &'static Location<'static>) -> Self {
        Self {
            shared,
            future: Some(future),
            scope: None,
            timer: Timer::new(),
            held: Held::default(),
            shield: false,
            wall: None,
            stuck: false,
            gone: false,
            place,
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if *this.gone {
            frame::stop();
            return Poll::Pending;
        }
        let since = wall::count();
        let (scope, ready) = match this.scope {
            Some(entered) => entered,
            None => {
                let entered = this.shared.enter(this.place);
                *this.shield = this.shared.shields();
                // Whoever is around does not drop it while it shields.
                *this.wall = (*this.shield && entered.0.parent().is_some()).then(Raised::new);
                this.scope.insert(entered)
            }
        };
        loop {
            ready.register(cx.waker());
            if (scope.is_hard() || *this.stuck) && !this.held.stands(cx.waker()) {
                this.future.set(None);
                *this.wall = None;
                return match scope.own_cause() {
                    Some(cause) if !scope.is_taken_along() => Poll::Ready(Err(Cancelled(cause))),
                    _ => {
                        *this.gone = true;
                        frame::stop();
                        Poll::Pending
                    }
                };
            }
            let inside = wall::count();
            let standing = Standing::in_scope(scope.clone());
            let outermost = standing.is_outermost();
            let kind = match frame::kind() {
                Kind::Open if *this.shield => Kind::Shielded,
                kind => kind,
            };
            let frame = frame::enter(kind);
            let future = this.future.as_mut().as_pin_mut();
            let polled = future.expect("a scope is not polled once it is done").poll(cx);
            let marks = frame::leave(frame);
            drop(standing);
            if wall::count() > inside {
                this.held.take_in(inside);
                if *this.shield {
                    // Its own wall stands for those inside.
                    wall::forget(inside);
                }
            }
            if outermost {
                wall::forget(since);
            } else if wall::count() > since {
                frame::mark_wall();
            }
            if let Poll::Ready(value) = polled {
                this.future.set(None);
                *this.wall = None;
                return Poll::Ready(Ok(value));
            }
            if marks & STOP != 0 && (!scope.is_hard() || scope.is_taken_along()) {
                // What it runs cannot go on, so whoever awaits it cannot.
                match *this.shield {
                    true => *this.stuck = true,
                    false => drop(frame::stop()),
                }
            }
            // The time is looked at only now: a value that is there is not late.
            let late = this.timer.poll(scope, cx);
            if late || (scope.is_hard() || *this.stuck) && !this.held.stands(cx.waker()) {
                // It was cancelled, maybe by what it ran, or its last shield has fallen.
                continue;
            }
            return Poll::Pending;
        }
    }
}
