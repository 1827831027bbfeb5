//! The future of something that runs in a scope of its own: it is dropped when that is cancelled,
//! after the shields in it, and gives then what its scope has caused, no other cancellation. It must
//! never end in place of the future that a cancellation from outside is for.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::around::{self, Around, Outside, Target};
use crate::ended_outside::EndedOutside;
use crate::error::Cancelled;
use crate::ignore_panics::ignore_panics;
use crate::polling::{self, Amid, InScope, Kind, PARK};
use crate::scope::Scope;
use crate::timer::Timer;
use crate::wall::{self, ShieldGuard, WallsInside};

pin_project! {
    /// The future of [`CancelScope::run`].
    #[must_use = "futures do nothing unless polled"]
    #[project = Fields]
    pub struct Scoped<F> {
        target: Target,
        #[pin]
        future: Option<F>,
        // What runs in the scope is this.
        runs: bool,
        // It has a place in the tree. Boxed: most of what is run in a scope never waits.
        waits: Option<Box<Waiting>>,
        // It has ended, and the future that awaits it is cancelled.
        gone: Option<Box<EndedOutside>>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if *this.runs {
                // What ran in it may have panicked, and be dropped for that.
                ignore_panics(|| this.leave());
            }
        }
    }
}

/// What has to wait in a scope.
struct Waiting {
    scope: Arc<Scope>,
    timer: Timer,
    held: WallsInside,
    shield: bool,
    /// It shields, for what is around.
    wall: Option<ShieldGuard>,
    /// What it shields cannot go on.
    stuck: bool,
}

opaque!("Scoped", [F] Scoped<F>);

impl<F> Scoped<F> {
    pub(super) fn new(target: Target, future: F) -> Self {
        Self { target, future: Some(future), runs: false, waits: None, gone: None }
    }
}

impl<F> Fields<'_, F> {
    /// Takes its place in the tree, which may have been opened by what ran in it. `inside`: where the walls
    /// begin that were raised in that.
    fn enter(&mut self, opened: Option<Arc<Scope>>, shield: bool, inside: usize, waker: &Waker) {
        let scope = opened.unwrap_or_else(|| self.target.open(polling::current()));
        scope.signal.owner.register(waker);
        let timer = Timer::new();
        let held = WallsInside::default();
        let mut waits = Waiting { scope, timer, held, shield, wall: None, stuck: false };
        waits.take_in(inside);
        if shield && waits.scope.parent().is_some() {
            // What is around does not drop it while it shields.
            waits.wall = Some(ShieldGuard::new());
        }
        *self.waits = Some(Box::new(waits));
    }

    /// What has waited in it has ended, or is dropped.
    fn end(&mut self) {
        self.future.set(None);
        *self.runs = false;
        self.leave();
    }

    fn leave(&mut self) {
        let scope = self.waits.take().map(|waits| {
            let Waiting { scope, wall, .. } = *waits;
            drop(wall);
            scope
        });
        self.target.end(scope);
    }
}

impl Waiting {
    /// Walls were raised in what runs in it.
    fn take_in(&mut self, inside: usize) {
        if wall::count() > inside {
            self.held.take_in(inside);
            if self.shield {
                // Its own wall stands for those inside.
                wall::forget(inside);
            }
        }
    }

    /// Whether it was cancelled, and what runs in it may be dropped.
    fn is_to_go(&mut self, waker: &Waker) -> bool {
        (self.scope.is_hard() || self.stuck) && !self.held.stands(waker)
    }

    /// What runs in it has to wait, and has left these marks. Returns whether it was cancelled meanwhile.
    fn wait(&mut self, marks: u8, cx: &mut Context<'_>) -> bool {
        if marks & PARK != 0 {
            // What it runs cannot go on, so the future that awaits it cannot; unless it was cancelled
            // itself, and this is all that it comes to.
            let is_own = self.shield || self.scope.own_cause().is_some();
            if is_own || (self.scope.is_hard() && !self.scope.is_taken_along()) {
                self.stuck = true;
                polling::acknowledge();
            } else {
                polling::park();
            }
        }
        // The time is looked at only now: a value that is there is not late.
        let late = self.timer.poll(&self.scope, cx) || self.scope.poll_tokens(cx);
        // It was cancelled, maybe by what it ran, or its last shield has fallen.
        late || self.is_to_go(cx.waker())
    }
}

/// In which frame the future of a scope is polled.
#[inline]
fn kind(shield: bool) -> Kind {
    match polling::kind() {
        kind if kind.is_open() && shield => Kind::Shielded,
        kind => kind,
    }
}

/// What is around hears of the walls that were raised since then.
#[inline]
fn pass_on(outermost: bool, since: usize) {
    if wall::count() > since {
        match outermost {
            true => wall::forget(since),
            false => polling::mark_wall(),
        }
    }
}

