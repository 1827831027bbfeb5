//! Coroutines that are no Python: `async fn` of PyO3's. When one has to wait it yields a future of
//! the loop's itself, and leaves it to the task to throw what that future brings.
//!
//! It must never depend on the extension that it tests.

use std::future::{pending, poll_fn};
use std::task::Poll;

use pyo3::coroutine::CancelHandle;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Counts how often it was dropped.
#[pyclass]
struct Drops {
    #[pyo3(get)]
    count: usize,
}

#[pymethods]
impl Drops {
    #[new]
    fn new() -> Self {
        Self { count: 0 }
    }
}

/// Adds to the count when it is dropped.
struct Guard(Py<Drops>);

impl Drop for Guard {
    fn drop(&mut self) {
        Python::attach(|py| self.0.borrow_mut(py).count += 1);
    }
}

/// Waits for ever. It knows nothing of cancellation: what is thrown into it ends it.
#[pyfunction]
async fn never(drops: Py<Drops>) {
    let _guard = Guard(drops);
    pending().await
}

/// Waits until something is thrown into it, and returns that.
#[pyfunction]
async fn caught(#[pyo3(cancel_handle)] mut cancel: CancelHandle) -> Py<PyAny> {
    cancel.cancelled().await
}

/// Waits for `turns` turns of the loop, and returns their number.
#[pyfunction]
async fn turns(turns: usize) -> usize {
    let mut left = turns;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(turns);
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Waits until another thread wakes it, and returns `value`.
#[pyfunction]
async fn from_a_thread(value: Py<PyAny>) -> Py<PyAny> {
    let mut started = false;
    poll_fn(|context| {
        if started {
            return Poll::Ready(());
        }
        started = true;
        let waker = context.waker().clone();
        std::thread::spawn(move || waker.wake());
        Poll::Pending
    })
    .await;
    value
}

/// Fails at its first step.
#[pyfunction]
async fn fails() -> PyResult<()> {
    Err(PyValueError::new_err("native"))
}

/// The module.
#[pymodule]
mod native_coroutines {
    #[pymodule_export]
    use super::{Drops, caught, fails, from_a_thread, never, turns};
}
