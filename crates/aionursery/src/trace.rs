//! Spans of nurseries and children, with the feature `tracing`: one for a nursery, entered while its
//! future is polled, and one below it for each child of `start_soon` and `spawn` that has a name, so
//! that a thousand unnamed ones cost nothing. Without the feature there is none. It must never change
//! what runs.

use std::marker::PhantomData;

#[derive(Clone)]
pub(crate) struct Span(#[cfg(feature = "tracing")] tracing::Span);

/// For its lifetime a span is entered.
pub(crate) struct Entered<'a> {
    #[cfg(feature = "tracing")]
    _entered: tracing::span::Entered<'a>,
    span: PhantomData<&'a Span>,
}

impl Span {
    pub(crate) fn nursery(_name: Option<&str>) -> Self {
        Self(
            #[cfg(feature = "tracing")]
            tracing::debug_span!("nursery", name = _name),
        )
    }

    /// A child's, if it has a name.
    pub(crate) fn child(_name: Option<&str>) -> Self {
        Self(
            #[cfg(feature = "tracing")]
            match _name {
                Some(name) => tracing::debug_span!("child", name),
                None => tracing::Span::none(),
            },
        )
    }

    #[inline]
    pub(crate) fn enter(&self) -> Entered<'_> {
        Entered {
            #[cfg(feature = "tracing")]
            _entered: self.0.enter(),
            span: PhantomData,
        }
    }
}
