//! What others see of nurseries and children while they run. With the feature `tracing`: a span for
//! a nursery, entered while its future is polled, and one below it for each child of `start_soon` and
//! `spawn` that has a name, so that a thousand unnamed ones cost nothing. On a tokio that was built for
//! it: named tasks, for tokio-console. It must never change what runs.

#[cfg(feature = "tracing")]
pub(crate) use spans::{child, nursery};

/// A child with a name; without the feature it is what it was.
#[cfg(not(feature = "tracing"))]
pub(crate) fn child<F>(_: &std::sync::Arc<str>, future: F) -> F {
    future
}

/// Has a child with a name carried, by a task that has the name, too.
#[cfg(all(feature = "tracing", feature = "tokio", tokio_unstable, not(aionursery_loom)))]
#[track_caller]
pub(crate) fn send(name: &str, load: crate::task::Load) {
    let spawned = tokio::task::Builder::new().name(name).spawn(crate::carrier::alone(load));
    drop(spawned.expect("tokio's builder fails only without a runtime, and then it panics"));
}

/// Has a child carried whose name a tokio that was not built for it does not take.
#[cfg(all(feature = "tokio", any(not(feature = "tracing"), not(tokio_unstable), aionursery_loom)))]
#[track_caller]
pub(crate) fn send(_: &str, load: crate::task::Load) {
    crate::carrier::send(load);
}

/// Runs a function with a name on the threads for blocking work.
#[cfg(all(feature = "tracing", feature = "tokio", tokio_unstable, not(aionursery_loom)))]
#[track_caller]
pub(crate) fn spawn_blocking(name: &str, function: impl FnOnce() + Send + 'static) {
    let spawned = tokio::task::Builder::new().name(name).spawn_blocking(function);
    drop(spawned.unwrap_or_else(|error| panic!("no thread for blocking work: {error}")));
}

/// Runs a function with a name, which a tokio that was not built for it does not take.
#[cfg(all(feature = "tokio", any(not(feature = "tracing"), not(tokio_unstable), aionursery_loom)))]
#[track_caller]
pub(crate) fn spawn_blocking(_: &str, function: impl FnOnce() + Send + 'static) {
    drop(crate::sync::spawn_blocking(function));
}

#[cfg(feature = "tracing")]
mod spans {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use pin_project_lite::pin_project;
    use tracing::Span;

    /// The span of a nursery; below the one that is entered where it is first polled.
    pub(crate) fn nursery(name: Option<&str>) -> Span {
        tracing::debug_span!("nursery", name)
    }

    /// A child in its span; below the one that is entered where it is started.
    pub(crate) fn child<F>(name: &str, future: F) -> Traced<F> {
        Traced { future, span: tracing::debug_span!("child", name) }
    }

    pin_project! {
        pub(crate) struct Traced<F> {
            #[pin]
            future: F,
            span: Span,
        }
    }

    impl<F: Future> Future for Traced<F> {
        type Output = F::Output;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
            let this = self.project();
            let _entered = this.span.enter();
            this.future.poll(cx)
        }
    }
}
