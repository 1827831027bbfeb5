//! What a task is made of, and how it comes and goes: its type (a subclass of asyncio's C `Task`),
//! allocation, garbage collection, the end of its memory. Of the fields that it inherits it uses
//! those for the coroutine, the context and the name, so that what reads them (asyncio's own methods,
//! a debugger) finds what it expects. It must never take a step or decide anything.

#![expect(unsafe_code, reason = "the memory of a task, beside what asyncio knows of it")]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering};

use nursery_core::{Effects, Inbox, MemberId};
use pyo3::ffi;
use pyo3::prelude::*;

use super::watchers::Watchers;
use crate::cpython::call::copy_context;
use crate::cpython::class::Slots;
use crate::cpython::errors::{Fallible, answered};
use crate::cpython::imports::imports;
use crate::cpython::object::{Object, Owned, Raw, Slot, Typed, Visitor, Whole};
use crate::cpython::trash::Going;
use crate::engine::home::{Home, HomeSlot};
use crate::engine::state::LoopState;

/// What a task has been through, one bit each.
pub(crate) mod flag {
    /// It has ended; its outcome is a result unless one of the next two is set.
    pub(crate) const DONE: u32 = 1;
    /// A cancellation ended it; the outcome is the `CancelledError`, if one was kept.
    pub(crate) const CANCELLED: u32 = 1 << 1;
    /// An exception ended it; the outcome is that exception.
    pub(crate) const FAILED: u32 = 1 << 2;
    /// It stands in the ready queue, or a loop's handle will step it.
    pub(crate) const SCHEDULED: u32 = 1 << 3;
    /// A step runs.
    pub(crate) const RUNNING: u32 = 1 << 4;
    /// It waits for its nursery's children; a cancellation waits with it (R15).
    pub(crate) const JOINING: u32 = 1 << 6;
    /// Nobody has asked for its exception: say so when it goes.
    pub(crate) const LOG_TRACEBACK: u32 = 1 << 7;
    /// Say so when it goes before it has ended. Cleared by `_log_destroy_pending = False`.
    pub(crate) const LOG_DESTROY: u32 = 1 << 8;
    /// It is a nursery's child: its error is the nursery's.
    pub(crate) const CHILD: u32 = 1 << 10;
    /// asyncio was told that its nursery's host awaits it.
    #[cfg(Py_3_14)]
    pub(crate) const AWAITED: u32 = 1 << 5;
    /// A future's protocol: whoever yields it means to wait for it.
    pub(crate) const BLOCKING: u32 = 1 << 11;
}

/// The part of a task that is ours, behind the part that is asyncio's.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct TaskData {
    pub flags: Cell<u32>,
    pub inbox: Cell<Inbox>,
    pub member: Cell<Option<MemberId>>,
    /// The number that an unnamed task is called by.
    pub number: Cell<u64>,
    pub home: HomeSlot,
    /// What it waits for: a future, one of our waits, another task of ours.
    pub waiting: Slot,
    /// The result, the exception, or the `CancelledError`.
    pub outcome: Slot,
    pub cancel_message: Slot,
    /// The weak reference that stands in asyncio's set of tasks.
    pub registration: Slot,
    /// What is to be told of its end.
    pub watchers: RefCell<Option<Box<Watchers<Task>>>>,
    pub rare: RefCell<Option<Box<Rare>>>,
    /// The tree has a reference to it.
    held: Cell<bool>,
}

/// What few tasks have.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// In debug mode: where it was made.
    pub source_traceback: Slot,
    /// What its next step throws, such as the answer to a bad yield.
    pub incoming: Slot,
    /// Which wait of it this is, of those that can be called back for more than once.
    pub number: Cell<u64>,
    /// The awaited-by set of 3.14 and later is in asyncio's part; nothing of it is here.
    pub exception_traceback: Slot,
    /// What its nursery has called with its error, in the block's place.
    pub handler: Slot,
}

static TASK_TYPE: OnceLock<TaskType> = OnceLock::new();

