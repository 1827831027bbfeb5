//! What ends by itself when the program is asked to stop. It must only cancel: how long what it runs
//! may take to clean up is its scope's to say.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::cancel_scope::CancelScope;
use crate::coop::poll_freely;
use crate::error::Cancelled;

/// Runs a future, most often a nursery, until it ends or the program is asked to stop: by Ctrl-C, and on
/// Unix by SIGTERM. Then it is cancelled, and has `grace` to clean up: [`cancelled`](crate::cancelled) tells
/// those that wait for it at once, and what has not ended after the grace is dropped at its next await, and
/// joined. A nursery in it with a cleanup budget of its own has that.
///
/// From the first call on tokio catches these signals for the rest of the program: a second one does not
/// end it, the grace does.
///
/// # Errors
/// [`Cancelled`], with the signal as its reason, if the future had not ended by itself when the grace was over.
///
/// # Panics
/// Outside a tokio runtime that was built with `enable_io` (`enable_all`), and if the system refuses to
/// catch the signal.
///
/// ```
/// use aionursery::{Nursery, cancelled, nursery, service::graceful};
/// use std::time::Duration;
/// use tokio::net::TcpListener;
///
/// async fn serve(listener: TcpListener) {
///     let server = nursery(async |n: Nursery<'_, std::io::Error>| {
///         loop {
///             let (stream, peer) = tokio::select! {
///                 accepted = listener.accept() => accepted?,
///                 () = cancelled() => return Ok(()), // no new ones; those that are there may end
///             };
///             n.named(peer.to_string()).spawn(async move { stream.writable().await });
///         }
///     });
///     match graceful(Duration::from_secs(10), server).await {
///         Ok(served) => println!("{served:?}"),
///         Err(cancelled) => println!("not in time: {cancelled}"),
///     }
/// }
/// # let _ = serve;
/// ```
pub async fn graceful<F: Future>(grace: Duration, future: F) -> Result<F::Output, Cancelled> {
    let mut signals = Signals::new().expect("the system lets signals be caught");
    let scope = CancelScope::new().cleanup(grace);
    let mut run = pin!(scope.run(future));
    let mut is_told = false;
    poll_fn(|cx| {
        if !is_told && let Poll::Ready(name) = poll_freely(pin!(signals.next()), cx) {
            is_told = true;
            scope.cancel_with(name);
        }
        run.as_mut().poll(cx)
    })
    .await
}

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

#[cfg(unix)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        poll_fn(|cx| {
            if self.interrupt.poll_recv(cx).is_ready() {
                return Poll::Ready("SIGINT");
            }
            self.terminate.poll_recv(cx).map(|_| "SIGTERM")
        })
        .await
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) -> &'static str {
        self.0.recv().await;
        "Ctrl-C"
    }
}
