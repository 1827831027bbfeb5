//! The ways to open a nursery for a body. They must decide nothing.

use std::future::Future;
use std::panic::Location;

use crate::builder::Builder;
use crate::driver::Block;
use crate::nursery::{Local, LocalNursery, Nursery};

impl Builder {
    /// The nursery; see [`nursery`].
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::Builder;
    /// let sum = Builder::new().limit(10).nursery(async |n| {
    ///     Ok::<_, String>(n.start_soon(async { Ok(3) }).await? + 4)
    /// }).await;
    /// assert_eq!(sum.unwrap(), 7);
    /// # });
    /// ```
    #[track_caller]
    pub fn nursery<'env, T, E, B, F>(self, body: B) -> Block<'env, T, E, B, F>
    where
        B: FnOnce(Nursery<'env, E>) -> F,
        F: Future<Output = Result<T, E>>,
    {
        Block::new(self.at(Location::caller()), body)
    }

    /// The nursery; see [`nursery_local`].
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::rc::Rc;
    /// let shared = Rc::new(3);
    /// let sum = aionursery::Builder::new().limit(10).nursery_local(async |n| {
    ///     let other = shared.clone();
    ///     Ok::<_, String>(n.start_soon(async move { Ok(*other) }).await? + *shared)
    /// }).await;
    /// assert_eq!(sum.unwrap(), 6);
    /// # });
    /// ```
    #[track_caller]
    pub fn nursery_local<'env, T, E, B, F>(self, body: B) -> Block<'env, T, E, B, F, Local>
    where
        B: FnOnce(LocalNursery<'env, E>) -> F,
        F: Future<Output = Result<T, E>>,
    {
        Block::new(self.at(Location::caller()), body)
    }
}

/// Runs `body` with a nursery, and gives its value once it and all children have ended.
///
/// # Errors
/// [`MultiError`](crate::MultiError) if anything failed or panicked, or if a cancellation took
/// the body's value.
///
/// ```
/// # async fn fetch(client: &str, what: &str) -> Result<usize, std::io::Error> {
/// #     Ok(client.len() + what.len())
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { futures::executor::block_on(async {
/// let client = String::from("client");
/// let both = aionursery::nursery(async |n| {
///     let a = n.start_soon(fetch(&client, "a"));
///     let b = n.start_soon(fetch(&client, "b"));
///     Ok(a.await? + b.await?)
/// }).await?;
/// assert_eq!(both, 14);
/// # Ok(()) }) }
/// ```
#[track_caller]
pub fn nursery<'env, T, E, B, F>(body: B) -> Block<'env, T, E, B, F>
where
    B: FnOnce(Nursery<'env, E>) -> F,
    F: Future<Output = Result<T, E>>,
{
    Block::new(Builder::new().at(Location::caller()), body)
}

/// As [`nursery`], for children that are not `Send`. The future is not `Send` either: it can be
/// awaited in `block_on`, in `#[tokio::main]`, in a `LocalSet`, but not in `tokio::spawn`.
///
/// # Errors
/// As [`nursery`].
///
/// ```
/// # futures::executor::block_on(async {
/// use std::rc::Rc;
/// let shared = Rc::new(5);
/// let sum = aionursery::nursery_local(async |n| {
///     let other = shared.clone();
///     let child = n.start_soon(async move { Ok::<_, String>(*other) });
///     Ok(child.await? + *shared)
/// }).await;
/// assert_eq!(sum.unwrap(), 10);
/// # });
/// ```
#[track_caller]
pub fn nursery_local<'env, T, E, B, F>(body: B) -> Block<'env, T, E, B, F, Local>
where
    B: FnOnce(LocalNursery<'env, E>) -> F,
    F: Future<Output = Result<T, E>>,
{
    Block::new(Builder::new().at(Location::caller()), body)
}
