//! What `start_soon` was given, made into a coroutine that a task can run, or a clear refusal.
//! It must never start anything.

use pyo3::ffi;

use crate::cpython::function::Method;
use crate::cpython::guard::guard;
use crate::cpython::imports::{imports, names};
use crate::cpython::object::{
    Aside, Fallible, Owned, Raw, call_method, call1, getattr_opt, method0, none, repr,
    set_error_text, truth,
};
use crate::engine::state::LoopState;

/// What a child runs.
pub struct Target {
    pub coroutine: Owned,
    /// It was given as `asyncio.shield(x)`: `x` runs to its end, and the nursery waits (R19).
    pub shield: bool,
}

impl Target {
    /// The coroutine for what `start_soon` was given.
    #[inline]
    pub unsafe fn of(state: &LoopState, target: Raw, args: &[Raw]) -> Fallible<Self> {
        // SAFETY: attached; the caller's objects are alive.
        unsafe {
            if ffi::PyCoro_CheckExact(target) != 0 && args.is_empty() {
                check_fresh(target)?;
                return Ok(Self { coroutine: Owned::share(target), shield: false });
            }
            Self::find(state, target, args)
        }
    }

    unsafe fn find(state: &LoopState, target: Raw, args: &[Raw]) -> Fallible<Self> {
        // SAFETY: as above.
        unsafe {
            if is_awaitable(target)? {
                if !args.is_empty() {
                    let given: Vec<_> = args.iter().map(|arg| repr(*arg)).collect();
                    let text = format!(
                        "start_soon() takes no arguments beside an awaitable, but got ({}) for {}; \
                         pass the function itself: start_soon(fn, *args)",
                        given.join(", "),
                        repr(target)
                    );
                    refuse(target);
                    return Err(set_error_text(ffi::PyExc_TypeError, &text));
                }
                return Self::awaitable(state, target);
            }
            if ffi::PyCallable_Check(target) == 0 {
                let text = format!(
                    "start_soon() needs a coroutine, an awaitable, or an async function and its \
                     arguments, not {}",
                    repr(target)
                );
                return Err(set_error_text(ffi::PyExc_TypeError, &text));
            }
            let nothing = std::ptr::null_mut();
            let made = ffi::PyObject_Vectorcall(target, args.as_ptr(), args.len(), nothing);
            let made = Owned::new(made)?;
            if !is_awaitable(made.as_ptr())? {
                let text = format!(
                    "start_soon() was given the function {}, which returned {} instead of an \
                     awaitable; is it missing 'async'? Run a plain function with \
                     start_thread(fn, ...), or start_process(fn, ...) if it computes",
                    repr(target),
                    repr(made.as_ptr())
                );
                return Err(set_error_text(ffi::PyExc_TypeError, &text));
            }
            Self::awaitable(state, made.as_ptr())
        }
    }

    unsafe fn awaitable(state: &LoopState, target: Raw) -> Fallible<Self> {
        // SAFETY: as above.
        unsafe {
            if ffi::PyCoro_CheckExact(target) != 0 {
                check_fresh(target)?;
                return Ok(Self { coroutine: Owned::share(target), shield: false });
            }
            if is_future(target)? {
                return Self::future(state, target);
            }
            let coroutine = call1(imports().parts.wrap_awaitable, target)?;
            Ok(Self { coroutine, shield: false })
        }
    }

    unsafe fn future(state: &LoopState, target: Raw) -> Fallible<Self> {
        // SAFETY: as above.
        unsafe {
            if crate::wait::is_wait(target) {
                crate::wait::claim(target);
                let coroutine = call1(imports().parts.wrap_awaitable, target)?;
                return Ok(Self { coroutine, shield: false });
            }
            let event_loop = method0(target, names().get_loop)?;
            if event_loop.as_ptr() != state.event_loop.get() {
                let text = format!(
                    "start_soon() was given {}, which belongs to another event loop than the \
                     nursery",
                    repr(target)
                );
                return Err(set_error_text(ffi::PyExc_RuntimeError, &text));
            }
            let inner = call1(imports().parts.shielded, target)?;
            let shield = inner.as_ptr() != ffi::Py_None();
            if shield {
                // The child awaits the inner one, so the outer one's error has nobody to ask for it.
                let taken = TAKEN.bind(target)?;
                let mut args = [std::ptr::null_mut(), taken.as_ptr()];
                let nothing = std::ptr::null_mut();
                call_method(target, names().add_done_callback, &mut args, nothing)?;
            }
            let awaited = if shield { inner.as_ptr() } else { target };
            let coroutine = call1(imports().parts.wrap_awaitable, awaited)?;
            Ok(Self { coroutine, shield })
        }
    }
}

