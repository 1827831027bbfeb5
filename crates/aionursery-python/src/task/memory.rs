//! How a task comes and goes: its type (a subclass of asyncio's C `Task`), allocation, garbage collection,
//! the end of its memory. It must never take a step or decide anything.

#![expect(unsafe_code, reason = "the memory of a task, beside what asyncio knows of it")]

use std::cell::OnceCell;
use std::ffi::{CStr, c_int};
use std::mem::transmute;

use pyo3::ffi;
use pyo3::prelude::*;

use super::data::{Rare, Task, TaskData};
use super::flag;
use super::layout::{self, class};
use super::waiters::Waiter;
use crate::cpython::dying::Dying;
use crate::cpython::errors::{Fallible, answered};
use crate::cpython::function::This;
use crate::cpython::imports::imports;
use crate::cpython::myself::Guarded;
use crate::cpython::object::{Object, Type};
use crate::cpython::owned::{Owned, forever};
use crate::cpython::slot::{Visit, VisitArg, Visitor};
use crate::cpython::slots::{Clear, Dealloc, Layout, Slots, Traverse};

/// What shows objects to the collector, empties and ends them.
#[repr(C)]
struct Parts<T, C, D> {
    traverse: T,
    clear: C,
    dealloc: D,
}

/// As C has them.
type Untyped = Parts<ffi::traverseproc, ffi::inquiry, ffi::destructor>;
/// Of a task.
type OfTask = Parts<Traverse<Task>, Clear<Task>, Dealloc<Task>>;

/// What asyncio's type does with its part of a task.
struct Base {
    /// `dealloc` lets go of the task's type, as it must where that is no static one.
    frees_type: bool,
    parts: OfTask,
}

static BASE: Guarded<OnceCell<Base>> = Guarded::new(OnceCell::new());

fn base(py: Python<'_>) -> &'static Base {
    BASE.get(py).get().expect("the module has been imported")
}

/// A new task object with nothing in it; `__init__` and [`begin`] fill it.
#[inline(always)]
pub(crate) fn allocate(py: Python<'_>) -> Fallible<Owned<Task>> {
    // SAFETY: it is our type.
    let made = unsafe { new(class(py), None, None) };
    let made = answered(py, made)?;
    // SAFETY: it is of that type.
    Ok(unsafe { made.seen_as() })
}

/// # Safety
/// Our type, or a class below it.
unsafe extern "C" fn new(class: &Type, _: Option<&Object>, _: Option<&Object>) -> Option<Owned> {
    let alloc = class.part(|class| class.tp_alloc)?;
    // SAFETY: so objects of the class are allocated.
    let task = unsafe { alloc(class.as_type_ptr(), 0) };
    // SAFETY: it is a new reference, if there is memory. CPython zeroes that, which is what asyncio's part
    // wants; ours is filled before the program can see it.
    let made = unsafe { Owned::from_ptr(task) }?;
    // SAFETY: the object is as large as our type says, which has our part there.
    unsafe { layout::ours(task).cast::<TaskData>().write(TaskData::default()) };
    #[cfg(Py_3_14)]
    {
        // SAFETY: a byte of asyncio's part, found there in a task of asyncio's.
        unsafe { layout::is_task(task).write(1) };
    }
    Some(made)
}

extern "C" fn traverse<'a>(this: This<'a, Task>, visit: Visit<'a>, arg: VisitArg<'a>) -> c_int {
    let mut visitor = Visitor::new(visit, arg);
    // Every cell is free, since no borrow is held while Python runs.
    let ours = this.data();
    ours.home.traverse(|home| visitor.show(home));
    for slot in [&ours.waiting, &ours.outcome, &ours.cancel_message, &ours.registration] {
        visitor.slot(slot);
    }
    if let Ok(Some(rare)) = ours.rare.try_borrow().as_deref() {
        let Rare { source_traceback, incoming, exception_traceback, handler, number: _ } = &**rare;
        for slot in [source_traceback, incoming, exception_traceback, handler] {
            visitor.slot(slot);
        }
    }
    if let Ok(waiters) = ours.waiters.try_borrow() {
        waiters.all().iter().flat_map(Waiter::parts).for_each(|held| visitor.show(held));
    }
    match visitor.answer() {
        0 => (base(this.py()).parts.traverse)(this, visit, arg),
        answer => answer,
    }
}

extern "C" fn clear(this: This<'_, Task>) -> c_int {
    this.data().clear();
    (base(this.py()).parts.clear)(this)
}

/// The finaliser may bring the task back to life; if not, our part is emptied and asyncio's own destructor
/// does the rest, type and memory included.
extern "C" fn dealloc(task: Dying<Task>) {
    let ours = task.data();
    let loud = !ours.has(flag::DONE) || ours.has(flag::LOG_TRACEBACK);
    if task.is_exact() && loud && !task.finalize() {
        return;
    }
    // No collection may come upon a task that has no reference left while its parts go.
    task.untrack();
    ours.clear();
    // What asyncio's destructor calls asserts that.
    #[cfg(py_sys_config = "Py_DEBUG")]
    task.track();
    let Base { frees_type, parts } = base(task.object().py());
    if *frees_type { (parts.dealloc)(task) } else { task.end(|task| (parts.dealloc)(task)) }
}

/// Makes the type, with these slots: asyncio's with our part behind it. Once.
pub(crate) fn create_type(py: Python<'_>, name: &'static CStr, slots: Slots<Task>) -> Fallible<()> {
    if layout::has_class(py) {
        return Ok(());
    }
    let base_object = imports(py).task_type;
    let base = base_object.cast::<Type>().expect("asyncio's Task is a class");
    let base_size = base.part(|base| base.tp_basicsize) as usize;
    let offset = base_size.next_multiple_of(align_of::<TaskData>());
    layout::set_ours(offset);
    let size = offset + size_of::<TaskData>();
    let shape = Layout { size, new: Some(new), traverse, clear, dealloc, weak: None };
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE;
    // SAFETY: a task is as large as this; `new` makes one, and the others show and free it.
    let made = unsafe { slots.make(py, name, flags, Some(base_object), &shape) }?;
    let theirs = Untyped {
        traverse: base.part(|base| base.tp_traverse).expect("asyncio's Task is collected"),
        clear: base.part(|base| base.tp_clear).expect("asyncio's Task is collected"),
        dealloc: base.part(|base| base.tp_dealloc).expect("every type has a destructor"),
    };
    let theirs = Base {
        frees_type: base.part(|base| base.tp_flags) & ffi::Py_TPFLAGS_HEAPTYPE != 0,
        // SAFETY: each takes a task of asyncio's, as each of ours begins, by its address; the first one the
        // collector's function and argument, too, and the last one a task that nothing refers to.
        parts: unsafe { transmute::<Untyped, OfTask>(theirs) },
    };
    let _ = BASE.get(py).set(theirs);
    layout::set_class(py, forever(made));
    Ok(())
}
