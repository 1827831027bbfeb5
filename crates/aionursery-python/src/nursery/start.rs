//! How a child starts: `start_soon` and `start_now`. The hottest way into the extension, so these two
//! are plain C methods added to `Nursery`'s type. It must never run a child before `start_soon`
//! returns (R4).

use nursery_core::Phase;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cpython::args::given;
use crate::cpython::errors::fetch;
use crate::cpython::errors::misuse;
use crate::cpython::function::Method;
use crate::cpython::guard::guard;
use crate::cpython::imports::{imports, running_loop};
use crate::cpython::object::{
    Fallible, Owned, Raised, Raw, checked, set_error, set_error_text, truth, utf8,
};
use crate::engine::home::Home;
use crate::engine::ready;
use crate::engine::state::{Key, LoopState};
use crate::nursery::Nursery;
use crate::nursery::target::{Target, refuse};
use crate::step;
use crate::task::{self, flag};

/// How a child is to be started; borrowed, null for what was not given.
pub struct Order {
    pub name: Raw,
    pub context: Raw,
    pub shield: bool,
    pub at_once: bool,
}

impl Nursery {
    /// Sees to it that children may be started here and now.
    #[inline]
    pub unsafe fn admit(&self) -> Fallible<(Home, nursery_core::NurseryId)> {
        // SAFETY: attached.
        unsafe {
            if let Some((state, id)) = self.place() {
                if self.is_here() {
                    // In a step of ours, or with something queued in this turn, the loop runs: it was
                    // looked at then.
                    if !state.running.get().is_null() || state.ready.is_open() {
                        return Ok((state, id));
                    }
                    if running_loop()?.as_ptr() == state.event_loop.get() {
                        return Ok((state, id));
                    }
                }
                return Err(misuse(
                    "start_soon() was called from another thread or another event loop than the \
                 nursery's; use loop.call_soon_threadsafe(nursery.start_soon, fn, ...), or \
                 asyncio.run_coroutine_threadsafe",
                ));
            }
            if self.is_over() {
                return Err(closed(
                    "this nursery is closed: its block has ended, and no child can be started in it \
                 any more",
                ));
            }
            Err(misuse(
                "this nursery has not been entered; write 'async with Nursery() as nursery:' and start \
             children inside the block",
            ))
        }
    }
}

#[cold]
unsafe fn closed(text: &str) -> Raised {
    // SAFETY: attached.
    unsafe { set_error_text(imports().parts.closed, text) }
}

/// Starts a child; a target that is refused is closed.
#[inline]
pub unsafe fn begin(
    nursery: &Nursery,
    target: Raw,
    args: &[Raw],
    order: &Order,
) -> Fallible<Owned> {
    // SAFETY: attached; the caller's objects are alive.
    unsafe {
        let (state, id) = match nursery.admit() {
            Ok(place) => place,
            Err(raised) => {
                refuse(target);
                return Err(raised);
            }
        };
        let found = Target::of(&state, target, args)?;
        let coroutine = found.coroutine.clone();
        // Finding the target may have run the program's code, and naming the child does.
        let task = begin_child(nursery, &state, id, found, order);
        if task.is_err() {
            refuse(coroutine.as_ptr());
        }
        task
    }
}

