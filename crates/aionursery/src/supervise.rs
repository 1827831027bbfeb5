//! A nursery that is opened again when it has failed, up to a number of times. It must never drop an
//! error: each goes to the function that is to be told, or is given back.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::time::Duration;

use crate::around::Around;
use crate::cancel_scope::short::{current_time, move_on_after};
use crate::combine::yield_now;
use crate::entry::nursery;
use crate::error::MultiError;
use crate::nursery::Nursery;
use crate::polling;
use crate::scope::Cancellation;

/// How often [`supervise`] opens its nursery again, and after how long a pause.
///
/// ```
/// use aionursery::service::Restarts;
/// use std::time::Duration;
/// let often = Restarts::most(5).within(Duration::from_secs(60)).pause(Duration::from_secs(1));
/// # drop(often);
/// ```
#[derive(Clone, Debug)]
pub struct Restarts {
    most: usize,
    within: Option<Duration>,
    pause: Duration,
}

impl Restarts {
    /// This many restarts at the most, without a pause.
    #[must_use]
    pub fn most(restarts: usize) -> Self {
        Self { most: restarts, within: None, pause: Duration::ZERO }
    }

    /// Counts only restarts that are no longer ago than this. Without it all are counted.
    #[must_use]
    pub fn within(mut self, window: Duration) -> Self {
        self.within = Some(window);
        self
    }

    /// How long it waits before each restart.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

/// Opens a nursery with this body, and opens it again when it has failed: its body or a child returned
/// an error, or panicked. All of a run has ended before the next begins. `failed` is told the errors of
/// each run that is followed by another.
///
/// A cancellation ends it: there is no further run in a cancelled scope that gives time to clean up,
/// whatever the body makes of the cancellation.
///
/// Give the body what it needs by reference: it is called anew for each run. For a single call that is
/// tried again a crate such as `backon` is enough.
///
/// # Errors
/// Those of the last run, if it fails more often than `restarts` allows, or in a cancelled scope. None
/// ([`MultiError::is_cancelled`]), if the run was only cancelled, or the pause before the next one was:
/// then `failed` has been told the errors before that.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Nursery, service::{Restarts, supervise}};
/// use std::sync::atomic::{AtomicU32, Ordering};
/// let (runs, mut heard) = (AtomicU32::new(0), Vec::new());
/// let value = supervise(
///     Restarts::most(5),
///     async |n: Nursery<'_, String>| {
///         let run = runs.fetch_add(1, Ordering::Relaxed);
///         let child = n.start_soon(async move { if run < 2 { Err(format!("run {run}")) } else { Ok(7) } });
///         Ok(child.value().await)
///     },
///     |errors| heard.push(errors[0].to_string()),
/// );
/// assert_eq!(value.await.unwrap(), 7);
/// assert_eq!(heard, ["child 1: run 0", "child 1: run 1"]);
/// # });
/// ```
pub async fn supervise<'env, T, E, B, F>(
    restarts: Restarts,
    mut body: B,
    mut failed: impl FnMut(MultiError<E>),
) -> Result<T, MultiError<E>>
where
    B: FnMut(Nursery<'env, E>) -> F,
    F: Future<Output = Result<T, E>>,
{
    // Without a window a number will do.
    let (mut recent, mut all) = (VecDeque::new(), 0);
    loop {
        let errors = match nursery(&mut body).await {
            Err(errors) if !errors.is_cancelled() => errors,
            ended => return ended,
        };
        let now = current_time();
        if let Some(window) = restarts.within {
            while recent.front().is_some_and(|&then| now.saturating_duration_since(then) > window) {
                recent.pop_front();
            }
        }
        if recent.len().max(all) >= restarts.most || polling::look(Around::is_cancelled) {
            return Err(errors);
        }
        match restarts.within {
            Some(_) => recent.push_back(now),
            None => all += 1,
        }
        failed(errors);
        match restarts.pause.is_zero() {
            // A run that fails at once does not keep its task from being cancelled.
            true => yield_now().await,
            false => pause(restarts.pause).await,
        }
        if let Some(cause) = polling::look(Around::cause) {
            return Err(MultiError::collect(Vec::new(), Some(cause), None));
        }
    }
}

/// Ends when the time is over, or when the code around is cancelled, and gives that no time to clean up: no code
/// of the program's hears of it here.
async fn pause(time: Duration) {
    let around = polling::current();
    let cancelled = async {
        match around {
            Some(scope) => Cancellation::quiet(scope).await,
            None => pending().await,
        }
    };
    let _ = move_on_after(time, cancelled).await;
}
