//! What is around the running code: nothing, a scope, or one that is not open yet.
//!
//! Most of what runs in a scope is ready at once and asks for nothing. So a scope has no place in the
//! tree before it needs one: when what runs in it opens something below or asks for what is around,
//! or when it has to wait. It must never be told apart from one that was open from the start.

use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

#[cfg(feature = "tokio-util")]
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::error::Cause;
use crate::scope::about::{self, About, OpenedAt};
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
}

impl Around {
    /// Whether nothing of ours polls what stands in it.
    #[inline]
    pub(crate) fn is_outermost(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Scope(scope) => scope.signal.about.kind == about::Kind::Thread,
            Self::Later(_) => false,
        }
    }

    pub(crate) fn scope(&self) -> Option<Arc<Scope>> {
        match self {
            Self::Nothing => None,
            Self::Scope(scope) => Some(scope.clone()),
            Self::Later(shared) => Some(shared.open()),
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Scope(scope) => scope.is_soft(),
            Self::Later(shared) => shared.is_cancelled(),
        }
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Self::Nothing => None,
            Self::Scope(scope) => scope.cause(),
            Self::Later(shared) => shared.cause(),
        }
    }

    /// Whether it is `scope`, or below it.
    pub(crate) fn is_below(&self, scope: &Arc<Scope>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Scope(own) => own.is_below(scope),
            Self::Later(shared) => shared.is_below(scope),
        }
    }

    /// Whether `scope` is it, or below it.
    pub(crate) fn is_above(&self, scope: &Arc<Scope>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Scope(own) => scope.is_below(own),
            Self::Later(shared) => shared.is_above(scope),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::Nothing => clock::here(),
            Self::Scope(scope) => scope.clock().instant(),
            Self::Later(shared) => shared.now(),
        }
    }
}

/// What the handles of a scope and the future that runs in it share.
#[derive(Default)]
pub(crate) struct Shared(Mutex<Told>);

#[derive(Default)]
pub(crate) struct Told {
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

impl Told {
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
    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
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
        let told = &mut *self.told();
        assert!(told.runs.is_none(), "only one thing at a time runs in a scope");
        told.runs = Some(place);
        #[cfg(feature = "tokio-util")]
        told.listen();
        let outermost = (!outside_is_cancelled && told.cause.is_none()).then(|| {
            told.around = stand();
            told.around.is_outermost()
        });
        (told.options.shield, outermost)
    }

    /// What runs in it stands amid it no more: gives what was around.
    #[inline]
    pub(crate) fn take_around(&self) -> Around {
        std::mem::take(&mut self.told().around)
    }

    /// What ran in it has ended.
    pub(crate) fn end(&self) {
        let scope = {
            let told = &mut *self.told();
            told.runs = None;
            let scope = told.scope.take();
            if told.cause.is_none() {
                told.cause = scope.as_ref().and_then(|scope| scope.own_cause());
                #[cfg(feature = "tokio-util")]
                told.renew_token();
            }
            scope
        };
        if let Some(scope) = scope
            && Arc::strong_count(&scope) > 1
        {
            // A future that was first polled in it goes on elsewhere: its time is over.
            scope.set_deadline(f64::INFINITY);
        }
    }

    /// Its place in the tree: for what runs in it, while that stands amid it.
    pub(crate) fn open(&self) -> Arc<Scope> {
        let around = {
            let told = self.told();
            if let Some(scope) = &told.scope {
                return scope.clone();
            }
            told.around.clone()
        };
        self.enter(around.scope())
    }

    /// Its place in the tree, below `parent`. Opened outside the lock: the clock may be the program's
    /// code, which may ask this scope (R29). Only one thread at a time runs what is in it, so no
    /// other opens it meanwhile; but it may be told something.
    pub(crate) fn enter(&self, parent: Option<Arc<Scope>>) -> Arc<Scope> {
        let (options, runs) = {
            let told = self.told();
            if let Some(scope) = &told.scope {
                return scope.clone();
            }
            (told.options.clone(), told.runs)
        };
        let about = About::new(about::Kind::Scope, None, runs);
        let scope = Scope::open(parent, &options, Owner::one(), about);
        let (cause, deadline) = {
            let told = &mut *self.told();
            told.scope = Some(scope.clone());
            #[cfg(feature = "tokio-util")]
            told.listens_to.iter().for_each(|token| scope.listen_to(token));
            (told.cause.clone(), told.options.deadline)
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
            let told = &mut *self.told();
            (told.scope.clone(), told.cause.get_or_insert(cause).clone())
        };
        if let Some(scope) = scope {
            scope.cancel(cause.source, cause.reason);
        }
        #[cfg(feature = "tokio-util")]
        self.tell_token(CancellationToken::cancel);
    }

    pub(crate) fn set_deadline(&self, deadline: Instant) {
        let scope = {
            let told = &mut *self.told();
            told.options.deadline = Some(deadline);
            told.scope.clone()
        };
        if let Some(scope) = scope {
            scope.set_deadline(scope.clock().nanoseconds(deadline));
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        let told = self.told();
        told.cause.is_some()
            || match &told.scope {
                Some(scope) => scope.is_soft(),
                None => !told.options.shield && told.around.is_cancelled(),
            }
    }

    /// Whether what runs in it stands below `scope`.
    pub(crate) fn is_below(&self, scope: &Arc<Scope>) -> bool {
        let told = self.told();
        match &told.scope {
            Some(own) => own.is_below(scope),
            None => told.around.is_below(scope),
        }
    }

    /// Whether `scope` stands below what runs in it.
    pub(crate) fn is_above(&self, scope: &Arc<Scope>) -> bool {
        let told = self.told();
        match &told.scope {
            Some(own) => scope.is_below(own),
            None => told.around.is_above(scope),
        }
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        let told = self.told();
        if told.cause.is_some() {
            return told.cause.clone();
        }
        match &told.scope {
            Some(scope) => scope.cause(),
            None if told.options.shield => None,
            None => told.around.cause(),
        }
    }

    /// The time, for what runs in it.
    pub(crate) fn now(&self) -> Instant {
        let (around, clock) = {
            let told = self.told();
            match &told.scope {
                Some(scope) => (Around::Scope(scope.clone()), None),
                None => (told.around.clone(), told.options.clock.clone()),
            }
        };
        match (around, clock) {
            (Around::Nothing, Some(clock)) => clock.now(),
            (around, _) => around.now(),
        }
    }
}

#[cfg(feature = "tokio-util")]
impl Shared {
    /// A token that is cancelled when it is.
    pub(crate) fn token(&self) -> CancellationToken {
        let (scope, token) = {
            let told = &mut *self.told();
            let token = told.token.get_or_insert_with(CancellationToken::new).clone();
            (told.scope.clone(), token)
        };
        if let Some(scope) = scope {
            scope.tell(&token);
        }
        token
    }

    /// Not under the lock: a token calls wakers, which are the program's code.
    fn tell_token(&self, tell: impl FnOnce(&CancellationToken)) {
        let token = self.told().token.clone();
        if let Some(token) = token {
            tell(&token);
        }
    }

    /// It is cancelled when `token` is.
    pub(crate) fn listen_to(&self, token: &CancellationToken) {
        let scope = {
            let told = &mut *self.told();
            told.listens_to.push(token.clone());
            told.scope.clone()
        };
        if let Some(scope) = scope {
            scope.listen_to(token);
        }
    }
}