#[inline]
unsafe fn begin_child(
    nursery: &Nursery,
    state: &LoopState,
    id: nursery_core::NurseryId,
    target: Target,
    order: &Order,
) -> Fallible<Owned> {
    // SAFETY: attached; the caller's objects are alive.
    unsafe {
        let task = task::allocate()?;
        task::begin(task.as_ptr(), state, target.coroutine, order.context)?;
        let ours = task::data(task.as_ptr());
        ours.flags.set(0);
        if !order.name.is_null() {
            task::set_name(task.as_ptr(), order.name)?;
        }
        if state.debug.get() {
            step::trace_source(ours)?;
        }
        if nursery.is_over() || state.tree.borrow().phase(id) == Phase::Closed {
            return Err(closed("this nursery has closed meanwhile; no child can be started in it"));
        }
        let shield = target.shield || order.shield;
        let started = state.tree.touch(|tree| tree.start(id, Key(task.as_ptr()), shield));
        let Ok(start) = started else {
            return Err(closed("this nursery has closed meanwhile; no child can be started in it"));
        };
        // The tree's reference.
        let _ = task.clone().into_ptr();
        ours.raise_flags(flag::CHILD | flag::LOG_DESTROY);
        task::register_child(task.as_ptr());
        ours.member.set(Some(start.member));
        if start.charges > 0 {
            task::charge(task.as_ptr(), start.charges);
            ours.change_inbox(nursery_core::Inbox::tell);
        }
        let begun = if order.at_once {
            step::start_eagerly(state, task.as_ptr())
        } else {
            ours.raise_flags(flag::SCHEDULED);
            ready::push(state, task.clone())
        };
        if let Err(raised) = begun {
            step::give_up(state, task.as_ptr());
            return Err(raised);
        }
        Ok(task)
    }
}

/// Starts a child of a nursery with a limit: the Python part gives it a place, or has it wait.
#[cold]
unsafe fn begin_in_place(
    this: &Bound<'_, PyAny>,
    target: Raw,
    args: &[Raw],
    order: &Order,
) -> Fallible<Owned> {
    // SAFETY: attached; the caller's objects are alive.
    unsafe {
        let nursery = this.cast_unchecked::<Nursery>().get();
        if let Err(raised) = nursery.admit() {
            refuse(target);
            return Err(raised);
        }
        let nothing = ffi::Py_None();
        let given = |argument: Raw| if argument.is_null() { nothing } else { argument };
        let truth = |flag: bool| if flag { ffi::Py_True() } else { ffi::Py_False() };
        let rest = Owned::new(ffi::PyTuple_New(args.len() as ffi::Py_ssize_t))?;
        for (index, arg) in args.iter().enumerate() {
            let arg = Owned::share(*arg).into_ptr();
            checked(ffi::PyTuple_SetItem(rest.as_ptr(), index as ffi::Py_ssize_t, arg))?;
        }
        let all = [
            this.as_ptr(),
            nursery.gate(),
            target,
            rest.as_ptr(),
            given(order.name),
            given(order.context),
            truth(order.shield),
            truth(order.at_once),
        ];
        let function = imports().parts.start_in_place;
        let nothing = std::ptr::null_mut();
        Owned::new(ffi::PyObject_Vectorcall(function, all.as_ptr(), all.len(), nothing))
    }
}

/// Start a child without asking for a place: for the part that has just given it one.
#[pyfunction]
#[pyo3(signature = (nursery, target, args, name, context, shield, at_once))]
fn start_child<'py>(
    nursery: &Bound<'py, Nursery>,
    target: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    name: Option<Bound<'py, PyAny>>,
    context: Option<Bound<'py, PyAny>>,
    shield: bool,
    at_once: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let raw = |object: &Option<Bound<'_, PyAny>>| {
        object.as_ref().map_or(std::ptr::null_mut(), |object| object.as_ptr())
    };
    let order = Order { name: raw(&name), context: raw(&context), shield, at_once };
    let args: Vec<Raw> = args.iter_borrowed().map(|arg| arg.as_ptr()).collect();
    // SAFETY: attached; the arguments outlive the call.
    let task = unsafe { begin(nursery.get(), target.as_ptr(), &args, &order) };
    let task = task.map_err(|raised| fetch(nursery.py(), raised))?;
    // SAFETY: a reference of ours is given away.
    Ok(unsafe { Bound::from_owned_ptr(nursery.py(), task.into_ptr()) })
}

/// What counts a nursery's places; None where it has no limit.
#[pyfunction]
fn gate_of<'py>(nursery: &Bound<'py, Nursery>) -> Option<Bound<'py, PyAny>> {
    let gate = nursery.get().gate();
    // SAFETY: the nursery keeps it.
    (!gate.is_null()).then(|| unsafe { Bound::from_borrowed_ptr(nursery.py(), gate) })
}

