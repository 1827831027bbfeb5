//! What the code that is being polled stands in: its scope, for scopes and nurseries opened below
//! it, and marks with which it says that it cannot go on, or that a shield was opened in it. One
//! thread's own.

mod home;

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::around::{self, Around, Outside, Unopened};
use crate::scope::Scope;
#[cfg(all(test, aionursery_loom))]
use crate::sync::LocalCell;
use crate::sync::thread_local;
pub(crate) use home::now;

thread_local! {
    // Nothing stands anywhere when a thread ends: no destructor is needed, which costs each access.
    static AROUND: Cell<ManuallyDrop<Around>> =
        const { Cell::new(ManuallyDrop::new(Around::Nothing)) };
    static FRAME: Cell<Frame> = const { Cell::new(Frame { kind: Kind::Outside, ends: false, since: 0 }) };
    // Beside the frame: it is looked at after every child.
    static MARKS: Cell<u8> = const { Cell::new(0) };
    static ACKNOWLEDGED: Cell<u16> = const { Cell::new(0) };
}

/// What is being polled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing of ours.
    Outside,
    /// A child that cancellation reaches.
    Open,
    /// A nursery's body.
    Body,
    /// A child that it does not reach.
    Shielded,
}

impl Kind {
    /// Cancellation reaches it.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Body)
    }
}

/// One poll, or those of one driver's children one after the other.
#[derive(Clone, Copy)]
struct Frame {
    kind: Kind,
    /// What is polled was cancelled, and is dropped as soon as nothing in it holds that up.
    ends: bool,
    /// How many marks had been acknowledged on this thread when it began. A future that marks twice and finds the same
    /// here was not acknowledged: an owner of ours does that at the end of a poll.
    since: u16,
}

impl Frame {
    #[inline]
    fn new(kind: Kind, ends: bool) -> Self {
        Self { kind, ends, since: ACKNOWLEDGED.get() }
    }
}

/// What was polled cannot go on: it ends as cancelled.
pub(crate) const PARK: u8 = 1;
/// A wall was raised in what was polled, or further down.
pub(crate) const WALL: u8 = 2;

/// The scope that the running code stands in.
pub(crate) fn current() -> Option<Arc<Scope>> {
    look_into(Around::scope)
}

/// The running code asks whether a scope is cancelled: it hears of that if it stands in it. A look from outside
/// changes nothing.
pub(crate) fn hear(scope: &Arc<Scope>) {
    scope.hear_if(|| look(|around| around.is_below(scope)));
}

/// A scope with a handle is to stand in what is around: that opens if it is one without.
#[inline]
pub(crate) fn settle() {
    look_into(|around| {
        if matches!(around, Around::Unopened(_)) {
            around.scope();
        }
    });
}

/// Takes what is around for something that is to be around in its place for a while. A scope without a place in the
/// tree opens first. `None` if it is cancelled.
#[inline]
pub(crate) fn stand_aside() -> Option<Around> {
    let around = take();
    match &around {
        Around::Nothing => return Some(around),
        Around::Scope(scope) if !scope.is_soft() => return Some(around),
        _ => put(around),
    }
    open_around()
}

#[cold]
fn open_around() -> Option<Around> {
    if look(Around::is_cancelled) {
        return None;
    }
    settle();
    Some(take())
}

/// Looks at what is around.
pub(crate) fn look<R>(ask: impl FnOnce(&Around) -> R) -> R {
    look_into(|around| ask(around))
}

/// As [`look`], for what changes it.
#[inline]
fn look_into<R>(ask: impl FnOnce(&mut Around) -> R) -> R {
    struct Look(Around);
    impl Drop for Look {
        #[inline]
        fn drop(&mut self) {
            put(std::mem::take(&mut self.0));
        }
    }
    let mut look = Look(take());
    ask(&mut look.0)
}

/// Takes what is around; [`put`] gives it back, or what comes of it.
#[inline]
pub(crate) fn take() -> Around {
    swap(Around::Nothing)
}

/// Sets what is around, where nothing is.
#[inline]
pub(crate) fn put(around: Around) {
    AROUND.set(ManuallyDrop::new(around));
}

/// For its lifetime the thread stands in a scope. The scope is moved, not counted.
pub(crate) struct InScope {
    before: Around,
}

impl InScope {
    #[inline]
    pub(crate) fn enter(scope: Arc<Scope>) -> Self {
        Self::amid(Around::Scope(scope))
    }

    #[inline]
    fn amid(around: Around) -> Self {
        Self { before: swap(around) }
    }

    /// Whether nothing of ours polls what has come to stand here.
    pub(crate) fn is_outermost(&self) -> bool {
        self.before.is_outermost()
    }

    /// Gives the scope back.
    #[inline]
    pub(crate) fn leave(mut self) -> Arc<Scope> {
        let around = swap(std::mem::take(&mut self.before));
        std::mem::forget(self);
        let Around::Scope(scope) = around else {
            unreachable!("scopes are left in the order of entering")
        };
        scope
    }
}

