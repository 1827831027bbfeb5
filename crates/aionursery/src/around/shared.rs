//! What the handles of a scope and the future that runs in it share: what it is opened with, why it was
//! cancelled, its place in the tree. It must never run code of the program's under its lock.

use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

#[cfg(feature = "tokio-util")]
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::error::Cause;
use crate::scope::info::{self, Info, OpenedAt, Stage};
use crate::scope::{Owner, Scope, ScopeOptions};
use crate::sync::{Mutex, MutexGuard, lock};

/// What ran in a scope has ended.
pub(crate) fn end(scope: Arc<Scope>) {
    if Arc::strong_count(&scope) > 1 {
        // What was opened in it is still held, or a future that was first polled in it goes on elsewhere: its time is
        // over, and it is shown no more.
        scope.set_deadline(f64::INFINITY);
        scope.signal.info.set_stage(Stage::Closed);
    }
}

/// What the handles of a scope and the future that runs in it share.
#[derive(Default)]
pub(crate) struct Shared(Mutex<ScopeState>);

#[derive(Default)]
pub(crate) struct ScopeState {
    /// What its place in the tree is opened with.
    pub(crate) options: ScopeOptions,
    /// Where it was told to run what runs in it now; `None` if nothing does.
    runs: OpenedAt,
    /// Why it was cancelled itself. It stays so, whatever runs in it next.
    cause: Option<Cause>,
    /// What it stands in, while its first step goes on without a place in the tree.
    pub(super) parent: Option<Arc<Scope>>,
    /// Its place in the tree.
    scope: Option<Arc<Scope>>,
    /// Cancelled when it is.
    #[cfg(feature = "tokio-util")]
    token: Option<CancellationToken>,
    /// It is cancelled when one of these is.
    #[cfg(feature = "tokio-util")]
    listens_to: Vec<CancellationToken>,
}

impl ScopeState {
    /// Where a cancellation comes from that is not its own cause: its place in the tree, or what it stands in.
    fn reached_by(&self) -> Option<&Arc<Scope>> {
        self.scope.as_ref().or(self.parent.as_ref().filter(|_| !self.options.shield))
    }

    /// A token that was cancelled before this heard of it has cancelled it.
    #[cfg(feature = "tokio-util")]
    fn listen(&mut self) {
        if self.cause.is_none() && self.listens_to.iter().any(CancellationToken::is_cancelled) {
            let reason = Some(crate::scope::REASON.into());
            self.cause = Some(Cause::new(nursery_core::Source::Explicit, reason));
        }
    }

    /// What was cancelled from outside may run again; a token that was cancelled stays so.
    #[cfg(feature = "tokio-util")]
    fn renew_token(&mut self) {
        if self.cause.is_none() && self.token.as_ref().is_some_and(CancellationToken::is_cancelled)
        {
            self.token = None;
        }
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, ScopeState> {
        lock(&self.0)
    }

    /// Its state, when a token that was cancelled has cancelled it.
    fn heard(&self) -> MutexGuard<'_, ScopeState> {
        #[cfg_attr(not(feature = "tokio-util"), expect(unused_mut, reason = "there are no tokens"))]
        let mut state = self.state();
        #[cfg(feature = "tokio-util")]
        state.listen();
        state
    }

    /// What it stands in, while it has no place in the tree.
    pub(super) fn stand_in(&self, parent: Option<Arc<Scope>>) {
        self.state().parent = parent;
    }

    /// Something is to run in it. Returns whether it shields, and whether it is not cancelled.
    ///
    /// # Panics
    /// If something runs in it already.
    pub(crate) fn begin(&self, place: &'static Location<'static>) -> (bool, bool) {
        let state = &mut *self.state();
        assert!(state.runs.is_none(), "only one thing at a time runs in a scope");
        state.runs = Some(place);
        #[cfg(feature = "tokio-util")]
        state.listen();
        (state.options.shield, state.cause.is_none())
    }

