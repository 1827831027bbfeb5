//! What the tree says, in the words of the Python API.

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
