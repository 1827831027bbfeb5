//! Who awaits whom, as `asyncio.capture_call_graph` shows it from 3.14 on: a task awaits the future
//! or task that it is suspended in, and a nursery's host awaits its children. Before 3.14 there is
//! nothing to tell, and all of this is empty.

use super::data::TaskData;
#[cfg(Py_3_14)]
use super::data::flag;
use crate::cpython::object::Raw;
use crate::engine::state::LoopState;

/// `waiter` awaits `awaited` from now on.
#[inline]
pub unsafe fn begin(awaited: Raw, waiter: Raw) {
    #[cfg(Py_3_14)]
    // SAFETY: the caller's objects are alive.
    unsafe {
        tell(crate::cpython::imports::imports().add_awaited_by, awaited, waiter);
    }
    let _ = (awaited, waiter);
}

/// `waiter` awaits `awaited` no longer.
#[inline]
pub unsafe fn end(awaited: Raw, waiter: Raw) {
    #[cfg(Py_3_14)]
    // SAFETY: the caller's objects are alive.
    unsafe {
        tell(crate::cpython::imports::imports().discard_awaited_by, awaited, waiter);
    }
    let _ = (awaited, waiter);
}

/// A child has suspended for the first time: its host awaits it.
#[inline]
pub unsafe fn begin_child(state: &LoopState, child: Raw, ours: &TaskData) {
    #[cfg(Py_3_14)]
    if !ours.has(flag::AWAITED)
        && let Some(host) = host(state, ours)
    {
        ours.raise_flags(flag::AWAITED);
        // SAFETY: attached.
        unsafe { super::name::show_number(ours) };
        // SAFETY: a host is alive while its nursery is.
        unsafe { begin(child, host) };
    }
    let _ = (state, child, ours);
}

/// A child that had suspended has ended.
#[inline]
pub unsafe fn end_child(state: &LoopState, child: Raw, ours: &TaskData) {
    #[cfg(Py_3_14)]
    if ours.has(flag::AWAITED)
        && let Some(host) = host(state, ours)
    {
        // SAFETY: as above.
        unsafe { end(child, host) };
    }
    let _ = (state, child, ours);
}

#[cfg(Py_3_14)]
fn host(state: &LoopState, ours: &TaskData) -> Option<Raw> {
    let member = ours.member.get()?;
    state.tree.borrow().host_of(member).map(|key| key.0)
}

#[cfg(Py_3_14)]
unsafe fn tell(function: Raw, awaited: Raw, waiter: Raw) {
    // SAFETY: the caller's objects are alive; the graph is for people, so a failure is let go.
    unsafe {
        let told =
            crate::cpython::object::call(function, &mut [std::ptr::null_mut(), awaited, waiter]);
        if let Err(raised) = told {
            raised.forget();
        }
    }
}
