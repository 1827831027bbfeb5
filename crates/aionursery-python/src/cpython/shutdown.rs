//! The end of the interpreter, for loops in daemon threads. Before 3.14 CPython ends such a thread
//! where it next wants the GIL, with `pthread_exit`, which unwinds the thread's stack through
//! functions of ours; and Rust aborts the process where it is unwound by something that is no panic.
//! So a thread that is unwound so hangs where the unwinding comes to the first function of ours, as
//! CPython itself has it from 3.14 on. It must never hold up another thread, nor change how a panic
//! goes.
//!
//! glibc asks each function that has something to clean up through its personality routine. The
//! compiler has all of ours refer to Rust's through one pointer, and there it is told apart what
//! unwinds: this covers every call into CPython, PyO3's own included, and costs a call nothing.
//! Elsewhere `pthread_exit` unwinds nothing.

#[cfg(all(target_os = "linux", target_env = "gnu", not(target_arch = "arm"), not(Py_3_14)))]
mod personality {
    use std::ffi::{c_int, c_void};
    use std::sync::OnceLock;

    type Routine = unsafe extern "C" fn(c_int, c_int, u64, *mut c_void, *mut c_void) -> c_int;

    /// What the unwinder does is no search for a handler that could refuse.
    const FORCED: c_int = 8;

    unsafe extern "C" {
        /// The compiler's own pointer to the routine.
        #[link_name = "DW.ref.rust_eh_personality"]
        static mut ROUTINE: Routine;
    }

    static RUSTS: OnceLock<Routine> = OnceLock::new();

    unsafe extern "C" fn routine(
        version: c_int,
        actions: c_int,
        class: u64,
        exception: *mut c_void,
        context: *mut c_void,
    ) -> c_int {
        if actions & FORCED != 0 {
            // The thread has let go of the GIL, and never asks for it again.
            loop {
                std::thread::park();
            }
        }
        match RUSTS.get() {
            // SAFETY: as the unwinder calls it.
            Some(rusts) => unsafe { rusts(version, actions, class, exception, context) },
            None => std::process::abort(),
        }
    }

    pub(super) fn install() {
        RUSTS.get_or_init(|| {
            let routine_ptr = &raw mut ROUTINE;
            // SAFETY: the pointer is this library's own, and only the unwinder reads it.
            unsafe { routine_ptr.replace(routine) }
        });
    }
}

/// Has threads hang that CPython ends, from now on.
pub(crate) fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(target_arch = "arm"), not(Py_3_14)))]
    personality::install();
}