/// Close what a refused child would have run, so that Python does not warn of it (R2).
#[pyfunction]
fn refuse_child(target: &Bound<'_, PyAny>) {
    // SAFETY: attached; the caller's object is alive.
    unsafe { refuse(target.as_ptr()) }
}

unsafe fn parse(
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
    at_once: bool,
) -> Fallible<Order> {
    // SAFETY: CPython's vector of arguments.
    unsafe {
        let function = if at_once { "start_now" } else { "start_soon" };
        if count < 1 {
            let text = format!(
                "{function}() needs a coroutine, an awaitable, or an async function and its \
                 arguments"
            );
            return Err(set_error_text(ffi::PyExc_TypeError, &text));
        }
        let mut order = Order {
            name: std::ptr::null_mut(),
            context: std::ptr::null_mut(),
            shield: false,
            at_once,
        };
        if kwnames.is_null() {
            return Ok(order);
        }
        for index in 0..ffi::PyTuple_GET_SIZE(kwnames) {
            let value = *args.offset(count + index);
            match utf8(ffi::PyTuple_GET_ITEM(kwnames, index)).unwrap_or_default() {
                "name" => order.name = given(value).unwrap_or(std::ptr::null_mut()),
                "context" => {
                    order.context = given(value).unwrap_or(std::ptr::null_mut());
                    if !order.context.is_null() && ffi::PyContext_CheckExact(order.context) == 0 {
                        let text = c"context must be a contextvars.Context or None";
                        return Err(set_error(ffi::PyExc_TypeError, text));
                    }
                }
                "shield" => order.shield = truth(&Owned::share(value))?,
                other => {
                    let text = format!(
                        "{function}() got an unexpected keyword argument '{other}'; arguments of \
                         the child itself are passed by position, or with functools.partial"
                    );
                    return Err(set_error_text(ffi::PyExc_TypeError, &text));
                }
            }
        }
        Ok(order)
    }
}

#[inline]
unsafe fn start(
    this: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
    at_once: bool,
) -> Raw {
    // SAFETY: CPython calls a method of a nursery with a vector of arguments.
    unsafe {
        guard(std::ptr::null_mut(), |py| {
            let this = Bound::from_borrowed_ptr(py, this);
            let nursery = this.cast_unchecked::<Nursery>().get();
            let task = match parse(args, count, kwnames, at_once) {
                Ok(order) => {
                    let args = std::slice::from_raw_parts(args, count as usize);
                    if nursery.gate().is_null() {
                        begin(nursery, args[0], &args[1..], &order)
                    } else {
                        begin_in_place(&this, args[0], &args[1..], &order)
                    }
                }
                Err(raised) => {
                    if count > 0 {
                        refuse(*args);
                    }
                    Err(raised)
                }
            };
            task.map_or(std::ptr::null_mut(), Owned::into_ptr)
        })
    }
}

unsafe extern "C" fn start_soon(
    this: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as CPython calls it.
    unsafe { start(this, args, count, kwnames, false) }
}

unsafe extern "C" fn start_now(
    this: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as CPython calls it.
    unsafe { start(this, args, count, kwnames, true) }
}

static START_SOON: Method = Method::fast(c"start_soon", start_soon).documented(
    c"start_soon($self, target, /, *args, name=None, context=None, shield=False)\n--\n\nStart a child and return its task; its first step runs after this returns.\n\ntarget is a coroutine, any awaitable, or an async function that is called with args.\nWith shield=True, cancellation from outside does not reach the child; the nursery still\nwaits for it. Raises NurseryClosed once the block has ended.",
);

static START_NOW: Method = Method::fast(c"start_now", start_now).documented(
    c"start_now($self, target, /, *args, name=None, context=None, shield=False)\n--\n\nAs start_soon, but the child's first step runs before this returns.",
);

/// Adds the two methods to `Nursery`.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    START_SOON.add_to_class::<Nursery>(module.py())?;
    START_NOW.add_to_class::<Nursery>(module.py())?;
    module.add_function(wrap_pyfunction!(start_child, module)?)?;
    module.add_function(wrap_pyfunction!(gate_of, module)?)?;
    module.add_function(wrap_pyfunction!(refuse_child, module)?)
}
