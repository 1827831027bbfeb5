//! What a task has beside asyncio's part of it, and those of asyncio's fields that it uses: the coroutine,
//! the context and the name, so that what reads them (asyncio's own methods, a debugger) finds what it
//! expects. It must never take a step or decide anything.

#![expect(unsafe_code, reason = "the memory of a task, beside what asyncio knows of it")]

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};

use nursery_core::{Effects, Inbox, MemberId};

use super::flag;
use super::layout::{self, Field, class};
use super::waiters::Waiters;
use crate::cpython::call::{copy_context, has_class, is_kind};
use crate::cpython::errors::Fallible;
use crate::cpython::imports::imports;
use crate::cpython::object::{Object, Typed, kind};
use crate::cpython::owned::Owned;
use crate::cpython::slot::Slot;
use crate::cpython::trash::Going;
use crate::engine::home::{Home, HomeSlot};
use crate::engine::state::LoopState;

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
    pub waiters: RefCell<Waiters<Task>>,
    pub rare: RefCell<Option<Box<Rare>>>,
    /// The tree's reference to the task itself, if it has one.
    held: Slot<Task>,
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

impl Rare {
    /// The task goes before its next step: its loop was closed, or forgot it.
    #[cold]
    fn forget_incoming(&self, state: Option<&LoopState>) {
        if let (Some(incoming), Some(state)) = (self.incoming.take(), state) {
            state.forget_error(incoming);
        }
    }
}

kind! {
    /// One of our tasks: an object of our type, or of a class below it.
    pub(crate) struct Task = |object: &Object| {
        // Most are of our class, or of asyncio's own.
        let (ours, asyncios) = (class(object.py()), imports(object.py()).task_type);
        has_class(object, ours) || (!has_class(object, asyncios) && is_kind(object, ours))
    };
}

impl Task {
    /// Our part of it.
    #[inline]
    pub(crate) fn data(&self) -> &TaskData {
        // SAFETY: a task of our type, whose part follows asyncio's, aligned for pointers; its memory has been
        // filled with that.
        unsafe { &*layout::ours(self.as_ptr()).cast() }
    }

    /// Whether its methods are ours, too.
    #[inline]
    pub(crate) fn is_exact(&self) -> bool {
        self.class().is(class(self.py()))
    }

    /// The tree has a reference to it from now on, which the state shows the collector.
    pub(crate) fn hold(&self) {
        if self.data().held.is_empty() {
            self.data().held.set(Owned::share(self));
        }
    }

    /// Takes the tree's reference out, if it has one.
    #[must_use = "what goes may run Python code"]
    pub(crate) fn release(&self) -> Option<Owned> {
        self.data().held.take().map(Owned::into_object)
    }

    /// Whether the tree has a reference to it.
    pub(crate) fn is_held(&self) -> bool {
        !self.data().held.is_empty()
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
    fn inherited(&self, field: &Field) -> &Slot {
        let there = field.beside(std::ptr::from_ref(self).cast());
        // SAFETY: our part stands in a task, at whose import the field was found there: null or a
        // reference, as a slot has it.
        unsafe { &*there.cast() }
    }

    /// What it runs.
    #[inline]
    pub(crate) fn coroutine(&self) -> &Slot {
        self.inherited(&layout::COROUTINE)
    }

    /// What its steps run in.
    #[inline]
    pub(crate) fn context(&self) -> &Slot {
        self.inherited(&layout::CONTEXT)
    }

    /// What it is called, once it was named or its name was asked for.
    #[inline]
    pub(crate) fn name(&self) -> &Slot {
        self.inherited(&layout::NAME)
    }

    /// What awaits it, as asyncio has it: one, or a set. `None` where that is asyncio's secret.
    #[cfg(Py_3_14)]
    #[inline]
    pub(super) fn awaited_by(&self) -> Option<&Slot> {
        layout::AWAITED_BY.is_known().then(|| self.inherited(&layout::AWAITED_BY))
    }

    /// The loop's part; absent before `__init__` and after the collector was there.
    #[inline]
    pub(crate) fn state(&self) -> Option<Home> {
        self.home.cloned()
    }

    /// What is to be told of its end, which most tasks have nothing of.
    #[inline]
    pub(super) fn take_waiters(&self) -> Option<Waiters<Task>> {
        if self.waiters.borrow().is_empty() { None } else { Some(self.waiters.take()) }
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
        if let (Some(before), Some(home)) = (before, self.home.cloned()) {
            home.forget_error(before);
        }
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
        let mut held = None;
        // The tree holds children, so they come here only when their whole loop goes, and keep their place until
        // it does: what goes with them may end them meanwhile.
        if !self.has(flag::CHILD)
            && let (Some(member), Some(state)) = (self.member.take(), home.as_deref())
        {
            // It goes without having ended; the tree must not know it any longer, nor hold it.
            let ((), effects) = state.tree.change(|tree, out| tree.withdraw(member, out));
            drop::<Effects<_>>(effects);
            held = self.held.take();
        }
        let going = home.as_ref().map(|home| home.trash.begin());
        if let Some(going) = going.as_ref().filter(|going| going.is_deep()) {
            self.put_off(going, home.as_deref());
        }
        self.coroutine().clear();
        self.waiting.clear();
        self.context().clear();
        self.outcome.clear();
        self.name().clear();
        self.cancel_message.clear();
        self.registration.clear();
        drop(self.take_waiters());
        if let Some(rare) = self.rare.take() {
            rare.forget_incoming(home.as_deref());
        }
        drop(going);
        self.home.clear();
        // The collector, which has come here then, has a reference of its own.
        drop(held);
    }

    /// What chains go on through is let go of later.
    #[cold]
    fn put_off(&self, going: &Going<'_>, state: Option<&LoopState>) {
        for slot in
            [self.coroutine(), &self.waiting, self.context(), &self.outcome, &self.cancel_message]
        {
            going.put_off(slot.take());
        }
        if let Some(rare) = self.rare.take() {
            rare.forget_incoming(state);
            going.put_off(rare.handler.take());
            going.put_off(rare.exception_traceback.take());
        }
    }
}

/// The number of the last task.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Fills a task that is new or cleared. It runs in a copy of the current context if it is given none.
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
