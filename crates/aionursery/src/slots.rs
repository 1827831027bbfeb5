//! The memory of one nursery's in-task children: blocks of slots of one size, so that a child that
//! starts takes the place of one that has ended, and no allocator is asked. It must never touch
//! what lies in a slot that is taken.
//!
//! While the nursery is driven, only its driver's thread takes slots and puts them back; whoever
//! frees a task elsewhere hands its slot to the driver (`Ready::returned`). Once the driver is gone
//! each block counts the slots that are still out, and the last one frees it. A block holds a count
//! of its list, so the list is there as long as one of its tasks is.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};

use crate::ready::Share;
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::task::Header;

/// No slot is larger; what is, has an allocation of its own.
const LARGEST: usize = 2048;
/// Slots differ in size by this much.
const GRAIN: usize = 32;
/// What a slot is aligned to.
const ALIGN: usize = 16;
/// How many slots the first block of a size has; each further one has twice as many,
const FEWEST: u32 = 4;
/// up to so many,
const MOST: u32 = 64;
/// in so many bytes.
const BYTES: usize = 8192;

/// Slots of one list's tasks.
pub(crate) struct Slots(UnsafeCell<Inner>);

struct Inner {
    /// The open block that a slot was last taken from, or null.
    recent: *mut Block,
    classes: Vec<Class>,
    blocks: Vec<NonNull<Block>>,
}

/// Blocks with slots of one size.
struct Class {
    stride: usize,
    /// Those with a free slot, in a list.
    open: *mut Block,
    /// How many slots its next block has.
    next: u32,
}

/// The head of a block; its slots follow.
#[repr(C, align(16))]
pub(crate) struct Block {
    _list: Share,
    stride: usize,
    class: usize,
    /// Its place in the list of all blocks.
    place: usize,
    capacity: u32,
    /// How many are taken, but for those that were put back late.
    taken: u32,
    /// The list of open ones.
    next: *mut Block,
    before: *mut Block,
    /// Slots that can be taken. While there is none, the block is not open.
    free: *mut Header,
    /// Put back after the driver had gone; from then on without those that were taken.
    late: AtomicUsize,
}

impl Block {
    fn layout(stride: usize, capacity: u32) -> Layout {
        let size = size_of::<Self>() + stride * capacity as usize;
        Layout::from_size_align(size, align_of::<Self>()).expect("blocks are small")
    }
}

/// The distance between two slots for something of this layout, if it can lie in one.
pub(crate) const fn stride(layout: Layout) -> Option<usize> {
    let stride = layout.size().next_multiple_of(GRAIN);
    if stride <= LARGEST && layout.align() <= ALIGN { Some(stride) } else { None }
}

impl Slots {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Inner {
            recent: ptr::null_mut(),
            classes: Vec::new(),
            blocks: Vec::new(),
        }))
    }

    /// A slot and its block.
    ///
    /// # Safety
    /// This thread drives the nursery, whose list `ready` and these slots are; `stride` is
    /// [`stride`]'s.
    #[inline]
    pub(crate) unsafe fn take(
        &self,
        ready: &Share,
        stride: usize,
    ) -> (NonNull<Header>, NonNull<Block>) {
        // SAFETY: only the thread that drives comes here, and nothing below calls anybody.
        let inner = unsafe { &mut *self.0.get() };
        // SAFETY: a block that is open is alive, and it is the driver's.
        let open = match unsafe { inner.recent.as_mut() } {
            Some(block) if block.stride == stride => NonNull::from(block),
            _ => inner.open(ready, stride),
        };
        // SAFETY: as above.
        let block = unsafe { &mut *open.as_ptr() };
        // SAFETY: an open block has a free slot.
        let slot = unsafe { NonNull::new_unchecked(block.free) };
        // SAFETY: a free slot has a link.
        block.free = unsafe { (*link(slot)).load(Ordering::Relaxed) };
        block.taken += 1;
        if block.free.is_null() {
            inner.unlink(open);
        }
        (slot, open)
    }

    /// # Safety
    /// `slot` was taken here and is used by nobody; its header's `next` and `block` can still be
    /// read. This thread drives, or has the seat.
    #[inline]
    pub(crate) unsafe fn put(&self, slot: NonNull<Header>) {
        // SAFETY: only the thread that drives comes here, and nothing below calls anybody.
        let inner = unsafe { &mut *self.0.get() };
        // SAFETY: as the caller promises; a slot that is taken keeps its block.
        let at = unsafe { slot.as_ref().block() };
        // SAFETY: as above; the head of the block is the driver's.
        let block = unsafe { &mut *at.as_ptr() };
        // SAFETY: as the caller promises.
        unsafe { (*link(slot)).store(block.free, Ordering::Relaxed) };
        let was_full = block.free.is_null();
        block.free = slot.as_ptr();
        block.taken -= 1;
        if was_full {
            inner.link(at);
        }
        if block.taken == 0 {
            inner.retire(at);
        }
    }

    /// The driver is gone: from here on blocks count for themselves.
    ///
    /// # Safety
    /// The caller has the seat; nothing is taken or put here afterwards.
    pub(crate) unsafe fn close(&self) {
        // SAFETY: as the caller promises.
        let inner = unsafe { &mut *self.0.get() };
        inner.classes = Vec::new();
        inner.recent = ptr::null_mut();
        for block in std::mem::take(&mut inner.blocks) {
            // SAFETY: every block in the list is alive, and until here the driver's.
            let taken = unsafe { block.as_ref().taken } as usize;
            // SAFETY: as above; from here on it may be freed elsewhere.
            let late = unsafe { &block.as_ref().late };
            if late.fetch_sub(taken, Ordering::AcqRel) == taken {
                // SAFETY: all that were taken are back.
                unsafe { free(block) };
            }
        }
    }

    /// A slot comes back that the driver no longer waits for.
    ///
    /// # Safety
    /// `slot` lies in a block, is used by nobody, and was not put back; its driver is gone.
    pub(crate) unsafe fn put_late(slot: NonNull<Header>) {
        // SAFETY: as the caller promises; a slot that is taken keeps its block.
        let block = unsafe { slot.as_ref().block() };
        // SAFETY: as above; only the atomic part is touched.
        let late = unsafe { &(*block.as_ptr()).late };
        if late.fetch_add(1, Ordering::AcqRel) == usize::MAX {
            // SAFETY: that was the last one, and the driver had counted.
            unsafe { free(block) };
        }
    }
}

