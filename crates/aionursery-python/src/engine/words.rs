//! What the tree says, in the words of the Python API. It must never be read back: what
//! decides is the tree's own.

use nursery_core::Source;

/// What brought a cancellation, in the words of the Python API.
pub(crate) fn source_name(source: Source) -> &'static str {
    match source {
        Source::Explicit => "cancel",
        Source::Failure => "failure",
        Source::Deadline => "deadline",
        Source::Host => "host",
    }
}
