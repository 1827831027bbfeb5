//! What a task has been through, one bit each. It must never say what follows from that.

/// It has ended; its outcome is a result unless one of the next two is set.
pub(crate) const DONE: u32 = 1;
/// A cancellation ended it; the outcome is the `CancelledError`, if one was kept.
pub(crate) const CANCELLED: u32 = 1 << 1;
/// An exception ended it; the outcome is that exception.
pub(crate) const FAILED: u32 = 1 << 2;
/// It stands in the ready queue, or a loop's handle will step it.
pub(crate) const SCHEDULED: u32 = 1 << 3;
/// A step runs.
pub(crate) const RUNNING: u32 = 1 << 4;
/// It waits for its nursery's children; a cancellation waits with it (R15).
pub(crate) const JOINING: u32 = 1 << 6;
/// Its exception was not asked for: say so when it goes.
pub(crate) const LOG_TRACEBACK: u32 = 1 << 7;
/// Say so when it goes before it has ended. Cleared by `_log_destroy_pending = False`.
pub(crate) const LOG_DESTROY: u32 = 1 << 8;
/// It is a nursery's child: its error is the nursery's.
pub(crate) const CHILD: u32 = 1 << 10;
/// asyncio was told that its nursery's host awaits it.
#[cfg(Py_3_14)]
pub(crate) const AWAITED: u32 = 1 << 5;
/// A future's protocol: a coroutine that yields it waits for it.
pub(crate) const BLOCKING: u32 = 1 << 11;