/// The walls that were raised since then, where nothing of ours is around: unless this is forgotten, what has
/// raised them has panicked.
struct UnheardWalls(usize);

impl Drop for UnheardWalls {
    fn drop(&mut self) {
        wall::forget(self.0);
    }
}

impl Target {
    /// Something is to run in it. Returns whether it shields, and whether it is not cancelled.
    #[inline(always)]
    fn begin(&self) -> (bool, bool) {
        match self {
            Self::Handles(shared, place) => {
                // Before anything runs in it: the clock of what is around may be the program's code, and panic.
                polling::settle();
                shared.begin(place)
            }
            Self::Until(..) => (false, true),
            Self::Shield(_) => (true, true),
        }
    }

    /// What ran in it has ended.
    #[inline]
    fn end(&self, scope: Option<Arc<Scope>>) {
        match self {
            Self::Handles(shared, _) => {
                drop(scope);
                shared.end();
            }
            Self::Until(..) | Self::Shield(_) => scope.into_iter().for_each(around::end),
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = Result<F::Output, Cancelled>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.waits.is_some() || this.gone.is_some() {
            return this.go_on(cx);
        }
        let since = wall::count();
        assert!(!*this.runs, "a scope is not polled again after a panic");
        let future = this.future.as_mut().as_pin_mut();
        let future = future.expect("a scope is not polled once it is done");
        let (shield, is_free) = this.target.begin();
        let before = if is_free { polling::stand_aside() } else { None };
        *this.runs = true;
        let Some(before) = before else {
            this.enter(None, shield, since, cx.waker());
            pass_on(polling::look(Around::is_outermost), since);
            return this.go_on(cx);
        };
        let frame = polling::enter_amid(kind(shield), shield);
        let outermost = before.is_outermost();
        let mut outside = Outside::new(this.target, before.into_open());
        let unheard = outermost.then(|| UnheardWalls(since));
        let amid = Amid::enter(&mut outside);
        let polled = future.poll(cx);
        let opened = amid.leave();
        mem::forget(unheard);
        let marks = polling::leave(frame);
        if let Poll::Ready(value) = polled {
            if shield {
                wall::forget(since);
            }
            pass_on(outermost, since);
            this.future.set(None);
            *this.runs = false;
            this.target.end(opened);
            return Poll::Ready(Ok(value));
        }
        this.enter(opened, shield, since, cx.waker());
        pass_on(outermost, since);
        match this.waits.as_mut().is_some_and(|waits| waits.wait(marks, cx)) {
            true => this.go_on(cx),
            false => Poll::Pending,
        }
    }
}

impl<F: Future> Fields<'_, F> {
    /// What had to wait before goes on, or ends.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Poll<Result<F::Output, Cancelled>> {
        if let Some(gone) = self.gone {
            return gone.poll(cx).map(|cause| Err(Cancelled(cause)));
        }
        let since = wall::count();
        loop {
            let waits = self.waits.as_mut().expect("what waits has a place in the tree");
            waits.scope.signal.owner.register(cx.waker());
            if waits.is_to_go(cx.waker()) {
                return self.give_up(cx);
            }
            let inside = wall::count();
            // The marks of what is to be dropped here are for nothing else.
            let frame = match waits.stuck {
                true => polling::enter(kind(waits.shield), true),
                false => polling::enter_amid(kind(waits.shield), waits.shield),
            };
            let future = self.future.as_mut().as_pin_mut();
            let future = future.expect("a scope is not polled once it is done");
            let standing = InScope::enter(waits.scope.clone());
            let outermost = standing.is_outermost();
            let unheard = outermost.then(|| UnheardWalls(since));
            let polled = future.poll(cx);
            mem::forget(unheard);
            drop(standing);
            let marks = polling::leave(frame);
            waits.take_in(inside);
            pass_on(outermost, since);
            if let Poll::Ready(value) = polled {
                self.end();
                return Poll::Ready(Ok(value));
            }
            if !waits.wait(marks, cx) {
                return Poll::Pending;
            }
        }
    }

    /// What runs in it is dropped.
    #[cold]
    fn give_up<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Cancelled>> {
        self.future.set(None);
        let scope = self.waits.as_ref().map(|waits| waits.scope.clone());
        let scope = scope.expect("what waits has a place in the tree");
        let cause = scope.own_cause().filter(|_| !scope.is_taken_along());
        self.end();
        if let Some(cause) = cause {
            return Poll::Ready(Err(Cancelled(cause)));
        }
        let gone = self.gone.insert(EndedOutside::new(scope));
        gone.poll(cx).map(|cause| Err(Cancelled(cause)))
    }
}