/// Where our part begins.
static OURS: AtomicUsize = AtomicUsize::new(0);
/// Where inherited fields lie, counted from our part.
static COROUTINE: AtomicIsize = AtomicIsize::new(0);
static CONTEXT: AtomicIsize = AtomicIsize::new(0);
static NAME: AtomicIsize = AtomicIsize::new(0);
/// Where asyncio's part has the byte by which a debugger tells a task from a future.
#[cfg(Py_3_14)]
static IS_TASK: AtomicUsize = AtomicUsize::new(0);

struct TaskType {
    object: *mut ffi::PyTypeObject,
    /// asyncio's destructor lets go of the task's type, as it must where that is no static one.
    base_frees_type: bool,
    base_traverse: ffi::traverseproc,
    base_clear: ffi::inquiry,
    base_dealloc: ffi::destructor,
}

// SAFETY: written once at import; types live as long as the process.
unsafe impl Send for TaskType {}
// SAFETY: as above.
unsafe impl Sync for TaskType {}

#[inline]
fn task_type() -> &'static TaskType {
    TASK_TYPE.get().expect("the module has been imported")
}

/// The class, as an object.
pub(crate) fn class(_: Python<'_>) -> &'static Object {
    // SAFETY: a type is an object, and this one is kept for ever; attached, as the token says.
    unsafe { Object::from_ptr(task_type().object.cast()) }
}

/// One of our tasks.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Task(Object);

impl Deref for Task {
    type Target = Object;

    #[inline]
    fn deref(&self) -> &Object {
        &self.0
    }
}

// SAFETY: objects of our type, or of a class below it, are as large as that says, and filled by `new`.
unsafe impl Typed for Task {
    #[inline]
    fn is(object: &Object) -> bool {
        // SAFETY: looks at its type.
        unsafe { ffi::PyObject_TypeCheck(object.as_ptr(), task_type().object) != 0 }
    }

    #[inline]
    unsafe fn see(object: &Object) -> &Self {
        // SAFETY: it is laid out as an object.
        unsafe { &*std::ptr::from_ref(object).cast() }
    }
}

// SAFETY: `see` changes the type only.
unsafe impl Whole for Task {}

impl Task {
    /// Our part of it.
    #[inline]
    pub(crate) fn data(&self) -> &TaskData {
        // SAFETY: a task of our type, whose part follows asyncio's, aligned for pointers.
        unsafe { &*self.as_ptr().cast::<u8>().add(OURS.load(Ordering::Relaxed)).cast() }
    }

    /// Whether its methods are ours, too.
    #[inline]
    pub(crate) fn is_exact(&self) -> bool {
        self.class().as_ptr() == task_type().object.cast()
    }

    /// The tree has a reference to it from now on, which the state shows the collector.
    pub(crate) fn hold(&self) {
        if !self.data().held.replace(true) {
            let _ = Owned::share(self).into_ptr();
        }
    }

    /// Takes the tree's reference out, if it has one.
    #[must_use = "what goes may run Python code"]
    pub(crate) fn release(&self) -> Option<Owned> {
        // SAFETY: the reference that `hold` has given away, once.
        self.data().held.take().then(|| unsafe { Owned::from_ptr(self.as_ptr()) })?
    }

    /// Whether the tree has a reference to it.
    pub(crate) fn is_held(&self) -> bool {
        self.data().held.get()
    }
}

/// Whether an object is one of our tasks.
#[inline]
pub(crate) fn is_ours(object: &Object) -> bool {
    Task::is(object)
}

impl TaskData {
    #[inline]
    pub(crate) fn has(&self, flags: u32) -> bool {
        self.flags.get() & flags != 0
    }

    #[inline]
    pub(crate) fn raise_flags(&self, flags: u32) {
        self.flags.set(self.flags.get() | flags);
    }

    #[inline]
    pub(crate) fn lower_flags(&self, flags: u32) {
        self.flags.set(self.flags.get() & !flags);
    }

    #[inline]
    pub(crate) fn change_inbox<R>(&self, change: impl FnOnce(&mut Inbox) -> R) -> R {
        let mut inbox = self.inbox.get();
        let result = change(&mut inbox);
        self.inbox.set(inbox);
        result
    }

    #[inline]
    fn inherited(&self, field: &AtomicIsize) -> &Slot {
        let here = std::ptr::from_ref(self).expose_provenance();
        let there = here.wrapping_add_signed(field.load(Ordering::Relaxed));
        // SAFETY: our part stands in a task, at whose import the field was found there: null or a
        // reference, as a slot has it.
        unsafe { &*std::ptr::with_exposed_provenance::<Slot>(there) }
    }

    /// What it runs.
    #[inline]
    pub(crate) fn coroutine(&self) -> &Slot {
        self.inherited(&COROUTINE)
    }

    /// What its steps run in.
    #[inline]
    pub(crate) fn context(&self) -> &Slot {
        self.inherited(&CONTEXT)
    }

    /// What it is called, once somebody has named it or asked.
    #[inline]
    pub(crate) fn name(&self) -> &Slot {
        self.inherited(&NAME)
    }

    /// The loop's part; absent before `__init__` and after the collector was there.
    #[inline]
    pub(crate) fn state(&self) -> Option<Home> {
        self.home.cloned()
    }

    /// The rare part, made if need be.
    pub(crate) fn with_rare<R>(&self, change: impl FnOnce(&Rare) -> R) -> R {
        let mut rare = self.rare.borrow_mut();
        change(rare.get_or_insert_default())
    }

    /// Where it was made, in debug mode.
    pub(crate) fn source_traceback(&self) -> Option<Owned> {
        self.rare.borrow().as_ref()?.source_traceback.cloned()
    }

    /// Has its next step throw `error`.
    pub(crate) fn set_incoming(&self, error: Owned) {
        // What was there goes once the borrow is over: that may run Python code.
        let before = self.with_rare(|rare| rare.incoming.replace(Some(error)));
        drop(before);
    }

    /// A wait begins for which it may be called back more than once; gives the number of it.
    pub(crate) fn begin_await(&self) -> u64 {
        self.with_rare(|rare| {
            rare.number.set(rare.number.get() + 1);
            rare.number.get()
        })
    }

    /// Whether it still waits as it did when [`begin_await`](Self::begin_await) gave this number.
    pub(crate) fn awaits(&self, number: u64) -> bool {
        self.rare.borrow().as_ref().is_some_and(|rare| rare.number.get() == number)
    }

    /// It takes a step: nothing that was to call it back is waited for any more.
    pub(crate) fn end_await(&self) {
        if let Some(rare) = self.rare.borrow().as_ref() {
            rare.number.set(rare.number.get() + 1);
        }
    }

    /// What its next step is to throw, if anything was put there.
    pub(crate) fn take_incoming(&self) -> Option<Owned> {
        self.rare.borrow().as_ref().and_then(|rare| rare.incoming.take())
    }

    /// Lets go of everything.
    pub(crate) fn clear(&self) {
        // Without a home it has been cleared before, or was never filled.
        let home = self.home.cloned();
        if let (Some(member), Some(state)) = (self.member.take(), home.as_deref()) {
            // It goes without having ended; the tree must not know it any longer. (Children are
            // held by the tree, so they come here only when their whole loop goes.)
            if !self.has(flag::CHILD) {
                let ((), effects) = state.tree.change(|tree, out| tree.withdraw(member, out));
                drop::<Effects<_>>(effects);
            }
        }
        let going = home.as_ref().map(|home| home.trash.begin());
        if let Some(going) = going.as_ref().filter(|going| going.is_deep()) {
            self.put_off(going);
        }
        self.coroutine().clear();
        self.waiting.clear();
        self.context().clear();
        self.outcome.clear();
        self.name().clear();
        self.cancel_message.clear();
        self.registration.clear();
        drop(self.watchers.take());
        drop(self.rare.take());
        drop(going);
        self.home.clear();
    }

    /// What chains go on through is let go of later.
    #[cold]
    fn put_off(&self, going: &Going<'_>) {
        for slot in
            [self.coroutine(), &self.waiting, self.context(), &self.outcome, &self.cancel_message]
        {
            going.put_off(slot.take());
        }
        if let Some(rare) = self.rare.take() {
            going.put_off(rare.incoming.take());
            going.put_off(rare.handler.take());
            going.put_off(rare.exception_traceback.take());
        }
    }
}

/// The number of the last task.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A new task object with nothing in it; `__init__` and [`begin`] fill it.
#[inline(always)]
pub(crate) fn allocate(py: Python<'_>) -> Fallible<Owned<Task>> {
    // SAFETY: attached; the type is ready, and what it makes is a new reference.
    let made = unsafe {
        answered(py, new(task_type().object, std::ptr::null_mut(), std::ptr::null_mut()))?
    };
    made.cast().map_err(|_| unreachable!("it is of that type"))
}

unsafe extern "C" fn new(class: *mut ffi::PyTypeObject, _: Raw, _: Raw) -> Raw {
    // SAFETY: CPython zeroes what it allocates, which is what asyncio's part wants; ours is filled
    // before anybody can see it.
    unsafe {
        let Some(alloc) = (*class).tp_alloc else { return std::ptr::null_mut() };
        let task = alloc(class, 0);
        if !task.is_null() {
            let ours = task.cast::<u8>().add(OURS.load(Ordering::Relaxed)).cast::<TaskData>();
            ours.write(TaskData::default());
            #[cfg(Py_3_14)]
            task.cast::<u8>().add(IS_TASK.load(Ordering::Relaxed)).write(1);
        }
        task
    }
}

/// Fills a new task. It runs in a copy of the current context if it is given none.
#[inline(always)]
pub(crate) fn begin(
    task: &Task,
    state: &LoopState,
    coroutine: Owned,
    context: Option<&Object>,
) -> Fallible<()> {
    let data = task.data();
    let context = match context {
        Some(context) => Owned::share(context),
        None => copy_context(task.py())?,
    };
    data.flags.set(flag::LOG_DESTROY);
    data.inbox.set(Inbox::default());
    data.member.set(None);
    // The GIL serialises this; the atomic only says so to the compiler.
    let number = NUMBER.load(Ordering::Relaxed) + 1;
    NUMBER.store(number, Ordering::Relaxed);
    data.number.set(number);
    data.home.set(state.home());
    data.context().set(context);
    data.coroutine().set(coroutine);
    // Null is an error to a debugger; a small int is always there, immortal, and a number to it.
    #[cfg(Py_3_14)]
    data.name().set(crate::cpython::call::int(task.py(), 0)?);
    Ok(())
}

unsafe extern "C" fn traverse(task: Raw, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector's call; every cell is free, since no borrow is held while Python runs.
    unsafe {
        let mut visitor = Visitor::new(visit, arg);
        let ours = Task::see(Object::from_ptr(task)).data();
        ours.home.traverse(|home| visitor.show(home));
        for slot in [&ours.waiting, &ours.outcome, &ours.cancel_message, &ours.registration] {
            visitor.slot(slot);
        }
        if let Ok(Some(rare)) = ours.rare.try_borrow().as_deref() {
            let Rare { source_traceback, incoming, exception_traceback, handler, number: _ } =
                &**rare;
            for slot in [source_traceback, incoming, exception_traceback, handler] {
                visitor.slot(slot);
            }
        }
        if let Ok(Some(watchers)) = ours.watchers.try_borrow().as_deref() {
            watchers.traverse(&mut visitor);
        }
        match visitor.answer() {
            0 => (task_type().base_traverse)(task, visit, arg),
            answer => answer,
        }
    }
}

unsafe extern "C" fn clear(task: Raw) -> c_int {
    // SAFETY: the collector's call.
    unsafe {
        Task::see(Object::from_ptr(task)).data().clear();
        (task_type().base_clear)(task)
    }
}

unsafe extern "C" fn dealloc(task: Raw) {
    // SAFETY: the last reference is gone. The finaliser may bring the task back to life; if not,
    // our part is emptied and asyncio's own destructor does the rest, type and memory included.
    unsafe {
        let ours = Task::see(Object::from_ptr(task)).data();
        let loud = !ours.has(flag::DONE) || ours.has(flag::LOG_TRACEBACK);
        let exact = ffi::Py_TYPE(task) == task_type().object;
        if exact && loud && ffi::PyObject_CallFinalizerFromDealloc(task) < 0 {
            return;
        }
        // No collection may come upon a task that has no reference left while its parts go.
        let class = ffi::Py_TYPE(task);
        ffi::PyObject_GC_UnTrack(task.cast());
        ours.clear();
        // What asyncio's destructor calls asserts that.
        #[cfg(py_sys_config = "Py_DEBUG")]
        ffi::PyObject_GC_Track(task.cast());
        (task_type().base_dealloc)(task);
        if !task_type().base_frees_type {
            ffi::Py_DECREF(class.cast());
        }
    }
}

/// The slots of the type that its memory is for.
pub(crate) fn slots() -> Slots<Task> {
    // SAFETY: each is what that slot takes, for a task.
    unsafe {
        Slots::new()
            .with(ffi::Py_tp_new, new as *mut c_void)
            .with(ffi::Py_tp_traverse, traverse as *mut c_void)
            .with(ffi::Py_tp_clear, clear as *mut c_void)
            .with(ffi::Py_tp_dealloc, dealloc as *mut c_void)
    }
}

/// Makes the type, with these slots: asyncio's with our part behind it. Once; says whether there is one.
pub(crate) fn create_type(py: Python<'_>, name: &'static CStr, slots: Slots<Task>) -> bool {
    let made = TASK_TYPE.get_or_init(|| {
        let base_object = imports(py).task_type.as_ptr();
        // SAFETY: asyncio's type, which is ready. Every slot is for a task, which is as large as this.
        unsafe {
            let base = &*base_object.cast::<ffi::PyTypeObject>();
            let offset = (base.tp_basicsize as usize).next_multiple_of(align_of::<TaskData>());
            OURS.store(offset, Ordering::Relaxed);
            let flags =
                ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC;
            TaskType {
                object: slots.make(name, offset + size_of::<TaskData>(), flags, base_object),
                base_frees_type: base.tp_flags & ffi::Py_TPFLAGS_HEAPTYPE != 0,
                base_traverse: base.tp_traverse.expect("asyncio's Task is collected"),
                base_clear: base.tp_clear.expect("asyncio's Task is collected"),
                base_dealloc: base.tp_dealloc.expect("every type has a destructor"),
            }
        }
    });
    !made.object.is_null()
}

/// Finds the fields of asyncio's tasks that ours use, in a task of asyncio's whose parts are known.
pub(crate) fn find_inherited(py: Python<'_>) -> PyResult<()> {
    let sample = py.import("aionursery._parts")?.call_method0("sample_task")?;
    let [task, coroutine, context, name, future]: [Bound<'_, PyAny>; 5] = sample.extract()?;
    let ours = OURS.load(Ordering::Relaxed);
    let word = size_of::<Raw>();
    // SAFETY: a task of asyncio's own type, as large as that type says.
    let find = |part: &Bound<'_, PyAny>| unsafe {
        let size = (*ffi::Py_TYPE(task.as_ptr())).tp_basicsize as usize;
        let mut places = (size_of::<ffi::PyObject>()..size - word + 1)
            .step_by(word)
            .filter(|at| *task.as_ptr().cast::<u8>().add(*at).cast::<Raw>() == part.as_ptr());
        match (places.next(), places.next()) {
            (Some(at), None) => Ok(at as isize - ours as isize),
            _ => Err(unknown()),
        }
    };
    COROUTINE.store(find(&coroutine)?, Ordering::Relaxed);
    CONTEXT.store(find(&context)?, Ordering::Relaxed);
    NAME.store(find(&name)?, Ordering::Relaxed);
    #[cfg(Py_3_14)]
    IS_TASK.store(find_is_task(&task, &future)?, Ordering::Relaxed);
    let _ = future;
    Ok(())
}

/// Finds the one byte that is 1 in a new task and 0 in a new future of the same loop.
#[cfg(Py_3_14)]
fn find_is_task(task: &Bound<'_, PyAny>, future: &Bound<'_, PyAny>) -> PyResult<usize> {
    // SAFETY: objects of asyncio's own types, as large as the future's says: a task begins as a
    // future does.
    unsafe {
        let size = (*ffi::Py_TYPE(future.as_ptr())).tp_basicsize as usize;
        let byte = |of: &Bound<'_, PyAny>, at| *of.as_ptr().cast::<u8>().add(at);
        let mut places = (size_of::<ffi::PyObject>()..size)
            .filter(|at| byte(task, *at) == 1 && byte(future, *at) == 0);
        match (places.next(), places.next()) {
            (Some(at), None) => Ok(at),
            _ => Err(unknown()),
        }
    }
}

fn unknown() -> PyErr {
    pyo3::exceptions::PyImportError::new_err(
        "aionursery does not know the tasks of this version of asyncio",
    )
}
