//! How a nursery is joined: its host waits for body and children, and a cancellation that comes meanwhile
//! goes on to them. It must never decide what an end or a cancellation means for others: the tree does.

use nursery_core::{NurseryId, Outcome, Phase, Role};
use pyo3::prelude::*;

use super::Nursery;
use super::abandoned::{close_by_force, finish_now, part_from_host};
use super::leave::finish_join;
use super::leaver::{Leaver, check_stands};
use super::notes::{HELD, JOINER, THROWN, leave_tree, note, nursery, payload};
use crate::cpython::args::given;
use crate::cpython::call::{method1, type_name};
use crate::cpython::called::method;
use crate::cpython::errors::{
    Aside, Fallible, Raised, exc, is_of, misuse, optional, raise, string,
};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::{current_task, imports};
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::cpython::raised;
use crate::cpython::thread::thread_mark;
use crate::engine::report::beside_exit;
use crate::engine::state::{Failure, Key, LoopState};
use crate::hosts::foreign;
use crate::task;
use crate::wait::{self, Ops, Wait, WaitObject, WaitPhase};

/// How the body has ended.
fn body_outcome(exception: Option<&Object>, leaver: &Leaver) -> Outcome<Failure> {
    let Some(exception) = given(exception) else {
        return Outcome::Done;
    };
    let role = match leaver {
        Leaver::Stranger(..) => Role::Misplaced,
        _ => Role::Body,
    };
    let failure = Failure::unnamed(Owned::share(exception));
    Outcome::raised(raised::kind_of_end(exception), role, failure).0
}

const fn ops(takes_last: bool) -> Ops {
    Ops { begin, again: check_leaver, finish: finish_join, throw, abandon, cancelled, takes_last }
}

static OPS: Ops = ops(false);
/// anyio's groups are left with the last cancellation, asyncio's with the first.
static STRICT_OPS: Ops = ops(true);

/// A nursery's join. `exception` is what the body has ended with, if anything.
pub(super) fn create(nursery: &This<'_, Nursery>, exception: Option<Owned>) -> Fallible<Owned> {
    let ops = if nursery.strict { &STRICT_OPS } else { &OPS };
    let join = wait::create_join(nursery.py(), ops, Owned::share(nursery.object()))?;
    drop(join.value().replace(exception));
    Ok(join.into_object())
}

/// A join that has begun is awaited again: its own task may do that, any other would wait where no
/// cancellation reaches it.
fn check_leaver(join: &WaitObject) -> Fallible<()> {
    let nursery = nursery(join)?;
    let Some((home, _)) = nursery.place() else {
        return Ok(());
    };
    if current_task(&home.event_loop())?.address() == nursery.leaver.get() {
        return Ok(());
    }
    let text = "this nursery's __aexit__ is being awaited already, by the task that leaves it";
    Err(misuse(join.py(), text))
}

/// As [`begin_join`]; where that raises, an exception that ends the program goes on.
fn begin(join: &WaitObject) -> Fallible<bool> {
    begin_join(join).or_else(|raised| {
        let exception = join.value().cloned();
        beside_exit(exception.as_deref(), raised)?;
        Err(raise(exception.unwrap_or_else(|| none(join.py()))))
    })
}

/// The body has ended and the host begins to join. Returns whether there is nothing to wait for.
fn begin_join(join: &WaitObject) -> Fallible<bool> {
    let py = join.py();
    let nursery = nursery(join)?;
    let this = &*nursery;
    let Some((home, id)) = this.place() else {
        return Err(misuse(py, "this nursery is left without having been entered"));
    };
    let state = &*home;
    check_once(py, this)?;
    join.attach_to(state);
    let exception = join.value().cloned();
    let closes = exception.as_deref().is_some_and(|it| is_of(it, exc::generator_exit(py)));
    // The clock may be the program's code, so it is read before the checks.
    let timed = exception.is_some() || state.tree.borrow().has_services(id);
    let now = if timed { state.now_or_zero() } else { 0.0 };
    let leaver = this.leaver(state, id, closes).inspect_err(|_| this.left.set(false))?;
    let outcome = body_outcome(exception.as_deref(), &leaver);
    part(this, state, id, &leaver, exception.as_deref(), &outcome)?;
    check_stands(state, id)?;
    let words = outcome.error().and_then(|Failure { error, .. }| {
        let text = format!("the nursery's body failed: {}", type_name(error));
        optional(string(py, &text))
    });
    let closed = state.change(|tree, out| tree.body_ended(id, outcome, now, words, out));
    if closes && !closed && finish_now(state, id) {
        return Ok(true);
    }
    // What has heard of that may have left the nursery, ended its last child, or left the tree itself.
    check_stands(state, id)?;
    let closed = state.tree.borrow().phase(id) == Phase::Closed;
    let may_wait = !closes && matches!(leaver, Leaver::Host(_) | Leaver::Successor(_));
    if closed && !(may_wait && state.called.is_due(id)) {
        return Ok(true);
    }
    let (key, successor) = (Key::of(join.object()), leaver.successor(state));
    state.tree.touch(|tree| tree.set_joiner(id, Some(key), successor));
    note(join, JOINER);
    if let Leaver::Host(host) = leaver
        && !task::is_ours(&host)
    {
        foreign::set_joining(state, &host, true);
    }
    if closed {
        let asked = call_back(join, state);
        // The loop may be the program's code.
        check_stands(state, id)?;
        return Ok(!asked);
    }
    Ok(false)
}

