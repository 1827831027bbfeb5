//! Functions of anyio's that a program calls at every turn, where its backend is ours: how each of them
//! finds the backend, and the checkpoint. They must never differ from anyio's own in what they do, and
//! call those where they do not know.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cpython::args::Args;
use crate::cpython::call::{context_value, getattr_opt, is_equal};
use crate::cpython::called::method;
use crate::cpython::containers::{dict_get, items, tuple};
use crate::cpython::errors::{Fallible, fetch};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::{current_task, imports, names};
use crate::cpython::object::{Object, object};
use crate::cpython::owned::Owned;
use crate::wait::{self, WaitKind};

/// What one of the functions is bound to, as a tuple.
struct Parts<'a> {
    /// anyio's own function.
    own: &'a Object,
    /// Our backend.
    ours: &'a Object,
    /// anyio's table of backends, and the name of asyncio's there.
    backends: &'a Object,
    asyncio: &'a Object,
    /// What sniffio says it by, if that is there: a thread's attribute `name`, and a context variable.
    sniffed: &'a [&'a Object],
}

impl<'a> Parts<'a> {
    fn of(this: &This<'a, Object>) -> Self {
        let [own, ours, backends, asyncio, sniffed @ ..] = items(this.object()) else {
            unreachable!("it is bound to what make_anyio_functions has made")
        };
        Self { own, ours, backends, asyncio, sniffed }
    }

    /// The caller's backend, if that is known; it was loaded already.
    #[inline]
    fn backend(&self) -> Fallible<Option<Owned>> {
        if self.is_asyncio()? { dict_get(self.backends, self.asyncio) } else { Ok(None) }
    }

    /// Whether this thread runs a loop of asyncio's, and nothing has told sniffio otherwise.
    #[inline]
    fn is_asyncio(&self) -> Fallible<bool> {
        let py = self.own.py();
        let running = imports(py).peek_running_loop.call()?;
        if running.is_none() {
            return Ok(false);
        }
        let [thread, variable] = self.sniffed else {
            return Ok(true);
        };
        if getattr_opt(thread, names(py).name)?.is_some_and(|name| !name.is_none()) {
            return Ok(false);
        }
        match context_value(variable)? {
            Some(name) if !name.is_none() => is_equal(&name, self.asyncio),
            _ => Ok(!current_task(&running)?.is_none()),
        }
    }
}

fn get_backend(this: &This<'_, Object>, args: Args<'_>) -> Fallible<Owned> {
    let parts = Parts::of(this);
    if args.is_empty()
        && let Some(backend) = parts.backend()?
    {
        return Ok(backend);
    }
    args.call(parts.own)
}

fn checkpoint(this: &This<'_, Object>, args: Args<'_>) -> Fallible<Owned> {
    let parts = Parts::of(this);
    if args.is_empty() && parts.backend()?.is_some_and(|backend| backend.is(parts.ours)) {
        return wait::create(this.py(), WaitKind::Turn, 0.0, None).map(Owned::into_object);
    }
    args.call(parts.own)
}

static GET_BACKEND: Method = method!(fast Object, c"get_async_backend", get_backend);
static CHECKPOINT: Method = method!(fast Object, c"checkpoint", checkpoint);

/// Make what takes the place of anyio's `get_async_backend` and `checkpoint`, which are `own`.
///
/// ours is our backend, backends and asyncio are anyio's table and the name of asyncio's in it; sniffed
/// is empty, or sniffio's `thread_local` and its context variable.
#[pyfunction]
#[pyo3(signature = (own, ours, backends, asyncio, *sniffed))]
fn make_anyio_functions<'py>(
    own: (Bound<'py, PyAny>, Bound<'py, PyAny>),
    ours: &Bound<'py, PyAny>,
    backends: &Bound<'py, PyAny>,
    asyncio: &Bound<'py, PyAny>,
    sniffed: &Bound<'py, PyTuple>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = ours.py();
    let make = |method: &'static Method, own: &Bound<'py, PyAny>| {
        let parts = [object(own), object(ours), object(backends), object(asyncio)];
        let all: Vec<_> = parts.into_iter().chain(items(object(sniffed)).iter().copied()).collect();
        let made = tuple(py, &all).and_then(|parts| method.bind(&parts));
        Ok::<_, PyErr>(made.map_err(|raised| fetch(py, raised))?.into_bound(py))
    };
    Ok((make(&GET_BACKEND, &own.0)?, make(&CHECKPOINT, &own.1)?))
}

/// Puts the function into the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(make_anyio_functions, module)?)
}
