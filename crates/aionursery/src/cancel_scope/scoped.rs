//! The future of something that runs in a scope of its own: it is dropped when that is cancelled,
//! after the shields in it, and gives then what its scope has caused, no other cancellation. It must
//! never end in place of the future that a cancellation from outside is for.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::around::{Around, Shared};
use crate::ended_outside::EndedOutside;
use crate::error::Cancelled;
use crate::ignore_panics::ignore_panics;
use crate::polling::{self, InScope, Kind, PARK};
use crate::scope::Scope;
use crate::timer::Timer;
use crate::wall::{self, ShieldGuard, WallsInside};

pin_project! {
    /// The future of [`CancelScope::run`].
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{CancelScope, future::Scoped};
    /// let ready: Scoped<_> = CancelScope::new().run(std::future::ready(7));
    /// assert_eq!(ready.await.unwrap(), 7);
    /// # });
    /// ```
    #[must_use = "futures do nothing unless polled"]
    #[project = Fields]
    pub struct Scoped<F> {
        shared: Arc<Shared>,
        #[pin]
        future: Option<F>,
        // What runs in the scope is this.
        runs: bool,
        // Its place in the tree, once it needs one.
        scope: Option<Arc<Scope>>,
        timer: Timer,
        held: WallsInside,
        shield: bool,
        // It shields, for what is around.
        wall: Option<ShieldGuard>,
        // What it shields cannot go on.
        stuck: bool,
        // It has ended, and the future that awaits it is cancelled.
        gone: Option<Box<EndedOutside>>,
        place: &'static Location<'static>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if *this.runs {
                // What ran in it may have panicked, and be dropped for that.
                ignore_panics(|| {
                    *this.scope = None;
                    this.shared.end();
                });
            }
        }
    }
}

opaque!("Scoped", [F] Scoped<F>);

impl<F> Scoped<F> {
    pub(super) fn new(shared: Arc<Shared>, future: F, place: &'static Location<'static>) -> Self {
        Self {
            shared,
            future: Some(future),
            runs: false,
            scope: None,
            timer: Timer::new(),
            held: WallsInside::default(),
            shield: false,
            wall: None,
            stuck: false,
            gone: None,
            place,
        }
    }
}

impl<F> Fields<'_, F> {
    /// Takes its place in the tree.
    fn enter(&mut self, waker: &Waker) {
        let scope = self.shared.enter(polling::current());
        scope.signal.register_owner(waker);
        if *self.shield && scope.parent().is_some() {
            // What is around does not drop it while it shields.
            *self.wall = Some(ShieldGuard::new());
        }
        *self.scope = Some(scope);
    }

    fn end(&mut self) {
        self.future.set(None);
        *self.wall = None;
        *self.scope = None;
        *self.runs = false;
        self.shared.end();
    }
}

/// For its lifetime the thread stands amid a scope that opens when it is asked for.
struct Amid {
    /// Nothing of ours is around.
    outermost: bool,
}

impl Amid {
    /// Something begins to run in the scope: also says whether that shields. `None` if the scope is to be
    /// opened first.
    fn enter(shared: &Arc<Shared>, place: &'static Location<'static>) -> (bool, Option<Self>) {
        let outside = polling::look(Around::is_cancelled);
        let stand = || polling::swap(Around::Later(shared.clone()));
        let (shield, outermost) = shared.begin(place, outside, stand);
        (shield, outermost.map(|outermost| Self { outermost }))
    }
}

impl Drop for Amid {
    fn drop(&mut self) {
        let Around::Later(shared) = polling::swap(Around::Nothing) else {
            unreachable!("scopes are left in the order of entering")
        };
        polling::swap(shared.take_around());
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(gone) = this.gone {
            return gone.poll(cx).map(|cause| Err(Cancelled(cause)));
        }
        let since = wall::count();
        let mut amid = None;
        // A shared look at it would stand against the borrows inside of a pinned future.
        if !*this.runs && this.future.as_mut().as_pin_mut().is_some() {
            (*this.shield, amid) = Amid::enter(this.shared, this.place);
            *this.runs = true;
            if amid.is_none() {
                this.enter(cx.waker());
            }
        }
        loop {
            if let Some(scope) = this.scope {
                scope.signal.register_owner(cx.waker());
                if (scope.is_hard() || *this.stuck) && !this.held.stands(cx.waker()) {
                    this.future.set(None);
                    let scope = scope.clone();
                    let cause = scope.own_cause().filter(|_| !scope.is_taken_along());
                    this.end();
                    if let Some(cause) = cause {
                        return Poll::Ready(Err(Cancelled(cause)));
                    }
                    let gone = this.gone.insert(EndedOutside::new(scope));
                    return gone.poll(cx).map(|cause| Err(Cancelled(cause)));
                }
            }
            let inside = wall::count();
            let kind = match polling::kind() {
                kind if kind.is_open() && *this.shield => Kind::Shielded,
                kind => kind,
            };
            // The marks of what is to be dropped here are for nothing else.
            let frame = match *this.stuck {
                true => polling::enter(kind, true),
                false => polling::enter_amid(kind, *this.shield),
            };
            let future = this.future.as_mut().as_pin_mut();
            let future = future.expect("a scope is not polled once it is done");
            let (polled, outermost) = match this.scope {
                Some(scope) => {
                    let standing = InScope::enter(scope.clone());
                    (future.poll(cx), standing.is_outermost())
                }
                None => {
                    let amid = amid.take().expect("a scope is not polled again after a panic");
                    (future.poll(cx), amid.outermost)
                }
            };
            let marks = polling::leave(frame);
            if wall::count() > inside {
                this.held.take_in(inside);
                if *this.shield {
                    // Its own wall stands for those inside.
                    wall::forget(inside);
                }
            }
            if polled.is_pending() && this.scope.is_none() {
                this.enter(cx.waker());
            }
            if outermost {
                wall::forget(since);
            } else if wall::count() > since {
                polling::mark_wall();
            }
            if let Poll::Ready(value) = polled {
                this.end();
                return Poll::Ready(Ok(value));
            }
            let scope = this.scope.as_ref().expect("what waits has a place in the tree");
            if marks & PARK != 0 {
                // What it runs cannot go on, so the future that awaits it cannot; unless it was cancelled
                // itself, and this is all that it comes to.
                let is_own = *this.shield || scope.own_cause().is_some();
                if is_own || (scope.is_hard() && !scope.is_taken_along()) {
                    *this.stuck = true;
                    polling::acknowledge();
                } else {
                    polling::park();
                }
            }
            // The time is looked at only now: a value that is there is not late.
            let late = this.timer.poll(scope, cx) || scope.poll_tokens(cx);
            if late || (scope.is_hard() || *this.stuck) && !this.held.stands(cx.waker()) {
                // It was cancelled, maybe by what it ran, or its last shield has fallen.
                continue;
            }
            return Poll::Pending;
        }
    }
}
