//! Which futures a nursery takes, in its type.

use std::marker::PhantomData;

/// Which futures a nursery takes as children of its own task.
///
/// [`Sendable`] nurseries take `Send` futures with `Send` values and may be moved between threads, so
/// they can stand in `tokio::spawn`. [`Local`] ones take any future, and are not `Send` for it.
///
/// ```
/// use aionursery::{Child, Nursery, mode::{Admits, Local, Mode, Sendable}};
/// /// These work for nurseries of both kinds.
/// fn start<'env, F, M>(n: &Nursery<'env, String, M>, future: F) -> Child<u8, String>
/// where
///     F: Future<Output = Result<u8, String>> + 'env,
///     M: Admits<F>,
/// {
///     n.start_soon(future)
/// }
/// fn stop<M: Mode>(n: &Nursery<'_, String, M>) {
///     n.cancel();
/// }
/// // For short: Nursery<'_, String>, LocalNursery<'_, String>.
/// fn stop_both(n: Nursery<'_, String, Sendable>, local: Nursery<'_, String, Local>) {
///     stop(&n);
///     stop(&local);
/// }
/// ```
pub trait Admits<F>: Mode + sealed::Admits<F> {}

impl<F, M: Mode + sealed::Admits<F>> Admits<F> for M {}

/// [`Sendable`] or [`Local`].
pub trait Mode: sealed::Mode {}

/// Code that could add to these could send to another thread what must stay on one (R29).
mod sealed {
    use super::{Local, Sendable};

    pub trait Mode {}

    impl Mode for Sendable {}
    impl Mode for Local {}

    #[diagnostic::on_unimplemented(
        message = "this nursery takes no child that is not `Send`",
        label = "this future, or the value it gives, is not `Send`",
        note = "`nursery_local` takes such children, and is itself not `Send`"
    )]
    pub trait Admits<F> {}

    // The value, too: the handle may be on one thread and the nursery on another. The error need not
    // be: a handle of a nursery with an error that is not `Send` is itself not `Send`.
    impl<F, T, E> Admits<F> for Sendable
    where
        F: Future<Output = Result<T, E>> + Send,
        T: Send,
    {
    }

    impl<F> Admits<F> for Local {}
}

/// Children are `Send`: what [`nursery`](crate::nursery()) makes.
#[derive(Debug)]
pub struct Sendable(());

/// Children need not be `Send`: what [`nursery_local`](crate::nursery_local) makes.
#[derive(Debug)]
pub struct Local(PhantomData<*const ()>);

impl Mode for Sendable {}
impl Mode for Local {}
