//! Errors that no nursery can give back: the program's hook is told. It must never let one go silently
//! (R7).

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use super::ChildError;
use crate::ignore_panics::ignore_panics;
use crate::sync::plain;

/// What is left of a dropped nursery: an error of any type, or a panic, with its child.
///
/// ```
/// aionursery::error::on_lost_error(|error: aionursery::error::LostError| {
///     eprintln!("{} failed, and its error is lost: {error}", error.name().unwrap_or("a child"));
/// });
/// ```
pub type LostError = ChildError<Infallible>;

type Hook = Arc<dyn Fn(LostError) + Send + Sync>;

static HOOK: Mutex<Option<Hook>> = Mutex::new(None);

/// From now on `hook` is told of every error that no nursery can give back: the nursery was
/// dropped before it had ended, and there is no nursery above that is alive; or another panic was
/// resumed in its place ([`resume_panic`](crate::MultiError::resume_panic)). Until then such an
/// error is a `tracing` event, if there is a subscriber for it (feature `tracing`), or else a line
/// on stderr.
///
/// It is one hook for the program; a later call replaces it. A library should not set it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (send, receive) = std::sync::mpsc::channel();
/// aionursery::error::on_lost_error(move |error| send.send(error.to_string()).unwrap());
/// let block = aionursery::nursery(async |n| {
///     n.named("disk").start_soon(async { Err::<(), _>("full") });
///     n.shielded().start_soon(std::future::pending::<Result<(), _>>());
///     Ok(())
/// });
/// let _ = futures::FutureExt::now_or_never(block);
/// let lost = "child \"disk\" of a nursery that was dropped: an error of the type `&str`";
/// assert_eq!(receive.recv().unwrap(), lost);
/// # });
/// ```
pub fn on_lost_error(hook: impl Fn(LostError) + Send + Sync + 'static) {
    let before = plain(&HOOK).replace(Arc::new(hook));
    drop(before);
}

/// Tells the hook of each error; without one the error goes to the log. The hook is told of the others
/// even if it panics.
pub(crate) fn report(errors: Vec<LostError>) {
    let hook = plain(&HOOK).clone();
    for error in errors {
        ignore_panics(|| match &hook {
            Some(hook) => hook(error),
            None => tell(&error),
        });
    }
}

fn tell(error: &LostError) {
    #[cfg(feature = "tracing")]
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(%error, "this error is lost: its nursery was dropped");
        return;
    }
    eprintln!("aionursery: this error is lost, its nursery was dropped: {error}");
}
