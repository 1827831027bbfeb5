//! `TaskGroup.create_task` as nearly every program calls it: a coroutine, perhaps a name or a context.
//! What is anything else goes to the class's own Python part, which knows what asyncio says to it.
//! It must never decide what that part decides.

use pyo3::prelude::*;

use crate::cpython::args::{Args, given};
use crate::cpython::call::{is_context, is_coroutine};
use crate::cpython::called::method;
use crate::cpython::errors::{Fallible, optional};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::{current_task, names, running_loop};
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::state::LoopState;
use crate::nursery::Nursery;
use crate::nursery::start::{self, Order};
use crate::task::Task;
use crate::task_class;

/// What a usual call asks for, with the coroutine; None for any other.
fn usual<'a>(args: &Args<'a>) -> Option<(&'a Object, Order<'a>)> {
    let [coroutine] = *args.positional() else { return None };
    if !is_coroutine(coroutine) {
        return None;
    }
    let mut order = Order::default();
    for (keyword, value) in args.keywords() {
        let names = names(keyword.py());
        let value = given(Some(value));
        if keyword.is(names.name) {
            order.name = value;
        } else if keyword.is(names.context) && value.is_none_or(is_context) {
            order.context = value;
        } else {
            return None;
        }
    }
    Some((coroutine, order))
}

/// Whether the loop's tasks take their first step in its next turn, as far as can be told here.
fn is_lazy(state: &LoopState) -> Fallible<bool> {
    let factory = state.task_factory()?;
    Ok(factory.is_none() || task_class::is_lazy(&factory))
}

fn create_task(this: &This<'_, Nursery>, args: Args<'_>) -> Fallible<Owned> {
    if let Some((coroutine, order)) = usual(&args)
        && this.is_accepting()
        && let Some((state, _)) = this.place()
        && is_lazy(&state)?
    {
        return start::begin(this.py(), this, coroutine, &[], &order).map(Owned::into_object);
    }
    args.call_method(this.object(), names(this.py()).create_any_task)
}

static CREATE_TASK: Method<Nursery> = method!(fast Nursery, c"create_task", create_task).documented(
    c"create_task($self, coro, *, name=None, context=None, eager_start=None, **_)\n--\n\nStart a child and return its task.\n\nRaises RuntimeError before the group is entered, once it has finished and while it shuts down.",
);

/// Whether the task that runs goes on with what it has got, to be cancelled at its next await (R12a).
#[pyfunction]
fn is_to_hear(py: Python<'_>) -> bool {
    let task = optional(running_loop(py).and_then(|event_loop| current_task(&event_loop)));
    let Some(task) = task.as_deref().and_then(Object::cast::<Task>) else { return false };
    let place = (task.data().state(), task.data().member.get());
    let (Some(state), Some(member)) = place else { return false };
    let tree = state.tree.borrow();
    tree.is_pending(member) && !tree.is_abrupt(member)
}

/// Adds the method to the module, for the class to take, and what the rest of the class asks.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(is_to_hear, module)?)?;
    CREATE_TASK.add_for_class(module)
}
