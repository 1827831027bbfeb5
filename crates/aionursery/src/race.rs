//! The first of many: an iterator's futures, or a tuple's, which may each be of another type. It
//! decides only which future has won; the nursery cancels and joins the losers.

use std::future::{Future, Ready};
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::builder::Builder;
use crate::driver::Block;
use crate::error::{Failure, Label, MultiError};
use crate::gather::{Each, Tuple, of_every_size, sealed};
use crate::nursery::Nursery;
use crate::sync::{Mutex, lock};

/// What [`race`] takes: anything that iterates over futures, or a tuple of up to twelve. All
/// give values of one type.
///
/// `Form` only tells the two apart; it is never named.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{race, combine::Race};
/// async fn fastest<'env, R: Race<'env, String, Form>, Form>(runners: R) -> Option<R::Value> {
///     race(runners).await.ok().flatten()
/// }
/// let slow = std::future::pending::<Result<u8, String>>();
/// assert_eq!(fastest((slow, async { Ok(7) })).await, Some(7));
/// # });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a tuple of 1 to 12 `Send` futures nor an iterator of such",
    note = "each future's output is a `Result` with the same type of value and of error; the \
            futures and the value are `Send`"
)]
pub trait Race<'env, E, Form>: sealed::Many<Form> {
    /// What the winner gives.
    type Value;

    /// Starts all of them towards this finish.
    ///
    /// ```
    /// use aionursery::combine::{Finish, Race};
    /// fn both<'env, R: Race<'env, String, Form>, Form>(
    ///     first: R,
    ///     second: R,
    ///     finish: &Finish<'env, R::Value, String>,
    /// ) {
    ///     first.race_to(finish);
    ///     second.race_to(finish);
    /// }
    /// ```
    fn race_to(self, finish: &Finish<'env, Self::Value, E>);

    /// What waits for the finish, as for a [`Gather`](crate::combine::Gather).
    #[doc(hidden)]
    type Later: Race<'env, E, Form, Value = Self::Value>;

    #[doc(hidden)]
    fn later(self) -> Self::Later;
}

/// Where the runners of a [`race`] arrive: the first value stays, and ends the race. [`Race::race_to`] shows
/// how they get there.
pub struct Finish<'env, T, E> {
    nursery: Nursery<'env, E>,
    results: Arc<Mutex<Results<T, E>>>,
}

/// What has arrived. The errors are no errors of the nursery's: they count only if all fail, and go with a race that
/// is won, cancelled or dropped.
struct Results<T, E> {
    won: Option<T>,
    failed: Vec<Failure<E>>,
    started: u32,
}

impl<T, E> Results<T, E> {
    fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { won: None, failed: Vec::new(), started: 0 }))
    }
}

