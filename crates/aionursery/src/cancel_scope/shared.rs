//! What the handles of a scope and the future that runs in it share: what it was told, and its place
//! in the tree.
//!
//! Most of what runs in a scope is ready at once and asks for nothing. So a scope has no place in the
//! tree before it needs one: when what runs in it opens something below or asks for what is around,
//! or when it has to wait. It must never be told apart from one that was open from the start.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nursery_core::Settings;
#[cfg(feature = "tokio-util")]
use tokio_util::sync::CancellationToken;

use crate::clock::{Own, Time};
use crate::error::Cause;
use crate::frame::{self, Around};
use crate::scope::about::{self, About, OpenedAt};
use crate::scope::{Owner, Scope, budget, lock};
use crate::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(crate) struct Shared(Mutex<Told>);

/// What its place in the tree is opened with.
#[derive(Clone, Default)]
pub(super) struct Asked {
    pub(super) shield: bool,
    pub(super) cleanup: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    pub(super) clock: Option<Own>,
    /// Where it was told to run what runs in it now; `None` if nothing does.
    runs: OpenedAt,
}

#[derive(Default)]
pub(super) struct Told {
    pub(super) asked: Asked,
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

impl Asked {
    fn settings(&self, clock: &Time) -> Settings {
        Settings {
            deadline: self.deadline.map_or(f64::INFINITY, |moment| clock.nanoseconds(moment)),
            shield: self.shield,
            cleanup: budget(self.cleanup),
            ..Settings::default()
        }
    }

    /// A place in the tree, below `parent`.
    fn open(&self, parent: Option<Arc<Scope>>) -> Arc<Scope> {
        let about = About::new(about::Kind::Scope, None, self.runs);
        let clock = self.clock.clone();
        Scope::open(parent, clock, |clock| self.settings(clock), Owner::one(), about)
    }
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
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.0)
    }

    /// Something is to run in it. Returns whether it shields, and stands amid it, unless it is to be
    /// opened first, as it is cancelled.
    ///
    /// # Panics
    /// If something runs in it already.
    pub(super) fn begin(
        self: &Arc<Self>,
        place: &'static Location<'static>,
    ) -> (bool, Option<Amid>) {
        let outside = frame::look(Around::is_cancelled);
        let told = &mut *self.told();
        assert!(told.asked.runs.is_none(), "only one thing at a time runs in a scope");
        told.asked.runs = Some(place);
        #[cfg(feature = "tokio-util")]
        told.listen();
        let amid = (!outside && told.cause.is_none()).then(|| {
            told.around = frame::swap(Around::Later(self.clone()));
            Amid { outermost: told.around.is_outermost() }
        });
        (told.asked.shield, amid)
    }

    /// What ran in it has ended.
    pub(super) fn end(&self) {
        let scope = {
            let told = &mut *self.told();
            told.asked.runs = None;
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
    pub(super) fn enter(&self, parent: Option<Arc<Scope>>) -> Arc<Scope> {
        let asked = {
            let told = self.told();
            if let Some(scope) = &told.scope {
                return scope.clone();
            }
            told.asked.clone()
        };
        let scope = asked.open(parent);
        let (cause, deadline) = {
            let told = &mut *self.told();
            told.scope = Some(scope.clone());
            #[cfg(feature = "tokio-util")]
            told.listens_to.iter().for_each(|token| scope.listen_to(token));
            (told.cause.clone(), told.asked.deadline)
        };
        if let Some(deadline) = deadline.filter(|_| deadline != asked.deadline) {
            scope.set_deadline(scope.clock().nanoseconds(deadline));
        }
        if let Some(Cause(cause)) = cause {
            scope.cancel(cause.source, cause.reason);
        }
        #[cfg(feature = "tokio-util")]
        self.tell_token(|token| _ = scope.tell(token));
        scope
    }

    pub(super) fn cancel(&self, cause: Cause) {
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

    pub(super) fn set_deadline(&self, deadline: Instant) {
        let scope = {
            let told = &mut *self.told();
            told.asked.deadline = Some(deadline);
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
                None => !told.asked.shield && told.around.is_cancelled(),
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
            None if told.asked.shield => None,
            None => told.around.cause(),
        }
    }

    /// The time, for what runs in it.
    pub(crate) fn now(&self) -> Instant {
        let (around, clock) = {
            let told = self.told();
            match &told.scope {
                Some(scope) => (Around::Scope(scope.clone()), None),
                None => (told.around.clone(), told.asked.clock.clone()),
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

/// For its lifetime the thread stands amid a scope that opens when it is asked for.
pub(super) struct Amid {
    /// Nothing of ours is around.
    pub(super) outermost: bool,
}

impl Drop for Amid {
    fn drop(&mut self) {
        let Around::Later(shared) = frame::swap(Around::Nothing) else {
            unreachable!("scopes are left in the order of entering")
        };
        frame::swap(std::mem::take(&mut shared.told().around));
    }
}
