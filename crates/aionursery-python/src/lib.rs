//! `aionursery._aionursery`: the Python face. What each part owns is said in its first lines; the
//! rules of lifecycle, errors and cancellation are in `nursery-core`. What is decided here all the same,
//! because it has to look at objects of Python's, `docs/internals.md` lists by name.
//!
//! Three conventions keep it sound. No borrow of anything is held while Python code can run.
//! Every reference is visible to the garbage collector. And since the module declares that it
//! needs the GIL, cells are enough: nothing here runs in two threads at once.

// Raw pointers stay in `cpython`, where CPython is called and calls, and in the memory of a task. The few
// places elsewhere say why at each.
#![warn(unreachable_pub)]
#![deny(unsafe_code)]

mod anyio;
mod channel;
mod cpython;
mod drain;
mod engine;
mod hosts;
mod loop_class;
mod nursery;
mod scope;
mod sleep;
mod step;
mod task;
mod task_class;
mod wait;

use pyo3::prelude::*;

/// The extension module.
#[pymodule(gil_used = true)]
fn _aionursery(module: &Bound<'_, PyModule>) -> PyResult<()> {
    cpython::imports::load(module.py())?;
    cpython::shutdown::prepare();
    cpython::errors::keep_exits_by(engine::report::keep_exit);
    // PyO3 makes a class when it is first needed, and panics if memory is short then.
    module.py().get_type::<engine::link::Link>();
    module.py().get_type::<step::wakeup::Wakeup>();
    engine::hooks::install(engine::hooks::Hooks {
        deliver: hosts::deliver,
        discard: nursery::discard,
        step: step::step_from_loop,
        step_alone: step::step_alone,
        drain: &drain::DRAIN,
        fire: &drain::FIRE,
    });
    task_class::add_to(module)?;
    task_class::add_iterator_to(module)?;
    task_class::add_functions(module)?;
    task::registry::set_up(module.py())?;
    wait::add_to(module)?;
    scope::add_to(module)?;
    scope::add_functions(module)?;
    scope::add_watching(module)?;
    scope::strict::add_to(module)?;
    sleep::add_to(module)?;
    channel::add_to(module)?;
    anyio::add_to(module)?;
    loop_class::add_to(module)?;
    nursery::add_to(module)?;
    nursery::start::add_to(module)?;
    nursery::position::add_to(module)?;
    nursery::handover::add_to(module)?;
    nursery::taskgroup::add_to(module)?;
    nursery::shields::add_to(module)?;
    nursery::strict::add_to(module)
}
