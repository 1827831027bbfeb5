//! `TaskGroup.create_task` as nearly everybody calls it: a coroutine, perhaps a name or a context.
//! What is anything else goes to the class's own Python part, which knows what asyncio says to it.
//! It must never decide what that part decides.

use pyo3::ffi;
use pyo3::prelude::*;

use crate::cpython::args::given;
use crate::cpython::function::Method;
use crate::cpython::guard::guard;
use crate::cpython::imports::names;
use crate::cpython::object::{Fallible, Owned, Raw, method0};
use crate::nursery::Nursery;
use crate::nursery::start::{self, Order};
use crate::task_class;

/// What a usual call asks for; None for any other.
unsafe fn usual(args: *const Raw, count: ffi::Py_ssize_t, kwnames: Raw) -> Option<Order> {
    // SAFETY: CPython's vector of arguments.
    unsafe {
        if count != 1 || ffi::PyCoro_CheckExact(*args) == 0 {
            return None;
        }
        let nothing = std::ptr::null_mut();
        let mut order = Order { name: nothing, context: nothing, shield: false, at_once: false };
        if kwnames.is_null() {
            return Some(order);
        }
        for index in 0..ffi::PyTuple_GET_SIZE(kwnames) {
            let keyword = ffi::PyTuple_GET_ITEM(kwnames, index);
            let value = given(*args.offset(count + index)).unwrap_or(nothing);
            if keyword == names().name {
                order.name = value;
            } else if keyword == names().context
                && (value.is_null() || ffi::PyContext_CheckExact(value) != 0)
            {
                order.context = value;
            } else {
                return None;
            }
        }
        Some(order)
    }
}

/// Whether the loop's tasks take their first step in its next turn, as far as can be told here.
unsafe fn is_lazy(event_loop: Raw) -> Fallible<bool> {
    // SAFETY: attached; the loop is alive.
    unsafe {
        let factory = method0(event_loop, names().get_task_factory)?;
        Ok(factory.as_ptr() == ffi::Py_None() || task_class::is_lazy(factory.as_ptr()))
    }
}

unsafe extern "C" fn create_task(
    this: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: CPython calls a method of a nursery with a vector of arguments.
    unsafe {
        guard(std::ptr::null_mut(), |py| {
            let object = Bound::from_borrowed_ptr(py, this);
            let nursery = object.cast_unchecked::<Nursery>().get();
            let create = || -> Fallible<Owned> {
                if let Some(order) = usual(args, count, kwnames)
                    && nursery.is_accepting()
                    && let Some((state, _)) = nursery.place()
                    && is_lazy(state.event_loop.get())?
                {
                    return start::begin(nursery, *args, &[], &order);
                }
                let keywords = if kwnames.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(kwnames) };
                let given = std::slice::from_raw_parts(args, (count + keywords) as usize);
                let whole = [&[this], given].concat();
                let name = names().create_any_task;
                let positional = count as usize + 1;
                Owned::new(ffi::PyObject_VectorcallMethod(
                    name,
                    whole.as_ptr(),
                    positional,
                    kwnames,
                ))
            };
            create().map_or(std::ptr::null_mut(), Owned::into_ptr)
        })
    }
}

static CREATE_TASK: Method = Method::fast(c"create_task", create_task).documented(
    c"create_task($self, coro, *, name=None, context=None, eager_start=None, **_)\n--\n\nStart a child and return its task.\n\nRaises RuntimeError before the group is entered, once it has finished and while it shuts down.",
);

/// Adds the method to the module, for the class to take.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add(CREATE_TASK.name(), CREATE_TASK.for_class::<Nursery>(module.py())?)
}
