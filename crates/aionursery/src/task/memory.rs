//! Memory of tasks. It is cut from chunks, and what a task leaves is kept for the next of its size on the
//! thread, up to a limit: so most starts ask no allocator. A chunk goes when all that was cut from it has
//! gone. It must never know what lies in it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::plain;

/// Sizes differ by this much.
const GRAIN: usize = 64;
/// In grains: what is larger has an allocation of its own.
const LARGEST: usize = 16;
/// How many bytes of each size a thread keeps. What it does not keep cannot be used again before all of its
/// chunk has gone, so a few that live long among many would each hold a chunk.
const KEPT: usize = 4 << 20;
/// Aligned to 8 KiB, so that a piece knows where its chunk is; and a grain less than that: an allocator that
/// writes beside what it hands out, as glibc's does, would leave a gap as large as a chunk behind each.
const CHUNK: Layout = match Layout::from_size_align((8 << 10) - GRAIN, 8 << 10) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// What a chunk begins with, in a grain of its own: how many of its pieces have not gone.
struct Head(AtomicUsize);

/// A piece that is kept, and the next one.
struct Unused(*mut Unused);

/// Pieces of one size that this thread can hand out.
struct Pieces {
    unused: Cell<*mut Unused>,
    /// How many more it may keep.
    room: Cell<usize>,
    /// What is left of the newest chunk: where it begins, and how many pieces that is.
    rest: Cell<*mut u8>,
    left: Cell<usize>,
}

/// What a thread that has ended has not cut of its chunk. The next thread goes on with it: else the few children that
/// a thread of short life starts would hold a chunk each, for as long as others keep their memory.
struct Rest {
    begins: NonNull<u8>,
    pieces: usize,
}

// SAFETY: what was never handed out belongs to what holds this.
unsafe impl Send for Rest {}

/// How many of each size are left for the next thread.
const RESTS: usize = 64;
static LEFT: Mutex<[Vec<Rest>; LARGEST]> = Mutex::new([const { Vec::new() }; LARGEST]);

/// Whether a thread keeps pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    NotYet,
    Yes,
    NoMore,
}

thread_local! {
    // Without a destructor, which costs each access: `KEEPER` has it.
    static PIECES: [Pieces; LARGEST] = const { [const { Pieces::new() }; LARGEST] };
    static KEEPS: Cell<Keeps> = const { Cell::new(Keeps::NotYet) };
    static KEEPER: Keeper = const { Keeper };
}

/// Gives back what the thread keeps when it ends.
struct Keeper;

impl Drop for Keeper {
    fn drop(&mut self) {
        KEEPS.set(Keeps::NoMore);
        PIECES.with(|all| all.iter().enumerate().for_each(|(index, pieces)| pieces.clear(index)));
    }
}

/// Whether this thread keeps pieces from now on, and has not done so before.
fn begins_to_keep() -> bool {
    KEEPS.get() == Keeps::NotYet && begin()
}

#[cold]
fn begin() -> bool {
    let begins = KEEPER.try_with(|_| ()).is_ok();
    if begins {
        KEEPS.set(Keeps::Yes);
        let open = |(at, pieces): (usize, &Pieces)| pieces.room.set(KEPT / ((at + 1) * GRAIN));
        PIECES.with(|all| all.iter().enumerate().for_each(open));
    }
    begins
}

impl Pieces {
    const fn new() -> Self {
        Self {
            unused: Cell::new(ptr::null_mut()),
            room: Cell::new(0),
            rest: Cell::new(ptr::null_mut()),
            left: Cell::new(0),
        }
    }

    #[inline]
    fn take(&self, size: usize) -> NonNull<u8> {
        let Some(piece) = NonNull::new(self.unused.get()) else {
            if self.left.get() == 0 {
                self.renew(size);
            }
            return self.cut(size);
        };
        // SAFETY: what is kept is used by nothing else, and has the next one in it.
        self.unused.set(unsafe { piece.as_ref() }.0);
        self.room.set(self.room.get() + 1);
        piece.cast()
    }

    /// Returns `false` if there is no room for it.
    ///
    /// # Safety
    /// It was cut for this size, and is used no more.
    #[inline]
    unsafe fn keep(&self, piece: NonNull<u8>) -> bool {
        let room = self.room.get();
        if room == 0 {
            return false;
        }
        // SAFETY: as the caller promises; each size has room for it.
        unsafe { piece.cast().write(Unused(self.unused.get())) };
        self.unused.set(piece.as_ptr().cast());
        self.room.set(room - 1);
        true
    }

