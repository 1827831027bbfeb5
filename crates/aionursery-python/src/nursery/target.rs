//! What `start_soon` was given, made into a coroutine that a task can run, or a clear refusal.
//! It must never start anything.

use crate::channel::TransferObject;
use crate::cpython::call::{
    call_all, call1, class_of, getattr_opt, has_await, is_async_generator, is_callable,
    is_coroutine, is_exact_generator, method0, method1, repr, truth_of,
};
use crate::cpython::called::method;
use crate::cpython::errors::{Aside, Fallible, exc, misuse, optional, set_error_text};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::{imports, names};
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::engine::state::LoopState;
use crate::wait::WaitObject;

/// What a child runs.
pub(super) struct Target {
    pub coroutine: Owned,
    /// It was given as `asyncio.shield(x)`: `x` runs to its end, and the nursery waits (R19).
    pub shield: bool,
}

impl Target {
    /// The coroutine for what `start_soon` was given.
    #[inline]
    pub(super) fn of(state: &LoopState, target: &Object, args: &[&Object]) -> Fallible<Self> {
        if is_coroutine(target) && args.is_empty() {
            check_fresh(target)?;
            return Ok(Self { coroutine: Owned::share(target), shield: false });
        }
        Self::find(state, target, args)
    }

    fn find(state: &LoopState, target: &Object, args: &[&Object]) -> Fallible<Self> {
        let py = state.py();
        if is_awaitable(target)? {
            if !args.is_empty() {
                let given: Vec<_> = args.iter().map(|arg| repr(arg)).collect();
                let text = format!(
                    "start_soon() takes no arguments beside an awaitable, but got ({}) for {}; \
                     pass the function itself: start_soon(fn, *args)",
                    given.join(", "),
                    repr(target)
                );
                refuse(target);
                return Err(set_error_text(exc::type_error(py), &text));
            }
            return Self::awaitable(state, target);
        }
        if !is_callable(target) {
            let advice = if is_async_generator(target) {
                READ_IT
            } else if getattr_opt(target, names(py).add_done_callback)?.is_some() {
                "; asyncio.wrap_future() makes an awaitable of a future of concurrent.futures"
            } else {
                ""
            };
            let text = format!(
                "start_soon() needs a coroutine, an awaitable, or an async function and its \
                 arguments, not {}{advice}",
                repr(target)
            );
            return Err(set_error_text(exc::type_error(py), &text));
        }
        let made = call_all(target, args)?;
        if !is_awaitable(&made)? {
            let advice = if is_async_generator(&made) {
                READ_IT
            } else {
                "; is it missing 'async'? Run a plain function with start_thread(fn, ...), or \
                 start_process(fn, ...) if it computes"
            };
            let text = format!(
                "start_soon() was given the function {}, which returned {} instead of an \
                 awaitable{advice}",
                repr(target),
                repr(&made)
            );
            return Err(set_error_text(exc::type_error(py), &text));
        }
        Self::awaitable(state, &made)
    }

    fn awaitable(state: &LoopState, target: &Object) -> Fallible<Self> {
        if is_coroutine(target) {
            check_fresh(target)?;
            return Ok(Self { coroutine: Owned::share(target), shield: false });
        }
        if let Some(wait) = target.cast::<WaitObject>() {
            wait.claim();
        } else if let Some(transfer) = target.cast::<TransferObject>() {
            transfer.claim();
        } else if is_future(target)? {
            return Self::future(state, target);
        }
        Ok(Self { coroutine: wrapped(target)?, shield: false })
    }

    fn future(state: &LoopState, target: &Object) -> Fallible<Self> {
        let py = state.py();
        let event_loop = method0(target, names(py).get_loop)?;
        if !state.is_loop(&event_loop) {
            let text = format!(
                "start_soon() was given {}, which belongs to another event loop than the \
                 nursery",
                repr(target)
            );
            return Err(misuse(py, &text));
        }
        let inner = call1(imports(py).parts.shielded, target)?;
        if inner.is_none() {
            return Ok(Self { coroutine: wrapped(target)?, shield: false });
        }
        // The child awaits the inner one, so nothing asks the outer one for its error.
        let taken = TAKEN.bind_to(target)?;
        method1(target, names(py).add_done_callback, &taken)?;
        Ok(Self { coroutine: wrapped(&inner)?, shield: true })
    }
}

/// What to do with an async generator, which nothing can await.
const READ_IT: &str =
    "; an async generator is read with 'async for': start an async function that does";

/// A coroutine that awaits it.
fn wrapped(awaitable: &Object) -> Fallible<Owned> {
    call1(imports(awaitable.py()).parts.wrap_awaitable, awaitable)
}

/// What `asyncio.shield` returned has ended: the nursery takes its error from what is inside it.
static TAKEN: Method = method!(one_arg Object, c"shield_ended", |outer: &This<'_, Object>, _: &Object| {
    // A cancellation needs no such question.
    drop(optional(method0(outer.object(), names(outer.py()).exception)));
    Ok(none(outer.py()))
});

/// Whether `await` takes it: what has the slot, and generators that `types.coroutine` has marked.
fn is_awaitable(target: &Object) -> Fallible<bool> {
    if has_await(target) {
        return Ok(true);
    }
    if !is_exact_generator(target) {
        return Ok(false);
    }
    truth_of(call1(imports(target.py()).parts.is_awaitable, target))
}

fn is_future(target: &Object) -> Fallible<bool> {
    let blocking = names(target.py()).asyncio_future_blocking;
    if getattr_opt(&class_of(target), blocking)?.is_none() {
        return Ok(false);
    }
    Ok(getattr_opt(target, blocking)?.is_some_and(|blocking| !blocking.is_none()))
}

/// Whether a coroutine has never run, told from its frame's state.
#[cfg(not(Py_3_14))]
#[inline]
fn is_fresh(coroutine: &Object) -> Fallible<bool> {
    Ok(crate::cpython::call::frame_is_new(coroutine) == Some(true))
}

/// Whether a coroutine has never run, told from its attributes.
#[cfg(Py_3_14)]
fn is_fresh(coroutine: &Object) -> Fallible<bool> {
    let parts = &imports(coroutine.py()).coroutines;
    // The frame comes last: asking for one makes an object of it.
    Ok(!truth_of(parts.running.get(coroutine))?
        && !truth_of(parts.suspended.get(coroutine))?
        && !parts.frame.get(coroutine)?.is_none())
}

#[inline(always)]
fn check_fresh(coroutine: &Object) -> Fallible<()> {
    if is_fresh(coroutine)? {
        return Ok(());
    }
    let text = format!(
        "start_soon() was given {}, which was already started or awaited elsewhere; make a \
         new one, or pass a task that awaits it",
        repr(coroutine)
    );
    Err(misuse(coroutine.py(), &text))
}

/// Closes a coroutine that is refused, so that Python does not warn that it was never awaited (R2). The refusal's
/// own error is put aside.
pub(super) fn refuse(target: &Object) {
    let py = target.py();
    let _aside = Aside::new(py);
    if is_coroutine(target) && optional(is_fresh(target)).unwrap_or(false) {
        drop(optional(method0(target, names(py).close)));
    } else if let Some(wait) = target.cast::<WaitObject>() {
        wait.close();
    } else if let Some(transfer) = target.cast::<TransferObject>() {
        transfer.claim();
    }
}
