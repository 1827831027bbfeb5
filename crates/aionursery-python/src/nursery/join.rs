//! How a nursery is left: its host joins body and children, and raises what the tree decides. It
//! must never decide anything itself.

use nursery_core::{
    Cause, Close, Effects, MemberId, NurseryId, Outcome, Phase, Role, Source, Tree, Verdict,
};
use pyo3::prelude::*;

use super::Nursery;
use super::abandoned::{close_by_force, finish_now, part_from_host};
use super::raise::{plain_cancelled, raise_verdict, without_cancellations};
use crate::cpython::args::given;
use crate::cpython::call::type_name;
use crate::cpython::errors::{
    Aside, Fallible, Raised, exc, is_of, misuse, optional, raise, raise_in_context, string,
};
use crate::cpython::futures;
use crate::cpython::imports::{current_task, imports};
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, boolean, none};
use crate::cpython::raised;
use crate::cpython::thread::thread_mark;
use crate::engine::state::{Failure, Key, LoopState, PyFace};
use crate::hosts::{self, foreign, host};
use crate::step;
use crate::task::{self, Task};
use crate::wait::{self, Ops, Phase as WaitPhase, Wait, WaitObject};

/// How the body has ended.
fn body_outcome(exception: Option<&Object>) -> Outcome<Failure> {
    let Some(exception) = given(exception) else {
        return Outcome::Done;
    };
    let failure = Failure::unnamed(Owned::share(exception));
    Outcome::raised(raised::kind_of_end(exception), Role::Body, failure).0
}

/// A cancellation of the host came while it joined.
const HELD: u8 = 1;
/// ... and was thrown in, so that the join's value is that error and not the body's.
const THROWN: u8 = 1 << 1;

static OPS: Ops =
    Ops { begin: begin_join, again: check_leaver, finish: finish_join, throw, abandon, cancelled };

/// A nursery's join. `exception` is what the body has ended with, if anything.
pub(super) fn create(py: Python<'_>, nursery: Owned, exception: Option<Owned>) -> Fallible<Owned> {
    let join = wait::create_join(py, &OPS, nursery)?;
    drop(join.value().replace(exception));
    Ok(join.into_object())
}

/// Whether a cancellation of the host came while it joined; asked once.
fn take_held(join: &Wait) -> bool {
    let notes = join.notes();
    let held = notes.get() & HELD != 0;
    notes.set(notes.get() & !HELD);
    held
}

/// Whether what a join holds was thrown into it, and is not what the body ended with.
fn was_thrown(join: &Wait) -> bool {
    join.notes().get() & THROWN != 0
}

/// The nursery that a join waits for, if it has not been left.
fn payload(join: &Wait) -> Option<Owned<Nursery>> {
    join.payload().cloned()?.cast().ok()
}

/// As [`payload`]; raises if there is none.
fn nursery(join: &WaitObject) -> Fallible<Owned<Nursery>> {
    payload(join).ok_or_else(|| misuse(join.py(), "this nursery's exit was already awaited"))
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

/// Whether a nursery is still in the tree: where the program's code has run since it was found, that
/// may have left it.
fn check_stands(state: &LoopState, id: NurseryId) -> Fallible<()> {
    if state.tree.borrow().has_nursery(id) {
        return Ok(());
    }
    let text = "this nursery was left meanwhile, by what ran while it was being left";
    Err(misuse(state.py(), text))
}

/// How a nursery is left as it must not be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Misuse {
    /// Another task leaves it.
    Task,
    /// Its host has entered another block inside it, and not left that.
    Order,
}

impl Misuse {
    fn text(self) -> &'static str {
        match self {
            Self::Task => {
                "this nursery is left in another task than entered it; enter and leave a nursery in \
                 one task, and do not yield inside one in an async generator (PEP 789)"
            }
            Self::Order => {
                "this nursery is left while a scope or nursery that was entered after it is still \
                 open; leave them in the reverse order"
            }
        }
    }
}