/// The loop is asked for a call, behind those that it has yet to make for children. Returns `false` if it refuses.
#[cold]
fn call_back(join: &WaitObject, state: &LoopState) -> bool {
    let soon = imports(join.py()).names.call_soon;
    let asked =
        CALLED.bind(&Owned::share(join)).and_then(|end| method1(&state.event_loop(), soon, &end));
    asked.map(drop).map_err(|raised| state.forget(raised)).is_ok()
}

/// What the loop calls once it has called what children that have ended had it call.
static CALLED: Method<WaitObject> = method!(no_args WaitObject, c"called", called);

fn called(join: &WaitObject) -> Fallible<Owned> {
    if let Some(nursery) = payload(join)
        && let Some((home, id)) = nursery.place()
    {
        let _outside = home.ready.outside_batch();
        home.thread.set(thread_mark());
        wait::wake_joiner(&home, id);
    }
    Ok(none(join.py()))
}

/// A nursery is left once, in the thread that has entered it.
fn check_once(py: Python<'_>, nursery: &Nursery) -> Fallible<()> {
    if !nursery.is_here() {
        return Err(misuse(
            py,
            "this nursery is left in another thread than entered it; enter and leave a \
             nursery in one task",
        ));
    }
    if nursery.left.replace(true) {
        return Err(misuse(
            py,
            "this nursery is already being left: its __aexit__ was called before",
        ));
    }
    Ok(())
}

/// Parts a nursery from its host where that does not leave it as it must.
#[inline(always)]
fn part(
    nursery: &Nursery,
    state: &LoopState,
    id: NurseryId,
    leaver: &Leaver,
    exception: Option<&Object>,
    outcome: &Outcome<Failure>,
) -> Fallible<()> {
    match leaver {
        Leaver::Force => {
            close_by_force(nursery, state, id);
            Err(raise(exception.map_or_else(|| none(state.py()), Owned::share)))
        }
        // The nursery that has joined it says that it was not left; the body's error goes on.
        Leaver::Stranger(..)
            if matches!(outcome, Outcome::Failed(_) | Outcome::Bare(_))
                && state.tree.borrow().is_adopted(id) =>
        {
            Ok(())
        }
        Leaver::Stranger(how, _) => nursery.disown(state, id, *how),
        Leaver::Successor(_) => {
            let now = state.now_or_zero();
            part_from_host(state, id, |tree, out| tree.disown(id, now, out)).1
        }
        Leaver::Host(_) => {
            if exception.is_some_and(|exception| !raised::is_group(exception)) {
                state.tree.touch(|tree| tree.error_was_replaced(tree.scope(id)));
            }
            Ok(())
        }
    }
}

/// The host was cancelled from outside while it joins (R15).
fn tell_of_cancellation(state: &LoopState, nursery: &Nursery, reason: Option<Owned>) {
    // The clock may be the program's code, and leave the nursery.
    let now = state.now_or_zero();
    let Some(id) = nursery.id.get() else {
        return;
    };
    state.change(|tree, out| tree.host_cancelled(id, reason, now, out));
}

/// The host was cancelled from outside while it joins (R15).
fn cancelled(state: &LoopState, join: &WaitObject) {
    note(join, HELD);
    if let Some(nursery) = payload(join) {
        let message = match join.task().cloned() {
            None => join.message(),
            Some(host) => host.data().cancel_message.cloned(),
        };
        tell_of_cancellation(state, &nursery, message);
    }
}

/// A cancellation of the host goes on to the children and waits for the end of the join (R15);
/// the coroutine's own end cannot wait.
fn throw(join: &WaitObject, raised: Raised) -> Fallible<Owned> {
    let py = join.py();
    let is_cancel = raised.is(imports(py).cancelled_error);
    if !is_cancel || matches!(join.phase().get(), WaitPhase::New | WaitPhase::Taken) {
        let _aside = Aside::new(py);
        if join.phase().get() == WaitPhase::Waiting {
            wait::interrupt(join, WaitPhase::Taken);
        }
        join.phase().set(WaitPhase::Taken);
        join.task().clear();
        abandon(py, join);
        return Err(raised);
    }
    let cancelled = raised.take();
    note(join, HELD | THROWN);
    if join.phase().get() == WaitPhase::Waiting {
        if let (Some(nursery), Some(state)) = (payload(join), join.state()) {
            drop(join.value().replace(Some(cancelled)));
            tell_of_cancellation(&state, &nursery, None);
        }
    } else {
        drop(join.value().replace(Some(cancelled)));
    }
    wait::go_on(join)
}

/// The host's coroutine is thrown out of its join: it must not await any more. A nursery that another
/// join leaves is left alone.
fn abandon(py: Python<'_>, join: &Wait) {
    let _aside = Aside::new(py);
    if let Some(nursery) = payload(join)
        && let Some((state, id)) = nursery.place()
        && (leave_tree(join, &state, id) || !nursery.left.get())
    {
        close_by_force(&nursery, &state, id);
    }
}
