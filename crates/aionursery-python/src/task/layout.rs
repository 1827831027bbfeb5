//! Where a task has its parts: asyncio's, whose fields are looked for at import, then ours. It must never
//! look into a task that is at work.

#![expect(unsafe_code, reason = "what lies where in asyncio's part is looked for")]

use std::cell::OnceCell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use crate::cpython::myself::Guarded;
use crate::cpython::object::{Raw, Type, object};
#[cfg(Py_3_14)]
use crate::cpython::{errors::fetch, imports::imports};

static CLASS: Guarded<OnceCell<&'static Type>> = Guarded::new(OnceCell::new());

/// The class.
#[inline]
pub(crate) fn class(py: Python<'_>) -> &'static Type {
    CLASS.get(py).get().expect("the module has been imported")
}

/// Whether there is a class.
pub(super) fn has_class(py: Python<'_>) -> bool {
    CLASS.get(py).get().is_some()
}

/// The class, once it is made.
pub(super) fn set_class(py: Python<'_>, class: &'static Type) {
    CLASS.get(py).set(class).expect("it is made once");
}

/// Where our part begins.
static OURS: AtomicUsize = AtomicUsize::new(0);

/// Our part begins there.
pub(super) fn set_ours(offset: usize) {
    OURS.store(offset, Ordering::Relaxed);
}

/// Where a task has our part.
#[inline]
pub(super) fn ours(task: Raw) -> *mut u8 {
    task.cast::<u8>().wrapping_add(OURS.load(Ordering::Relaxed))
}

/// Where an inherited field lies, counted from our part.
pub(super) struct Field(AtomicIsize);

impl Field {
    /// Whether it was found.
    #[cfg(Py_3_14)]
    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// The field of the task whose part of ours that is.
    #[inline]
    pub(super) fn beside(&self, ours: *const u8) -> *const u8 {
        let there = ours.expose_provenance().wrapping_add_signed(self.0.load(Ordering::Relaxed));
        std::ptr::with_exposed_provenance(there)
    }
}

pub(super) static COROUTINE: Field = Field(AtomicIsize::new(0));
pub(super) static CONTEXT: Field = Field(AtomicIsize::new(0));
pub(super) static NAME: Field = Field(AtomicIsize::new(0));

/// Where asyncio's part has what awaits the task: nothing, one task or future, or a set of them. Nowhere
/// (0), if that was not found: asyncio's functions are called then.
#[cfg(Py_3_14)]
pub(super) static AWAITED_BY: Field = Field(AtomicIsize::new(0));

/// Where asyncio's part has the byte by which a debugger tells a task from a future.
#[cfg(Py_3_14)]
static IS_TASK: AtomicUsize = AtomicUsize::new(0);

/// The byte of a task by which a debugger tells it from a future.
#[cfg(Py_3_14)]
pub(super) fn is_task(task: Raw) -> *mut u8 {
    task.cast::<u8>().wrapping_add(IS_TASK.load(Ordering::Relaxed))
}

/// How much of an object is every object's.
const HEAD: usize = size_of::<ffi::PyObject>();

/// What the memory of an object of asyncio's own types has in it now.
fn memory(of: &Bound<'_, PyAny>) -> Vec<u8> {
    let size = object(of).class().part(|class| class.tp_basicsize) as usize;
    // SAFETY: an object is as large as its type says; CPython has zeroed all of that before it was filled.
    unsafe { std::slice::from_raw_parts(of.as_ptr().cast::<u8>(), size) }.to_vec()
}

/// Finds the fields of asyncio's tasks that ours use, in a task of asyncio's whose parts are known.
#[expect(clippy::disallowed_methods, reason = "at import, which ends without memory")]
pub(crate) fn find_inherited(py: Python<'_>) -> PyResult<()> {
    let sample = py.import("aionursery._called")?.call_method0("sample_task")?;
    let [task, coroutine, context, name, future]: [Bound<'_, PyAny>; 5] = sample.extract()?;
    let ours = OURS.load(Ordering::Relaxed);
    let find = |part: &Bound<'_, PyAny>| {
        let part = object(part).address().to_ne_bytes();
        let memory = memory(&task);
        let words = memory.chunks_exact(part.len()).enumerate().skip(HEAD / part.len());
        let mut places = words.filter(|(_, word)| *word == part).map(|(at, _)| at * part.len());
        match (places.next(), places.next()) {
            (Some(at), None) => Ok(at as isize - ours as isize),
            _ => Err(unknown()),
        }
    };
    COROUTINE.0.store(find(&coroutine)?, Ordering::Relaxed);
    CONTEXT.0.store(find(&context)?, Ordering::Relaxed);
    NAME.0.store(find(&name)?, Ordering::Relaxed);
    #[cfg(Py_3_14)]
    {
        IS_TASK.store(find_is_task(&task, &future)?, Ordering::Relaxed);
        let pair = [object(&task), object(&future)];
        let (add, discard) = (&imports(py).add_awaited_by, &imports(py).discard_awaited_by);
        add.call(pair).map_err(|raised| fetch(py, raised))?;
        let awaited_by = find(&future);
        discard.call(pair).map_err(|raised| fetch(py, raised))?;
        AWAITED_BY.0.store(awaited_by.unwrap_or(0), Ordering::Relaxed);
    }
    let _ = future;
    Ok(())
}

/// Finds the one byte that is 1 in a new task and 0 in a new future of the same loop.
#[cfg(Py_3_14)]
fn find_is_task(task: &Bound<'_, PyAny>, future: &Bound<'_, PyAny>) -> PyResult<usize> {
    // A task begins as a future does.
    let (task, future) = (memory(task), memory(future));
    let mut places = (HEAD..future.len()).filter(|at| task[*at] == 1 && future[*at] == 0);
    match (places.next(), places.next()) {
        (Some(at), None) => Ok(at),
        _ => Err(unknown()),
    }
}

fn unknown() -> PyErr {
    pyo3::exceptions::PyImportError::new_err(
        "aionursery does not know the tasks of this version of asyncio",
    )
}
