//! What brought a cancellation, in a form that is shown.

use std::borrow::Cow;
use std::fmt::{self, Debug, Display};

/// Why a scope was cancelled, in words.
pub(crate) type Reason = Cow<'static, str>;

/// What brought a cancellation (R11): see [`Cause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A call of `cancel` or `cancel_with`, or a token.
    Explicit,
    /// A child or the body failed.
    Failure,
    /// The deadline passed.
    Deadline,
    /// A cancellation from outside, or the body was left by one.
    Host,
}

/// What brought a cancellation, and why (R11).
///
/// ```
/// # futures::executor::block_on(async {
/// # aionursery::nursery(async |n| {
/// use aionursery::error::{Cause, Source};
/// n.cancel_with("enough");
/// let cause: Cause = n.cause().unwrap();
/// assert_eq!((cause.source(), cause.reason()), (Source::Explicit, Some("enough")));
/// assert_eq!(cause.to_string(), "by request: enough");
/// # Ok::<_, String>(()) }).await.unwrap() });
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Cause(pub(crate) nursery_core::Cause<Reason>);

impl Cause {
    pub(crate) fn new(source: nursery_core::Source, reason: Option<Reason>) -> Self {
        Self(nursery_core::Cause { source, reason })
    }

    /// What brought it.
    #[must_use]
    pub fn source(&self) -> Source {
        match self.0.source {
            nursery_core::Source::Explicit => Source::Explicit,
            nursery_core::Source::Failure => Source::Failure,
            nursery_core::Source::Deadline => Source::Deadline,
            nursery_core::Source::Host => Source::Host,
        }
    }

    /// The words given to [`cancel_with`](crate::Nursery::cancel_with); after a failure, which child failed.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source() {
            Source::Explicit => "by request",
            Source::Failure => "a child or the body failed",
            Source::Deadline => "the deadline has passed",
            Source::Host => "from outside",
        };
        match &self.0.reason {
            Some(reason) => write!(f, "{source}: {reason}"),
            None => f.write_str(source),
        }
    }
}

impl Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.0, f)
    }
}
