//! What is around the running code: nothing, a scope, or one that is not open yet.
//!
//! Most of what runs in a scope is ready at once and asks for nothing. So a scope has no place in the
//! tree before it needs one: when what runs in it opens something below or asks for what is around,
//! or when it has to wait. It must never be told apart from one that was open from the start.

mod unopened;

use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

#[cfg(feature = "tokio-util")]
use tokio_util::sync::CancellationToken;

pub(crate) use unopened::{Terms, Unopened};

use crate::clock;
use crate::error::Cause;
use crate::scope::info::{self, Info, OpenedAt};
use crate::scope::{Owner, Scope, ScopeOptions};
use crate::sync::{Mutex, MutexGuard, lock};

/// What is around the running code.
#[derive(Clone, Default)]
pub(crate) enum Around {
    #[default]
    Nothing,
    Scope(Arc<Scope>),
    /// A scope that opens when it is asked for: most end before that.
    Later(Arc<Shared>),
    /// As that, of a scope without a handle. Opened before it is what is around one with a handle.
    Unopened(Unopened),
}

impl Around {
    /// Whether nothing of ours polls what stands in it.
    #[inline]
    pub(crate) fn is_outermost(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Scope(scope) => scope.signal.info.kind == info::Kind::Thread,
            Self::Later(_) | Self::Unopened(_) => false,
        }
    }

    /// The scope, which opens for this.
    pub(crate) fn scope(&mut self) -> Option<Arc<Scope>> {
        match self {
            Self::Nothing => None,
            Self::Scope(scope) => Some(scope.clone()),
            Self::Later(shared) => Some(shared.open()),
            Self::Unopened(it) => {
                let scope = it.open();
                if let Self::Unopened(it) = std::mem::replace(self, Self::Scope(scope.clone())) {
                    it.end();
                }
                Some(scope)
            }
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Scope(scope) => scope.is_soft(),
            Self::Later(shared) => shared.is_cancelled(),
            Self::Unopened(it) => it.outside().is_some_and(|above| above.is_soft()),
        }
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Self::Nothing => None,
            Self::Scope(scope) => scope.cause(),
            Self::Later(shared) => shared.cause(),
            Self::Unopened(it) => it.outside()?.cause(),
        }
    }

    /// Whether it is `scope`, or below it.
    pub(crate) fn is_below(&self, scope: &Arc<Scope>) -> bool {
        self.nearest(|open| open.is_some_and(|open| open.is_below(scope)))
    }

    /// Whether `scope` is it, or below it.
    pub(crate) fn is_above(&self, scope: &Arc<Scope>) -> bool {
        self.nearest(|open| open.is_some_and(|open| scope.is_below(open)))
    }

    /// Tells `ask` the nearest scope that is open: it, or the one that it stands in.
    #[inline]
    fn nearest<R>(&self, ask: impl FnOnce(Option<&Arc<Scope>>) -> R) -> R {
        match self {
            Self::Nothing => ask(None),
            Self::Scope(scope) => ask(Some(scope)),
            Self::Later(shared) => shared.inner().nearest(ask),
            Self::Unopened(it) => ask(it.parent()),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::Nothing => clock::here(),
            Self::Later(shared) => shared.now(),
            _ => self.nearest(|open| open.map_or_else(clock::here, |open| open.clock().instant())),
        }
    }

    #[inline]
    pub(crate) fn unopened(terms: Terms, parent: Option<Arc<Scope>>) -> Self {
        Self::Unopened(Unopened::new(terms, parent))
    }

    /// Something begins to run in a scope that stands in this: what is around then. `Err` gives this back if
    /// a scope is to be opened first.
    #[inline]
    pub(crate) fn begin(self, terms: Terms) -> Result<Self, Self> {
        match self {
            Self::Nothing => Ok(Self::unopened(terms, None)),
            Self::Scope(scope) if !scope.is_soft() => Ok(Self::unopened(terms, Some(scope))),
            around => Err(around),
        }
    }

    /// What ran in that scope has ended. Gives what is around again, and the scope if it was opened.
    #[inline]
    pub(crate) fn end(self, before: Option<Self>) -> (Self, Option<Arc<Scope>>) {
        let (parent, scope) = match self {
            Self::Unopened(it) => (it.end(), None),
            Self::Scope(scope) => (scope.parent().cloned(), Some(scope)),
            Self::Nothing | Self::Later(_) => {
                unreachable!("scopes are left in the order of entering")
            }
        };
        (before.unwrap_or_else(|| parent.map_or(Self::Nothing, Self::Scope)), scope)
    }
}