/// The task that leaves a nursery.
enum Leaver {
    /// Its host, as it must be.
    Host(Owned),
    /// Another task, after the host has ended, as asyncio allows it for its groups (R3). Where it is
    /// in the tree, it is named.
    Successor(Option<MemberId>),
    /// Another task, which is named as above, or the host in the wrong order.
    Stranger(Misuse, Option<MemberId>),
    /// The host's coroutine is being closed, and must not await any more.
    Force,
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
    if this.thread.get() != thread_mark() {
        return Err(misuse(
            py,
            "this nursery is left in another thread than entered it; enter and leave a \
             nursery in one task",
        ));
    }
    if this.left.replace(true) {
        return Err(misuse(
            py,
            "this nursery is already being left: its __aexit__ was called before",
        ));
    }
    join.settle_in(state);
    let exception = join.value().cloned();
    let closes = exception.as_deref().is_some_and(|it| is_of(it, exc::generator_exit(py)));
    // The clock may be the program's code, so it is read before the checks.
    let timed = exception.is_some() || state.tree.borrow().has_services(id);
    let now = if timed { state.now_or_zero() } else { 0.0 };
    let leaver = this.leaver(state, id, closes).inspect_err(|_| this.left.set(false))?;
    let outcome = body_outcome(exception.as_deref());
    let adopted = state.tree.borrow().is_adopted(id);
    match &leaver {
        Leaver::Force => {
            close_by_force(this, state, id);
            return Err(raise(exception.unwrap_or_else(|| none(py))));
        }
        // The nursery that has joined it says that it was not left; the body's error goes on.
        Leaver::Stranger(..)
            if adopted && matches!(outcome, Outcome::Failed(_) | Outcome::Bare(_)) => {}
        Leaver::Stranger(how, _) => this.disown(state, id, *how)?,
        Leaver::Successor(_) => {
            let now = state.now_or_zero();
            part_from_host(state, id, |tree, out| tree.disown(id, now, out)).1?;
        }
        Leaver::Host(_) => {}
    }
    check_stands(state, id)?;
    let outcome = match outcome {
        // The task that closes a generator from outside gets the misuse error instead.
        Outcome::Alone(_) if matches!(leaver, Leaver::Stranger(..)) => Outcome::Cancelled,
        outcome => outcome,
    };
    let words = match &outcome {
        Outcome::Failed(Failure { error, .. })
        | Outcome::Group(Failure { error, .. })
        | Outcome::Bare(Failure { error, .. })
        | Outcome::Alone(Failure { error, .. }) => {
            let text = format!("the nursery's body failed: {}", type_name(error));
            optional(string(py, &text))
        }
        Outcome::Done | Outcome::Cancelled => None,
    };
    let closed = state.change(|tree, out| {
        // What was disowned may have been told of its end by what ran since.
        if tree.phase(id) == Phase::Open {
            tree.body_ended(id, outcome, now, words, out);
        } else {
            tree.add_late(id, outcome, now, out);
            out.reasons.extend(words);
        }
        tree.phase(id) == Phase::Closed
    });
    if closed || (closes && finish_now(state, id)) {
        return Ok(true);
    }
    let successor = match leaver {
        Leaver::Successor(member) | Leaver::Stranger(_, member) => member,
        Leaver::Host(_) | Leaver::Force => None,
    };
    let key = Key::of(join.object());
    state.tree.touch(|tree| tree.set_joiner(id, Some(key), successor));
    if let Leaver::Host(host) = leaver
        && !task::is_ours(&host)
    {
        foreign::set_joining(state, &host, true);
    }
    Ok(false)
}

impl Nursery {
    /// Which task leaves it. `closes`: a GeneratorExit is on its way.
    fn leaver(&self, state: &LoopState, id: NurseryId, closes: bool) -> Fallible<Leaver> {
        let current = current_task(&state.event_loop())?;
        self.leaver.set(current.address());
        let host = self.host.cloned();
        // A task of asyncio's says nothing when it ends.
        let ended = match &host {
            Some(host) => futures::is_done(host)?,
            None => true,
        };
        let alive = !ended && state.tree.borrow().host(id).is_some();
        if let Some(host) = &host
            && alive
            && host.is(&current)
        {
            let member = hosts::member_of(state, host);
            let tree = state.tree.borrow();
            if tree.innermost(member) == Some(tree.scope(id)) {
                return Ok(Leaver::Host(host.clone()));
            }
            return Ok(Leaver::Stranger(Misuse::Order, Some(member)));
        }
        let runs = match &host {
            Some(host) if alive => futures::is_running(host)?,
            _ => false,
        };
        if closes && (runs || current.is_none()) {
            return Ok(Leaver::Force);
        }
        let member = current.object().cast::<Task>().and_then(|task| task.data().member.get());
        let tree = state.tree.borrow();
        if member.is_some_and(|member| tree.is_awaited(member, id)) {
            drop(tree);
            return Err(misuse(
                state.py(),
                "this nursery is left by a task inside it, which would wait for itself; leave a \
                 nursery in the task that has entered it",
            ));
        }
        let scope = tree.scope(id);
        if !alive && tree.settings(scope).abrupt && tree.cause(scope).is_none() {
            return Ok(Leaver::Successor(member));
        }
        Ok(Leaver::Stranger(Misuse::Task, member))
    }