impl Drop for InScope {
    fn drop(&mut self) {
        drop(swap(std::mem::take(&mut self.before)));
    }
}

/// For its lifetime the thread stands amid a scope that opens when it is asked for.
pub(crate) struct Amid<'a> {
    outside: NonNull<Outside<'a>>,
    lies: PhantomData<&'a mut Outside<'a>>,
}

impl<'a> Amid<'a> {
    #[inline]
    #[expect(unsafe_code, reason = "what is around lies on the stack of a poll")]
    pub(crate) fn enter(outside: &'a mut Outside<'_>) -> Self {
        let outside = NonNull::from(outside).cast();
        // SAFETY: it is around until this is dropped, which borrows it.
        put(Around::Unopened(unsafe { Unopened::at(outside) }));
        Self { outside, lies: PhantomData }
    }

    /// Gives the scope, if that was opened.
    #[inline]
    pub(crate) fn leave(self) -> Option<Arc<Scope>> {
        ManuallyDrop::new(self).stand_outside()
    }

    #[inline]
    #[expect(unsafe_code, reason = "as above")]
    fn stand_outside(&mut self) -> Option<Arc<Scope>> {
        let around = take();
        // SAFETY: it is borrowed for this, and what was around it is not any more.
        let parent = unsafe { self.outside.as_mut() }.parent.take();
        put(parent.map_or(Around::Nothing, Around::Scope));
        match around {
            Around::Scope(scope) => Some(scope),
            Around::Unopened(_) => None,
            Around::Nothing => unreachable!("scopes are left in the order of entering"),
        }
    }
}

impl Drop for Amid<'_> {
    /// What was polled has panicked.
    fn drop(&mut self) {
        self.stand_outside().into_iter().for_each(around::end);
    }
}

/// Sets what is around; gives back what was.
#[inline]
pub(crate) fn swap(around: Around) -> Around {
    ManuallyDrop::into_inner(AROUND.replace(ManuallyDrop::new(around)))
}

/// What was before; it comes back also if what is polled panics out of us, as a waker may (R29).
#[must_use]
pub(crate) struct Entered {
    frame: Frame,
    marks: u8,
}

impl Drop for Entered {
    /// What was polled has panicked out of us. The walls that it raised are still to be heard of.
    fn drop(&mut self) {
        FRAME.set(self.frame);
        MARKS.set(self.marks | (MARKS.get() & WALL));
    }
}

/// A future is polled from here on, until [`leave`], whose owner acknowledges what it marks, and is about to
/// drop it if it `ends`.
#[inline]
pub(crate) fn enter(kind: Kind, ends: bool) -> Entered {
    replace(Frame::new(kind, ends))
}

/// As [`enter`], for one whose marks go on to the owner of what is being polled already. In a shield it
/// does not end with that.
#[inline]
pub(crate) fn enter_amid(kind: Kind, shield: bool) -> Entered {
    let frame = FRAME.get();
    replace(Frame { kind, ends: frame.ends && !shield, ..frame })
}

#[inline]
fn replace(frame: Frame) -> Entered {
    Entered { frame: FRAME.replace(frame), marks: MARKS.replace(0) }
}

/// The next one is polled in this frame. What was marked before, by destructors, clocks and wakers, is
/// meant for no future.
#[inline]
pub(crate) fn next() {
    MARKS.set(0);
}

/// Runs what has nothing to do with the future that is being polled.
#[cfg(feature = "tokio")]
pub(crate) fn apart<R>(act: impl FnOnce() -> R) -> R {
    let standing = InScope::amid(Around::Nothing);
    let entered = enter(Kind::Outside, false);
    let returned = act();
    leave(entered);
    drop(standing);
    returned
}

/// Says what has been marked since.
#[inline]
pub(crate) fn leave(entered: Entered) -> u8 {
    let Entered { frame, marks } = entered;
    std::mem::forget(entered);
    FRAME.set(frame);
    MARKS.replace(marks)
}

/// What was marked since [`next`].
#[inline]
pub(crate) fn marks() -> u8 {
    MARKS.get()
}

pub(crate) fn kind() -> Kind {
    FRAME.get().kind
}

/// Whether the owner of what is being polled is about to drop it.
pub(crate) fn ends() -> bool {
    FRAME.get().ends
}

/// What is being polled cannot go on: it ends as cancelled. Returns which poll it is.
pub(crate) fn park() -> u16 {
    mark(PARK);
    FRAME.get().since
}

/// The owner of what was polled has seen the mark that it cannot go on.
#[cold]
pub(crate) fn acknowledge() {
    ACKNOWLEDGED.set(ACKNOWLEDGED.get().wrapping_add(1));
}

/// As [`acknowledge`], in the frame in which the next one will be polled.
#[cold]
pub(crate) fn acknowledge_here() {
    acknowledge();
    FRAME.set(Frame { since: ACKNOWLEDGED.get(), ..FRAME.get() });
}

/// A wall was raised in what is being polled.
pub(crate) fn mark_wall() {
    mark(WALL);
}

fn mark(mark: u8) {
    MARKS.set(MARKS.get() | mark);
}