    /// The next piece of its chunk, of which there is one.
    #[inline]
    fn cut(&self, size: usize) -> NonNull<u8> {
        let piece = self.rest.get();
        self.left.set(self.left.get() - 1);
        // SAFETY: the piece lies in the chunk, whose end is the farthest that this can come to.
        self.rest.set(unsafe { piece.add(size) });
        // SAFETY: it lies behind the head of a chunk.
        unsafe { NonNull::new_unchecked(piece) }
    }

    /// A new chunk, or what another thread has left of one.
    #[cold]
    fn renew(&self, size: usize) {
        let keeps = KEEPS.get() == Keeps::Yes || begins_to_keep();
        if keeps && let Some(Rest { begins, pieces }) = plain(&LEFT)[size / GRAIN - 1].pop() {
            self.rest.set(begins.as_ptr());
            return self.left.set(pieces);
        }
        let pieces = if keeps { (CHUNK.size() - GRAIN) / size } else { 1 };
        let chunk = allocate(CHUNK);
        // SAFETY: fresh memory, large enough and aligned.
        unsafe { chunk.cast().write(Head(AtomicUsize::new(pieces))) };
        // SAFETY: the chunk is larger than a grain.
        self.rest.set(unsafe { chunk.add(GRAIN) }.as_ptr());
        self.left.set(pieces);
    }

    fn clear(&self, index: usize) {
        self.room.set(0);
        while let Some(piece) = NonNull::new(self.unused.get()) {
            // SAFETY: as in `take`.
            self.unused.set(unsafe { piece.as_ref() }.0);
            // SAFETY: it is kept no more.
            unsafe { drop_pieces(piece.as_ptr().cast(), 1) };
        }
        let pieces = self.left.replace(0);
        let Some(begins) = NonNull::new(self.rest.get()).filter(|_| pieces > 0) else { return };
        let rests = &mut plain(&LEFT)[index];
        if rests.len() < RESTS {
            rests.push(Rest { begins, pieces });
        } else {
            // SAFETY: these were never handed out.
            unsafe { drop_pieces(begins.as_ptr(), pieces) };
        }
    }
}

/// # Safety
/// So many pieces of the chunk that `piece` lies in are used no more, from now on.
#[inline(never)]
unsafe fn drop_pieces(piece: *mut u8, count: usize) {
    let chunk = piece.map_addr(|address| address & !(CHUNK.align() - 1));
    // SAFETY: a piece keeps its chunk, which begins with this.
    let head = unsafe { &*chunk.cast::<Head>() };
    if head.0.fetch_sub(count, Ordering::AcqRel) == count {
        // SAFETY: those were the last; it was allocated with this layout.
        unsafe { dealloc(chunk, CHUNK) };
    }
}

/// How much memory a type of task takes.
pub(crate) struct Size {
    layout: Layout,
    /// In grains, if it is cut from chunks, and 0 if not.
    grains: usize,
}

impl Size {
    /// Of something that is not empty.
    pub(crate) const fn of<C>() -> Self {
        let layout = Layout::new::<C>();
        let grains = layout.size().div_ceil(GRAIN);
        // A sanitizer sees what is used after its end only if nothing of ours keeps the memory.
        let is_cut = !cfg!(aionursery_sanitized) && grains <= LARGEST && layout.align() <= GRAIN;
        Self { layout, grains: if is_cut { grains } else { 0 } }
    }

    #[inline]
    fn index(&self) -> Option<usize> {
        self.grains.checked_sub(1)
    }
}

#[inline]
pub(super) fn take(size: &Size) -> NonNull<u8> {
    match size.index() {
        Some(index) => PIECES.with(|all| all[index].take(size.grains * GRAIN)),
        None => allocate(size.layout),
    }
}

#[cold]
fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout is not empty.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
/// It was taken for this size, and is used no more.
#[inline]
pub(super) unsafe fn give(memory: NonNull<u8>, size: &Size) {
    let Some(index) = size.index() else {
        // SAFETY: as the caller promises.
        return unsafe { dealloc(memory.as_ptr(), size.layout) };
    };
    // SAFETY: as the caller promises.
    let keep = || PIECES.with(|all| unsafe { all[index].keep(memory) });
    if !(keep() || begins_to_keep() && keep()) {
        // SAFETY: as the caller promises.
        unsafe { drop_pieces(memory.as_ptr(), 1) };
    }
}