opaque!("Finish", [T, E] Finish<'_, T, E>);

impl<'env, T: Send + 'env, E: Send + 'env> Finish<'env, T, E> {
    #[track_caller]
    fn start<F>(&self, future: F)
    where
        F: Future<Output = Result<T, E>> + Send + 'env,
    {
        let (nursery, results) = (self.nursery.clone(), self.results.clone());
        let id = {
            let results = &mut *lock(&results);
            results.started += 1;
            results.started
        };
        self.nursery.start_soon(async move {
            let value = match future.await {
                Ok(value) => value,
                Err(error) => {
                    let failure = Failure::error(error, Label { id, name: None });
                    lock(&results).failed.push(failure);
                    return Ok(());
                }
            };
            // A value that comes too late is dropped without the lock.
            let late = {
                let won = &mut lock(&results).won;
                if won.is_some() { Some(value) } else { won.replace(value) }
            };
            drop(late);
            nursery.cancel_with("the race is won");
            Ok(())
        });
    }
}

impl<'env, I, F, T, E> Race<'env, E, Each> for I
where
    I: IntoIterator<Item = F>,
    F: Future<Output = Result<T, E>> + Send + 'env,
    T: Send + 'env,
    E: Send + 'env,
{
    type Value = T;

    fn race_to(self, finish: &Finish<'env, T, E>) {
        self.into_iter().for_each(|future| finish.start(future));
    }

    type Later = Vec<F>;

    fn later(self) -> Vec<F> {
        self.into_iter().collect()
    }
}

macro_rules! tuples {
    ($(($($future:ident $value:ident $at:tt),+))+) => {$(
        impl<'env, T, E, $($future),+> Race<'env, E, Tuple> for ($($future,)+)
        where
            $($future: Future<Output = Result<T, E>> + Send + 'env,)+
            T: Send + 'env,
            E: Send + 'env,
        {
            type Value = T;

            fn race_to(self, finish: &Finish<'env, T, E>) {
                $(finish.start(self.$at);)+
            }

            type Later = Self;

            fn later(self) -> Self {
                self
            }
        }
    )+};
}

of_every_size! { tuples }

/// Runs all at once; the first value wins and the others are cancelled and joined. `None` if there
/// was nothing to run.
///
/// # Errors
/// Every error, if all failed, in the order in which they came; panics follow them. The errors of a race that is won,
/// cancelled or dropped go with it.
///
/// # Panics
/// With the panic of one that has lost, when all have been joined.
///
/// ```
/// # futures::executor::block_on(async {
/// use futures::future::{FutureExt, pending, ready};
/// let first = aionursery::race([pending().boxed(), ready(Ok::<_, String>(7)).boxed()]).await;
/// assert_eq!(first.unwrap(), Some(7));
///
/// // A tuple's futures may each be of another type, and need no box.
/// let first = aionursery::race((pending(), async { Ok::<_, String>(7) })).await;
/// assert_eq!(first.unwrap(), Some(7));
/// # });
/// ```
#[track_caller]
pub fn race<'env, R, E, Form>(runners: R) -> Racing<'env, R::Value, E, R::Later>
where
    R: Race<'env, E, Form>,
{
    let results = Results::new();
    let body =
        Runners { later: runners.later(), start: R::Later::race_to, results: results.clone() };
    let builder = Builder::new().on_error(crate::OnError::Collect).at(Location::caller());
    Racing { block: Block::with(builder, body, Runners::run), results }
}

/// The body of a race's nursery.
struct Runners<'env, T, E, L> {
    later: L,
    start: fn(L, &Finish<'env, T, E>),
    results: Arc<Mutex<Results<T, E>>>,
}

impl<'env, T, E, L> Runners<'env, T, E, L> {
    fn run(self, nursery: Nursery<'env, E>) -> Ready<Result<(), E>> {
        let Self { later, start, results } = self;
        start(later, &Finish { nursery, results });
        std::future::ready(Ok(()))
    }
}

pin_project_lite::pin_project! {
    /// The future of [`race`]: its nursery, then the winner.
    #[must_use = "futures do nothing unless polled"]
    pub struct Racing<'env, T, E, L> {
        #[pin]
        block: Block<'env, (), E, Runners<'env, T, E, L>, Ready<Result<(), E>>>,
        results: Arc<Mutex<Results<T, E>>>,
    }
}

opaque!("Racing", [T, E, L] Racing<'_, T, E, L>);

impl<T, E, L> Future for Racing<'_, T, E, L> {
    type Output = Result<Option<T>, MultiError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let ran = ready!(this.block.poll(cx));
        let (won, failed) = {
            let results = &mut *lock(this.results);
            (results.won.take(), std::mem::take(&mut results.failed))
        };
        Poll::Ready(match (won, ran) {
            (Some(value), ran) => {
                // A panic of one that has lost is never swallowed (R26).
                drop(ran.map_err(MultiError::resume_panic));
                Ok(Some(value))
            }
            (None, Ok(())) if failed.is_empty() => Ok(None),
            (None, ran) => {
                let mut errors = MultiError::collect(failed, None, None);
                errors.extend(ran.err().into_iter().flatten());
                Err(errors)
            }
        })
    }
}