    /// Takes it from its host, and cancels its children: it is left as it must not be (R3).
    fn disown(&self, state: &LoopState, id: NurseryId, how: Misuse) -> Fallible<()> {
        let py = state.py();
        let now = state.now_or_zero();
        let early = optional(string(py, "a nursery around it was left"));
        let reason = optional(string(py, how.text()));
        self.misuse.set(misuse(py, how.text()).take());
        let disown = |tree: &mut Tree<PyFace>, out: &mut Effects<PyFace>| {
            if how == Misuse::Order {
                tree.cancel_inside(tree.scope(id), early, now, out);
            }
            let owed = tree.disown(id, now, out);
            let cause = Cause { source: Source::Failure, reason };
            tree.cancel(tree.scope(id), cause, now, out);
            owed
        };
        part_from_host(state, id, disown).1
    }
}

/// The host was cancelled from outside while it joins (R15).
fn tell_of_cancellation(state: &LoopState, nursery: &Nursery, reason: Option<Owned>) {
    let Some(id) = nursery.id.get() else {
        return;
    };
    let now = state.now_or_zero();
    state.change(|tree, out| tree.host_cancelled(id, reason, now, out));
}

/// The host was cancelled from outside while it joins (R15).
fn cancelled(state: &LoopState, join: &WaitObject) {
    join.notes().set(join.notes().get() | HELD);
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
    if !is_cancel || matches!(join.phase().get(), WaitPhase::New | WaitPhase::Spent) {
        let _aside = Aside::new(py);
        if join.phase().get() == WaitPhase::Waiting {
            wait::interrupt(join, WaitPhase::Spent);
        }
        join.phase().set(WaitPhase::Spent);
        join.task().clear();
        abandon(py, join);
        return Err(raised);
    }
    let cancelled = raised.take();
    join.notes().set(HELD | THROWN);
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

/// The host's coroutine is thrown out of its join: it must not await any more.
fn abandon(py: Python<'_>, join: &Wait) {
    let _aside = Aside::new(py);
    if let Some(nursery) = payload(join)
        && let Some((state, id)) = nursery.place()
    {
        // The tree does not hold what it is to wake, and this may be the end of the join.
        if state.tree.borrow().has_nursery(id) {
            state.tree.touch(|tree| tree.set_joiner(id, None, None));
        }
        close_by_force(&nursery, &state, id);
    }
}

/// Body and children have ended: the block is left. Returns whether the body's exception is
/// swallowed, or raises what the nursery raises.
fn finish_join(join: &WaitObject, joined: bool) -> Fallible<Owned> {
    let nursery = nursery(join)?;
    join.payload().clear();
    let Some((home, id)) = nursery.place() else {
        return Err(misuse(join.py(), "this nursery is left without having been entered"));
    };
    let misuse = nursery.misuse.take();
    match nursery.host.cloned() {
        Some(host) if misuse.is_none() && home.tree.borrow().host(id).is_some() => {
            leave(&nursery, &home, id, join, &host, joined)
        }
        _ => leave_without_host(&nursery, &home, id, join, misuse),
    }
}

/// The host leaves its nursery.
fn leave(
    nursery: &Owned<Nursery>,
    state: &LoopState,
    id: NurseryId,
    join: &WaitObject,
    host: &Object,
    joined: bool,
) -> Fallible<Owned> {
    let py = state.py();
    let own = host.cast::<Task>();
    let mut held = take_held(join);
    match own {
        None => foreign::set_joining(state, host, false),
        Some(own) if joined && task::is_asked(state, own) => {
            own.data().change_inbox(|inbox| inbox.requests.deliver());
            held = true;
        }
        Some(_) => {}
    }
    let member = hosts::member_of(state, host);
    // Where nothing was cancelled, the host's count decides nothing.
    let matters = held || !join.value().is_empty() || state.tree.borrow().is_cancelled(member);
    let honoured = if matters { host::honoured(host)? } else { 0 };
    let cancelled = if own.is_some() && !held && state.tree.borrow().is_pending(member) {
        Some(step::cancelled_by_scope(state, member))
    } else {
        None
    };
    check_stands(state, id)?;
    let shield = {
        let tree = state.tree.borrow();
        tree.settings(tree.scope(id)).shield
    };
    let now = if shield { state.now_or_zero() } else { 0.0 };
    check_stands(state, id)?;
    let misplaced = {
        let tree = state.tree.borrow();
        tree.innermost(member) != Some(tree.scope(id))
    };
    if misplaced {
        // What ran since the join began has entered something.
        nursery.disown(state, id, Misuse::Order)?;
        check_stands(state, id)?;
        let misuse = nursery.misuse.take();
        return leave_without_host(nursery, state, id, join, misuse);
    }
    let Close { verdict, cancelled: goes_on, rearm, exit } = state.change(|tree, out| {
        nursery.retire();
        tree.close(id, honoured, held, now, out)
    });
    // What was cancelled above a foreign host while it joined has not reached it yet.
    let behind = own.is_none() && state.tree.borrow().is_pending(member);
    let cancelled_here = exit.cause.is_some();
    // Looked at before the host may leave the tree.
    let above = state.tree.borrow().is_cancelled(member);
    host::left_scope(state, host, member);
    nursery.leave(exit.settings, exit.cause, exit.caught);
    let taken = host::take_back(host, exit.take_back);
    if exit.watched {
        state.drop_uncalled();
    }
    taken?;
    let (verdict, found) = without_cancellations(verdict);
    let absorbed = found && exit.absorbs;
    let caught = absorbed || exit.caught;
    if absorbed {
        nursery.has_caught();
    }
    if rearm {
        host::rearm(host)?;
    }
    if behind {
        foreign::reach(state, host);
    }
    let thrown = join.value().take();
    match verdict {
        Verdict::Clean if !goes_on => Ok(boolean(py, thrown.is_some() && caught)),
        Verdict::Clean => {
            if let Some(body) = thrown.as_ref()
                && !was_thrown(join)
            {
                let bare = raised::innermost(body);
                if let Some(own) = own
                    && cancelled_here
                    && !above
                    && host::is_a_scopes(&bare)
                {
                    return Err(raise_in_context(task::cancelled_error(own)));
                }
                if !bare.is(body) {
                    // It was in a group of nothing but cancellations.
                    return Err(raise(bare));
                }
                // The body's own goes on.
                return Ok(boolean(py, false));
            }
            let error = thrown.or(cancelled);
            Err(raise(error.unwrap_or_else(|| match own {
                Some(own) => task::cancelled_error(own),
                None => plain_cancelled(py, join),
            })))
        }
        verdict => raise_verdict(nursery, state, host, verdict, thrown),
    }
}

/// A task that is not the host leaves a nursery, or the host does in the wrong order.
fn leave_without_host(
    nursery: &Owned<Nursery>,
    state: &LoopState,
    id: NurseryId,
    join: &WaitObject,
    misuse: Option<Owned>,
) -> Fallible<Owned> {
    let py = state.py();
    let now = state.now_or_zero();
    // A loop's own clock may be Python code that has brought this about.
    check_stands(state, id)?;
    let settings = {
        let tree = state.tree.borrow();
        tree.settings(tree.scope(id))
    };
    let (verdict, cause) = state.change(|tree, out| {
        nursery.retire();
        tree.discard(id, now, out)
    });
    nursery.leave(settings, cause, false);
    let (verdict, _) = without_cancellations(verdict);
    let held = take_held(join);
    let thrown = join.value().take();
    let was_thrown = was_thrown(join);
    let current = current_task(&state.event_loop())?;
    let verdict = match (misuse, verdict) {
        (None, verdict) => verdict,
        (Some(misuse), Verdict::Clean) => {
            Verdict::Bare { error: Failure::unnamed(misuse), beside: Vec::new() }
        }
        (Some(misuse), Verdict::Errors(mut errors)) => {
            errors.insert(0, Failure::unnamed(misuse));
            Verdict::Errors(errors)
        }
        (Some(misuse), Verdict::Bare { error, mut beside }) => {
            beside.insert(0, Failure::unnamed(misuse));
            Verdict::Bare { error, beside }
        }
    };
    match verdict {
        Verdict::Clean if was_thrown => match thrown {
            Some(cancelled) => Err(raise(cancelled)),
            None => Ok(boolean(py, false)),
        },
        Verdict::Clean => Ok(boolean(py, false)),
        verdict => {
            if held && was_thrown && !task::is_ours(&current) {
                // The leaving task was cancelled: that acts after the error.
                host::rearm(&current)?;
            }
            raise_verdict(nursery, state, &current, verdict, thrown)
        }
    }
}
