//! The end of the interpreter, for loops in daemon threads. CPython ends such a thread where it next
//! wants the GIL, by unwinding its stack, which must not happen while functions of ours are on it.
//! So before the interpreter goes, threads that are inside are given time to come to the end of a
//! step, and stop there for good.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::ffi;
use pyo3::prelude::*;

static STOPPING: AtomicBool = AtomicBool::new(false);
/// The thread that ends the interpreter.
static ENDING: AtomicUsize = AtomicUsize::new(0);
/// How many threads run tasks just now.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// How long the end of the interpreter waits for steps that are under way.
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// This thread runs tasks while it lives.
pub struct Inside;

impl Inside {
    #[inline]
    pub fn enter() -> Self {
        pause();
        let depth = DEPTH.get();
        if depth == 0 {
            INSIDE.fetch_add(1, Ordering::Relaxed);
        }
        DEPTH.set(depth + 1);
        Self
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            INSIDE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Between two steps: if the interpreter ends, any other thread stops here.
#[inline]
pub fn pause() {
    if STOPPING.load(Ordering::Relaxed) {
        stop();
    }
}

#[cold]
fn stop() {
    if ENDING.load(Ordering::Relaxed) == crate::state::thread_mark() {
        return;
    }
    if DEPTH.get() > 0 {
        INSIDE.fetch_sub(1, Ordering::Relaxed);
    }
    // SAFETY: the thread is attached; it lets go of the GIL and never asks for it again.
    unsafe { ffi::PyEval_SaveThread() };
    loop {
        std::thread::park();
    }
}

/// Called by `atexit`, before the interpreter takes anything apart.
#[pyfunction]
fn stop_other_threads(py: Python<'_>) {
    ENDING.store(crate::state::thread_mark(), Ordering::Relaxed);
    STOPPING.store(true, Ordering::Relaxed);
    let own = usize::from(DEPTH.get() > 0);
    let end = Instant::now() + PATIENCE;
    while INSIDE.load(Ordering::Relaxed) > own && Instant::now() < end {
        py.detach(|| std::thread::sleep(Duration::from_millis(1)));
    }
}

/// Has `atexit` call us.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let stop = wrap_pyfunction!(stop_other_threads, module)?;
    module.py().import("atexit")?.call_method1("register", (stop,))?;
    Ok(())
}
