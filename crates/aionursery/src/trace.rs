//! Spans, behind the feature `tracing`: one for a nursery, entered while its future is polled, and
//! one below it for each child that has a name, so that a thousand unnamed ones cost nothing.
//! It must never change what runs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tracing::Span;

/// The span of a nursery; below the one that is entered where it is first polled.
pub(crate) fn nursery(name: Option<&str>) -> Span {
    tracing::debug_span!("nursery", name)
}

pin_project! {
    /// A child in its span.
    pub(crate) struct Traced<F> {
        #[pin]
        future: F,
        span: Span,
    }
}

impl<F> Traced<F> {
    pub(crate) fn child(name: &str, future: F) -> Self {
        Self { future, span: tracing::debug_span!("child", name) }
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