impl Inner {
    /// An open block of this size, which is then the recent one.
    #[cold]
    fn open(&mut self, ready: &Share, stride: usize) -> NonNull<Block> {
        let class = self.classes.iter().position(|class| class.stride == stride);
        let class = class.unwrap_or_else(|| {
            let next = (BYTES / stride).clamp(1, FEWEST as usize) as u32;
            self.classes.push(Class { stride, open: ptr::null_mut(), next });
            self.classes.len() - 1
        });
        let open = NonNull::new(self.classes[class].open);
        let open = open.unwrap_or_else(|| self.grow(ready, class));
        self.recent = open.as_ptr();
        open
    }

    fn grow(&mut self, ready: &Share, class: usize) -> NonNull<Block> {
        let Class { stride, next: capacity, .. } = self.classes[class];
        let most = (BYTES / stride).clamp(1, MOST as usize) as u32;
        self.classes[class].next = most.min(capacity * 2);
        let layout = Block::layout(stride, capacity);
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc(layout) };
        let Some(block) = NonNull::new(memory.cast::<Block>()) else { handle_alloc_error(layout) };
        let mut free = ptr::null_mut();
        for slot in (0..capacity as usize).rev() {
            // SAFETY: the slot lies in the block's memory, which is fresh and aligned.
            unsafe {
                let slot = block.add(1).byte_add(slot * stride).cast::<Header>();
                link(slot).write(AtomicPtr::new(free));
                free = slot.as_ptr();
            }
        }
        let (next, before) = (ptr::null_mut(), ptr::null_mut());
        let (place, late) = (self.blocks.len(), AtomicUsize::new(0));
        let _list = ready.clone();
        let head =
            Block { _list, stride, class, place, capacity, taken: 0, next, before, free, late };
        // SAFETY: as above; the head comes before the slots.
        unsafe { block.write(head) };
        self.blocks.push(block);
        self.link(block);
        block
    }

    /// It has a free slot again.
    #[cold]
    fn link(&mut self, at: NonNull<Block>) {
        // SAFETY: blocks in the list of all are alive and the driver's.
        unsafe {
            let open = &mut self.classes[at.as_ref().class].open;
            (*at.as_ptr()).next = *open;
            if let Some(next) = open.as_mut() {
                next.before = at.as_ptr();
            }
            *open = at.as_ptr();
        }
    }

    /// It has no free slot any more, or goes.
    #[cold]
    fn unlink(&mut self, at: NonNull<Block>) {
        // SAFETY: as in `link`.
        unsafe {
            let Block { next, before, class, .. } = *at.as_ptr();
            match before.as_mut() {
                Some(before) => before.next = next,
                None => self.classes[class].open = next,
            }
            if let Some(next) = next.as_mut() {
                next.before = before;
            }
            (*at.as_ptr()).next = ptr::null_mut();
            (*at.as_ptr()).before = ptr::null_mut();
        }
        if self.recent == at.as_ptr() {
            self.recent = ptr::null_mut();
        }
    }

    /// None of its slots is taken: its memory goes, unless it is the only one that is open.
    #[cold]
    fn retire(&mut self, at: NonNull<Block>) {
        // SAFETY: as in `link`.
        let block = unsafe { at.as_ref() };
        if block.next.is_null() && block.before.is_null() {
            return;
        }
        let place = block.place;
        self.unlink(at);
        self.blocks.swap_remove(place);
        if let Some(moved) = self.blocks.get(place) {
            // SAFETY: as in `link`.
            unsafe { (*moved.as_ptr()).place = place };
        }
        // SAFETY: none of its slots is taken, and nothing points to it.
        unsafe { free(at) };
    }
}

/// The link in a slot's header.
fn link(slot: NonNull<Header>) -> *mut AtomicPtr<Header> {
    // SAFETY: only an address is computed, within the slot.
    unsafe { &raw mut (*slot.as_ptr()).next }
}

/// # Safety
/// No slot of it is taken, and nobody knows it any more.
unsafe fn free(block: NonNull<Block>) {
    // SAFETY: as the caller promises.
    let head = unsafe { block.read() };
    // SAFETY: it was allocated with this layout. The count of its list goes last: the list may be
    // what knows the block.
    unsafe { dealloc(block.as_ptr().cast(), Block::layout(head.stride, head.capacity)) };
}
