//! Which task awaits which, as `asyncio.capture_call_graph` shows it from 3.14 on: a task awaits the future
//! or task that it is suspended in, and a nursery's host awaits its children. Before 3.14 there is
//! nothing to tell, and all of this is empty. It must never fail a step.

use super::data::Task;
#[cfg(Py_3_14)]
use super::flag;
use crate::cpython::object::Object;
#[cfg(Py_3_14)]
use crate::cpython::{
    direct::DirectWith, errors::optional, imports::imports, owned::Owned, slot::Slot,
};
use crate::engine::state::LoopState;

/// `waiter` awaits `awaited` from now on.
#[inline]
pub(crate) fn begin(awaited: &Object, waiter: &Object) {
    #[cfg(Py_3_14)]
    match place(awaited, waiter) {
        Some(place) if place.is_empty() => place.set(Owned::share(waiter)),
        _ => tell(&imports(waiter.py()).add_awaited_by, awaited, waiter),
    }
    let _ = (awaited, waiter);
}

/// `waiter` awaits `awaited` no longer.
#[inline]
pub(crate) fn end(awaited: &Object, waiter: &Object) {
    #[cfg(Py_3_14)]
    match place(awaited, waiter) {
        Some(place) if place.holds(waiter) => place.clear(),
        _ => tell(&imports(waiter.py()).discard_awaited_by, awaited, waiter),
    }
    let _ = (awaited, waiter);
}

/// A child has suspended for the first time: its host awaits it.
#[inline]
pub(crate) fn begin_child(state: &LoopState, child: &Task) {
    #[cfg(Py_3_14)]
    if !child.data().has(flag::AWAITED)
        && let Some(host) = host(state, child)
    {
        child.data().raise_flags(flag::AWAITED);
        super::name::show_number(child);
        begin(child, &host);
    }
    let _ = (state, child);
}

/// A child that had suspended has ended.
#[inline]
pub(crate) fn end_child(state: &LoopState, child: &Task) {
    #[cfg(Py_3_14)]
    if child.data().has(flag::AWAITED)
        && let Some(host) = host(state, child)
    {
        end(child, &host);
    }
    let _ = (state, child);
}

#[cfg(Py_3_14)]
fn host(state: &LoopState, child: &Task) -> Option<Owned> {
    let member = child.data().member.get()?;
    state.tree.borrow().host_of(member).map(|key| key.share(state.py()))
}

/// Where a task of ours has the one task of ours that awaits it: asyncio keeps one as it is, and more in
/// a set, of which only its own functions know.
#[cfg(Py_3_14)]
#[inline]
fn place<'a>(awaited: &'a Object, waiter: &Object) -> Option<&'a Slot> {
    waiter.cast::<Task>()?;
    awaited.cast::<Task>()?.data().awaited_by()
}

/// The graph is for people, so a failure is let go.
#[cfg(Py_3_14)]
fn tell(function: &DirectWith, awaited: &Object, waiter: &Object) {
    drop(optional(function.call([awaited, waiter])));
}