    /// What ran in it has ended.
    pub(crate) fn end(&self) {
        let (scope, parent) = {
            let state = &mut *self.state();
            state.runs = None;
            let scope = state.scope.take();
            if state.cause.is_none() {
                state.cause = scope.as_ref().and_then(|scope| scope.own_cause());
                #[cfg(feature = "tokio-util")]
                state.renew_token();
            }
            (scope, state.parent.take())
        };
        drop(parent);
        scope.into_iter().for_each(end);
    }

    /// Its place in the tree, below `parent`. Opened outside the lock: the clock may be the program's
    /// code, which may ask this scope (R29). Only one thread at a time runs what is in it, so no
    /// other opens it meanwhile; but it may be told something.
    pub(crate) fn enter(&self, parent: Option<Arc<Scope>>) -> Arc<Scope> {
        let (options, runs) = {
            let state = self.state();
            if let Some(scope) = &state.scope {
                return scope.clone();
            }
            (state.options.clone(), state.runs)
        };
        let info = Info::new(info::Kind::Scope, None, runs);
        let scope = Scope::open(parent, &options, Owner::one(), info);
        let (cause, deadline) = {
            let state = &mut *self.state();
            state.scope = Some(scope.clone());
            state.parent = None;
            #[cfg(feature = "tokio-util")]
            state.listens_to.iter().for_each(|token| scope.listen_to(token));
            (state.cause.clone(), state.options.deadline)
        };
        if let Some(deadline) = deadline.filter(|_| deadline != options.deadline) {
            scope.set_deadline(scope.clock().nanoseconds(deadline));
        }
        if let Some(Cause(cause)) = cause {
            scope.cancel(cause.source, cause.reason);
        }
        #[cfg(feature = "tokio-util")]
        self.tell_token(|token| _ = scope.tell(token));
        scope
    }

    /// Changes what it is to be, and gives its place in the tree, to be told without the lock.
    fn change<R>(&self, act: impl FnOnce(&mut ScopeState) -> R) -> (Option<Arc<Scope>>, R) {
        let state = &mut *self.state();
        let changed = act(state);
        (state.scope.clone(), changed)
    }

    pub(crate) fn cancel(&self, cause: Cause) {
        let (scope, Cause(cause)) = self.change(|state| state.cause.get_or_insert(cause).clone());
        if let Some(scope) = scope {
            scope.cancel(cause.source, cause.reason);
        }
        #[cfg(feature = "tokio-util")]
        self.tell_token(CancellationToken::cancel);
    }

    pub(crate) fn set_deadline(&self, deadline: Instant) {
        let (scope, ()) = self.change(|state| state.options.deadline = Some(deadline));
        if let Some(scope) = scope {
            scope.set_deadline(scope.clock().nanoseconds(deadline));
        }
    }

    /// The scope, if it has a place in the tree.
    pub(crate) fn opened(&self) -> Option<Arc<Scope>> {
        self.state().scope.clone()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        let state = self.heard();
        state.cause.is_some() || state.reached_by().is_some_and(|scope| scope.is_soft())
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        let state = self.heard();
        state.cause.clone().or_else(|| state.reached_by()?.cause())
    }

    /// The time, if nothing is around. Not under the lock: the clock is the program's code.
    pub(super) fn now(&self) -> Instant {
        let clock = self.state().options.clock();
        clock.map_or_else(clock::here, |clock| clock.now())
    }
}

#[cfg(feature = "tokio-util")]
impl Shared {
    /// A token that is cancelled when it is.
    pub(crate) fn token(&self) -> CancellationToken {
        let token = |state: &mut ScopeState| state.token.get_or_insert_default().clone();
        let (scope, token) = self.change(token);
        if let Some(scope) = scope {
            scope.tell(&token);
        }
        token
    }

    /// Not under the lock: a token calls wakers, which are the program's code.
    fn tell_token(&self, tell: impl FnOnce(&CancellationToken)) {
        let token = self.state().token.clone();
        if let Some(token) = token {
            tell(&token);
        }
    }

    /// It is cancelled when `token` is.
    pub(crate) fn listen_to(&self, token: &CancellationToken) {
        let (scope, ()) = self.change(|state| {
            state.listens_to.push(token.clone());
            state.listen();
        });
        if let Some(scope) = scope {
            scope.cancel_on(token);
        }
    }
}
