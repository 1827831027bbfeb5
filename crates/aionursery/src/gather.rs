//! All of many: an iterator's futures, whose values are of one type, or a tuple's, whose values
//! may each be of another. Decides nothing: a nursery does.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::builder::Builder;
use crate::child::Child;
use crate::driver::Block;
use crate::nursery::Nursery;

/// What [`gather`] takes: anything that iterates over futures, or a tuple of up to twelve.
///
/// `Form` only tells the two apart; it is never named.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Nursery, nursery, combine::Gather};
/// async fn both<'env, G: Gather<'env, String, Form>, Form>(first: G, second: G) -> usize {
///     let all = nursery(async |n: Nursery<'env, String>| {
///         let first = first.gather_in(&n);
///         let second = second.gather_in(&n);
///         first.await?;
///         second.await.map(drop)
///     });
///     all.await.map_or_else(|errors| errors.len(), |()| 0)
/// }
/// # let one = || async { Err::<u8, _>(String::new()) };
/// assert_eq!(both((one(), one()), (one(), one())).await, 1);
/// # });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a tuple of 1 to 12 `Send` futures nor an iterator of such",
    note = "each future's output is a `Result` with the same type of error; the futures \
            and their values are `Send`, also in a tuple"
)]
pub trait Gather<'env, E, Form>: sealed::Many<Form> {
    /// The values: a `Vec`, or a tuple.
    type Values;

    /// What waits for them.
    type Running: Future<Output = Result<Self::Values, E>>;

    /// Starts them as children of this nursery. What it gives back waits for their values, and
    /// has no other errors than awaiting a [`Child`] has.
    ///
    /// # Panics
    /// If the nursery is closed.
    fn gather_in(self, n: &Nursery<'env, E>) -> Self::Running;

    /// What waits for the nursery: named for what it is made of, not for where it comes from. Whether
    /// an iterator over borrowed items is `Send` the compiler cannot see inside an `async` block.
    #[doc(hidden)]
    type Later: Gather<'env, E, Form, Values = Self::Values, Running = Self::Running>;

    #[doc(hidden)]
    fn later(self) -> Self::Later;
}

/// Waits for the values of [gathered](Gather::gather_in) children.
#[must_use = "futures do nothing unless polled"]
pub struct Gathered<C, V> {
    children: C,
    values: V,
}

opaque!("Gathered", [C, V] Gathered<C, V>);

impl<C, V> Unpin for Gathered<C, V> {}

/// The [form](Gather) of an iterator.
#[derive(Debug)]
pub enum Each {}

/// The [form](Gather) of a tuple.
#[derive(Debug)]
pub enum Tuple {}

/// Nothing else is gathered or raced, so methods may be added to these traits.
pub(crate) mod sealed {
    pub trait Many<Form> {}
    impl<I: IntoIterator> Many<super::Each> for I {}
}

impl<'env, I, F, T, E> Gather<'env, E, Each> for I
where
    I: IntoIterator<Item = F>,
    F: Future<Output = Result<T, E>> + Send + 'env,
    T: Send,
{
    type Values = Vec<T>;
    type Running = Gathered<Vec<Child<T, E>>, Vec<T>>;

    fn gather_in(self, n: &Nursery<'env, E>) -> Self::Running {
        let children: Vec<_> = self.into_iter().map(|future| n.start_soon(future)).collect();
        let values = Vec::with_capacity(children.len());
        Gathered { children, values }
    }

    type Later = Vec<F>;

    fn later(self) -> Vec<F> {
        self.into_iter().collect()
    }
}

impl<T, E> Future for Gathered<Vec<Child<T, E>>, Vec<T>> {
    type Output = Result<Vec<T>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { children, values } = self.get_mut();
        while let Some(next) = children.get_mut(values.len()) {
            values.push(ready!(next.poll_value(cx)));
        }
        Poll::Ready(Ok(std::mem::take(values)))
    }
}

macro_rules! tuples {
    ($(($($future:ident $value:ident $at:tt),+))+) => {$(
        impl<$($future),+> sealed::Many<Tuple> for ($($future,)+) {}

        impl<'env, E, $($future, $value),+> Gather<'env, E, Tuple> for ($($future,)+)
        where
            $($future: Future<Output = Result<$value, E>> + Send + 'env,)+
            $($value: Send),+
        {
            type Values = ($($value,)+);
            type Running = Gathered<($(Child<$value, E>,)+), ($(Option<$value>,)+)>;

            fn gather_in(self, n: &Nursery<'env, E>) -> Self::Running {
                let children = ($(n.start_soon(self.$at),)+);
                Gathered { children, values: Default::default() }
            }

            type Later = Self;

            fn later(self) -> Self {
                self
            }
        }

        impl<E, $($value),+> Future
            for Gathered<($(Child<$value, E>,)+), ($(Option<$value>,)+)>
        {
            type Output = Result<($($value,)+), E>;

            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                const TAKEN: &str = "gathered values are taken once";
                let Self { children, values } = self.get_mut();
                $(if values.$at.is_none() {
                    values.$at = Some(ready!(children.$at.poll_value(cx)));
                })+
                Poll::Ready(Ok(($(values.$at.take().expect(TAKEN),)+)))
            }
        }
    )+};
}

/// The sizes that tuples may have: each part's type, its value's, and its place.
macro_rules! of_every_size {
    ($tuples:ident) => {
        $tuples! {
            (A T 0)
            (A T 0, B U 1)
            (A T 0, B U 1, C V 2)
            (A T 0, B U 1, C V 2, D W 3)
            (A T 0, B U 1, C V 2, D W 3, F X 4)
            (A T 0, B U 1, C V 2, D W 3, F X 4, G Y 5)
            (A T 0, B U 1, C V 2, D W 3, F X 4, G Y 5, H Z 6)
            (A T 0, B U 1, C V 2, D W 3, F X 4, G Y 5, H Z 6, I Ta 7)
            (A T 0, B U 1, C V 2, D W 3, F X 4, G Y 5, H Z 6, I Ta 7, J Ua 8)
            (A T 0, B U 1, C V 2, D W 3, F X 4, G Y 5, H Z 6, I Ta 7, J Ua 8, K Va 9)
            (A T 0, B U 1, C V 2, D W 3, F X 4, G Y 5, H Z 6, I Ta 7, J Ua 8, K Va 9, L Wa 10)
            (A T 0, B U 1, C V 2, D W 3, F X 4, G Y 5, H Z 6, I Ta 7, J Ua 8, K Va 9, L Wa 10, M Xa 11)
        }
    };
}
pub(crate) use of_every_size;

of_every_size! { tuples }

/// Runs all at once and gives all values, in the order given: a `Vec` of an iterator's, a tuple
/// of a tuple's.
///
/// # Errors
/// Every error, if any failed; the others are cancelled then. An error calls the first of them child 1.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::gather;
/// let squares = gather((1..4).map(|n| async move { Ok::<_, String>(n * n) })).await;
/// assert_eq!(squares.unwrap(), [1, 4, 9]);
///
/// let name = async { Ok::<_, String>("beans") };
/// let price = async { Ok(1.5) };
/// assert_eq!(gather((name, price)).await.unwrap(), ("beans", 1.5));
/// # });
/// ```
#[track_caller]
pub fn gather<'env, G, E, Form>(futures: G) -> Block<'env, G::Values, E, G::Later, G::Running>
where
    G: Gather<'env, E, Form>,
{
    let builder = Builder::new().at(Location::caller());
    Block::with(builder, futures.later(), |later, n| later.gather_in(&n))
}
