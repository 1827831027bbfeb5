//! Locks and queues whose waits need no future.

use crate::object::Raw;

/// A waiter was cancelled before its turn came.
pub unsafe fn withdrawn(_wait: Raw) {}

/// A waiter was cancelled after its turn had come, before it could take it.
pub unsafe fn declined(_wait: Raw) {}
