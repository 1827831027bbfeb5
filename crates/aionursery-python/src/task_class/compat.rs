//! What other libraries reach for in a task: the attributes that asyncio's own tasks happen to
//! have. It shows what there is and must never be needed by our own code.

use crate::cpython::call::truth;
use crate::cpython::called::property;
use crate::cpython::containers::{list, tuple};
use crate::cpython::errors::{Fallible, exc, set_error, string};
use crate::cpython::function::Property;
use crate::cpython::object::{Object, boolean_ref, none_ref};
use crate::cpython::owned::{Owned, boolean, none};
use crate::step::future;
use crate::task::{Task, Waiter, flag};
use crate::task_class::methods::event_loop;

fn has(task: &Task, bit: u32) -> Fallible<Owned> {
    Ok(boolean(task.py(), task.data().has(bit)))
}

fn or_none(task: &Task, object: Option<Owned>) -> Fallible<Owned> {
    Ok(object.unwrap_or_else(|| none(task.py())))
}

fn state(task: &Task) -> Fallible<Owned> {
    let ours = task.data();
    let text = match () {
        () if !ours.has(flag::DONE) => "PENDING",
        () if ours.has(flag::CANCELLED) => "CANCELLED",
        () => "FINISHED",
    };
    string(task.py(), text)
}

fn set_flag(task: &Task, value: Option<&Object>, bit: u32) -> Fallible<()> {
    let Some(value) = value else {
        return Err(set_error(exc::attribute_error(task.py()), c"cannot delete attribute"));
    };
    if truth(value)? {
        task.data().raise_flags(bit);
    } else {
        task.data().lower_flags(bit);
    }
    Ok(())
}

fn get_loop(task: &Task) -> Fallible<Owned> {
    if task.data().home.is_some() { event_loop(task) } else { Ok(none(task.py())) }
}

/// The list is copied before anything is allocated.
fn callbacks(task: &Task) -> Fallible<Owned> {
    let py = task.py();
    let waiters = task.data().waiters.borrow().all().to_vec();
    if waiters.is_empty() {
        return Ok(none(py));
    }
    let pairs = waiters
        .iter()
        .map(|waiter| match waiter {
            Waiter::Callback(function, context) => tuple(py, &[function, context]),
            Waiter::Task(waiting) => {
                let context = waiting.data().context().cloned();
                let wakeup = future::bound_wakeup(waiting)?;
                tuple(py, &[&wakeup, context.as_deref().unwrap_or_else(|| none_ref(py))])
            }
        })
        .collect::<Fallible<Vec<Owned>>>()?;
    list(py, pairs.iter().map(|pair| &**pair))
}

fn result(task: &Task) -> Fallible<Owned> {
    let ours = task.data();
    let has = ours.has(flag::DONE) && !ours.has(flag::FAILED | flag::CANCELLED);
    or_none(task, if has { ours.outcome.cloned() } else { None })
}

fn exception(task: &Task) -> Fallible<Owned> {
    let ours = task.data();
    or_none(task, if ours.has(flag::FAILED) { ours.outcome.cloned() } else { None })
}

fn set_log_traceback(task: &Task, value: Option<&Object>) -> Fallible<()> {
    if let Some(value) = value
        && truth(value)?
    {
        let text = c"_log_traceback can only be set to False";
        return Err(set_error(exc::value_error(task.py()), text));
    }
    set_flag(task, value.map(|_| boolean_ref(task.py(), false)), flag::LOG_TRACEBACK)
}

fn must_cancel(task: &Task) -> Fallible<Owned> {
    let ours = task.data();
    let pending = match (ours.member.get(), ours.state()) {
        (Some(member), Some(state)) => state.tree.borrow().is_pending(member),
        _ => false,
    };
    Ok(boolean(task.py(), ours.inbox.get().requests.is_waiting() || pending))
}

fn set_cancel_message(task: &Task, value: Option<&Object>) -> Fallible<()> {
    drop(task.data().cancel_message.replace(value.map(Owned::share)));
    Ok(())
}

pub(super) static TABLE: [Property<Task>; 14] = [
    property!(Task, c"_state", state),
    property!(
        Task,
        c"_asyncio_future_blocking",
        |task: &Task| has(task, flag::BLOCKING),
        |task: &Task, value: Option<&Object>| set_flag(task, value, flag::BLOCKING)
    ),
    property!(Task, c"_loop", get_loop),
    property!(Task, c"_callbacks", callbacks),
    property!(Task, c"_result", result),
    property!(Task, c"_exception", exception),
    property!(
        Task,
        c"_log_traceback",
        |task: &Task| has(task, flag::LOG_TRACEBACK),
        set_log_traceback
    ),
    property!(
        Task,
        c"_log_destroy_pending",
        |task: &Task| has(task, flag::LOG_DESTROY),
        |task: &Task, value: Option<&Object>| set_flag(task, value, flag::LOG_DESTROY)
    ),
    property!(Task, c"_must_cancel", must_cancel),
    property!(
        Task,
        c"_cancel_message",
        |task: &Task| or_none(task, task.data().cancel_message.cloned()),
        set_cancel_message
    ),
    property!(Task, c"_coro", |task: &Task| or_none(task, task.data().coroutine().cloned())),
    property!(Task, c"_fut_waiter", |task: &Task| or_none(task, task.data().waiting.cloned())),
    property!(Task, c"_source_traceback", |task: &Task| {
        or_none(task, task.data().source_traceback())
    }),
    Property::end(),
];