/// What ran in a scope has ended.
pub(crate) fn end(scope: Arc<Scope>) {
    if Arc::strong_count(&scope) > 1 {
        // A future that was first polled in it goes on elsewhere: its time is over.
        scope.set_deadline(f64::INFINITY);
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
    /// What is around, while its first step goes on without a place in the tree.
    around: Around,
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
    /// Whether one of its tokens has cancelled it before anything runs in it.
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

    /// Something is to run in it. Unless it is cancelled already, what is around now is what `stand` gives.
    /// Returns whether it shields, and, unless it is to be opened first, whether nothing of ours is around.
    ///
    /// # Panics
    /// If something runs in it already.
    #[inline]
    pub(crate) fn begin(
        &self,
        place: &'static Location<'static>,
        outside_is_cancelled: bool,
        stand: impl FnOnce() -> Around,
    ) -> (bool, Option<bool>) {
        let state = &mut *self.state();
        assert!(state.runs.is_none(), "only one thing at a time runs in a scope");
        state.runs = Some(place);
        #[cfg(feature = "tokio-util")]
        state.listen();
        let outermost = (!outside_is_cancelled && state.cause.is_none()).then(|| {
            state.around = stand();
            state.around.is_outermost()
        });
        (state.options.shield, outermost)
    }

    /// What runs in it stands amid it no more: gives what was around.
    #[inline]
    pub(crate) fn take_around(&self) -> Around {
        std::mem::take(&mut self.state().around)
    }

    /// What ran in it has ended.
    pub(crate) fn end(&self) {
        let scope = {
            let state = &mut *self.state();
            state.runs = None;
            let scope = state.scope.take();
            if state.cause.is_none() {
                state.cause = scope.as_ref().and_then(|scope| scope.own_cause());
                #[cfg(feature = "tokio-util")]
                state.renew_token();
            }
            scope
        };
        scope.into_iter().for_each(end);
    }

    /// Its place in the tree: for what runs in it, while that stands amid it.
    pub(crate) fn open(&self) -> Arc<Scope> {
        let mut around = {
            let state = self.state();
            if let Some(scope) = &state.scope {
                return scope.clone();
            }
            state.around.clone()
        };
        self.enter(around.scope())
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

    pub(crate) fn cancel(&self, cause: Cause) {
        let (scope, Cause(cause)) = {
            let state = &mut *self.state();
            (state.scope.clone(), state.cause.get_or_insert(cause).clone())
        };
        if let Some(scope) = scope {
            scope.cancel(cause.source, cause.reason);
        }
        #[cfg(feature = "tokio-util")]
        self.tell_token(CancellationToken::cancel);
    }

    pub(crate) fn set_deadline(&self, deadline: Instant) {
        let scope = {
            let state = &mut *self.state();
            state.options.deadline = Some(deadline);
            state.scope.clone()
        };
        if let Some(scope) = scope {
            scope.set_deadline(scope.clock().nanoseconds(deadline));
        }
    }

    /// Its place in the tree; while it has none, what is around what runs in it.
    fn inner(&self) -> Around {
        let state = self.state();
        state.scope.clone().map_or_else(|| state.around.clone(), Around::Scope)
    }

    /// Tells `own` why it was cancelled itself; if it was not, `above` where a cancellation may come from.
    fn ask<R>(&self, own: impl FnOnce(&Cause) -> R, above: impl FnOnce(&Around) -> R) -> R {
        let state = self.state();
        match (&state.cause, &state.scope) {
            (Some(cause), _) => own(cause),
            (None, Some(scope)) => above(&Around::Scope(scope.clone())),
            (None, None) if state.options.shield => above(&Around::Nothing),
            (None, None) => above(&state.around),
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.ask(|_| true, Around::is_cancelled)
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        self.ask(|cause| Some(cause.clone()), Around::cause)
    }

    /// The time, for what runs in it.
    fn now(&self) -> Instant {
        let around = self.inner();
        let clock = match around {
            // Read outside the lock: it is the program's code.
            Around::Nothing => self.state().options.clock.clone(),
            _ => None,
        };
        clock.map_or_else(|| around.now(), |clock| clock.now())
    }
}

#[cfg(feature = "tokio-util")]
impl Shared {
    /// A token that is cancelled when it is.
    pub(crate) fn token(&self) -> CancellationToken {
        let (scope, token) = {
            let state = &mut *self.state();
            let token = state.token.get_or_insert_with(CancellationToken::new).clone();
            (state.scope.clone(), token)
        };
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
        let scope = {
            let state = &mut *self.state();
            state.listens_to.push(token.clone());
            state.scope.clone()
        };
        if let Some(scope) = scope {
            scope.listen_to(token);
        }
    }
}