static TAKEN: Method = Method::one_arg(c"shield_ended", shield_ended);

/// What `asyncio.shield` returned has ended: the nursery takes its error from what is inside it.
unsafe extern "C" fn shield_ended(outer: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a future, which the call keeps alive; the loop calls it.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let looked = method0(outer, names().exception);
            if let Err(raised) = looked {
                // It was cancelled, which nobody need ask for.
                raised.forget();
            }
            none().into_ptr()
        })
    }
}

/// Whether `await` takes it: what has the slot, and generators that `types.coroutine` has marked.
unsafe fn is_awaitable(target: Raw) -> Fallible<bool> {
    // SAFETY: as above.
    unsafe {
        let slots = (*ffi::Py_TYPE(target)).tp_as_async;
        if !slots.is_null() && (*slots).am_await.is_some() {
            return Ok(true);
        }
        if ffi::PyGen_CheckExact(target) == 0 {
            return Ok(false);
        }
        truth(&call1(imports().parts.is_awaitable, target)?)
    }
}

unsafe fn is_future(target: Raw) -> Fallible<bool> {
    // SAFETY: as above.
    unsafe {
        let kind = ffi::Py_TYPE(target).cast();
        let has = getattr_opt(kind, names().asyncio_future_blocking)?.is_some();
        Ok(has
            && getattr_opt(target, names().asyncio_future_blocking)?
                .is_some_and(|blocking| blocking.as_ptr() != ffi::Py_None()))
    }
}

/// Whether a coroutine has never run, told from its frame's state.
#[cfg(not(Py_3_14))]
#[inline]
unsafe fn is_fresh(coroutine: Raw) -> Fallible<bool> {
    #[cfg(Py_3_13)]
    const CREATED: i8 = -3;
    #[cfg(not(Py_3_13))]
    const CREATED: i8 = -2;
    // SAFETY: an exact coroutine, whose layout these versions publish.
    Ok(unsafe { (*coroutine.cast::<ffi::PyGenObject>()).gi_frame_state } == CREATED)
}

/// Whether a coroutine has never run, told from its attributes.
#[cfg(Py_3_14)]
unsafe fn is_fresh(coroutine: Raw) -> Fallible<bool> {
    // SAFETY: the caller's coroutine is alive.
    unsafe {
        let frame = crate::cpython::object::getattr(coroutine, names().cr_frame)?;
        if frame.as_ptr() == ffi::Py_None() {
            return Ok(false);
        }
        let running = crate::cpython::object::getattr(coroutine, names().cr_running)?;
        let suspended = crate::cpython::object::getattr(coroutine, names().cr_suspended)?;
        Ok(!truth(&running)? && !truth(&suspended)?)
    }
}

#[inline]
unsafe fn check_fresh(coroutine: Raw) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        if is_fresh(coroutine)? {
            return Ok(());
        }
        let text = format!(
            "start_soon() was given {}, which was already started or awaited elsewhere; make a \
             new one, or pass a task that awaits it",
            repr(coroutine)
        );
        Err(set_error_text(ffi::PyExc_RuntimeError, &text))
    }
}

/// Closes a coroutine that is refused, so that nobody is told that it was never awaited (R2).
pub unsafe fn refuse(target: Raw) {
    // SAFETY: attached; the error that the refusal is put aside.
    unsafe {
        let _aside = Aside::new();
        if ffi::PyCoro_CheckExact(target) != 0
            && is_fresh(target).unwrap_or_else(|raised| {
                raised.forget();
                false
            })
        {
            if let Err(raised) = method0(target, names().close) {
                raised.forget();
            }
        } else if crate::wait::is_wait(target) {
            crate::wait::close(target);
        }
    }
}
