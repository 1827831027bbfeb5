//! The memory of one nursery's children: blocks of slots of one size, so that a child that starts
//! takes the place of one that has ended, and no allocator is asked. It must never touch what lies
//! in a slot that is taken.
//!
//! While the nursery is driven, only its driver's thread takes slots and puts them back; a thread that
//! frees a task elsewhere hands its slot to the driver (`Ready::returned`). Once the driver is gone
//! each block counts the slots that are still out, and the last one frees it. A block holds a count
//! of its list, so the list is there as long as one of its tasks is. What is too large for a slot,
//! or starts elsewhere, has a block for itself.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::ptr::{self, NonNull};

use super::blocks::{self, Grain, SIZES};
use super::{Header, Share};
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// No slot is larger; what is, has an allocation of its own.
const LARGEST: usize = 2048;
/// Slots differ in size by this much, and are aligned to it.
const GRAIN: usize = size_of::<Grain>();
/// The class of a block that holds one task and belongs to no list.
const ALONE: u32 = u32::MAX;

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
    stride: u32,
    /// Those with a free slot, in a list.
    open: *mut Block,
    /// How large its next block is: a place in `SIZES`.
    next: usize,
}

/// The head of a block; its slots follow. All but `own` and `late` stays as it was made, and may be
/// read by the owner of any of its tasks.
#[repr(C, align(16))]
pub(crate) struct Block {
    list: Share,
    memory: Layout,
    stride: u32,
    class: u32,
    own: Own,
    /// Put back after the driver had gone; from then on without those that were taken.
    late: AtomicUsize,
}

/// What only the driver touches.
struct Own {
    /// Slots that can be taken. While there is none, the block is not open.
    free: *mut Header,
    /// How many are taken, but for those that were put back late.
    taken: u32,
    /// Its place in the list of all blocks.
    place: u32,
    /// The list of open ones.
    next: *mut Block,
    before: *mut Block,
}

impl Block {
    /// What its tasks wake.
    ///
    /// # Safety
    /// The caller has one of the block's tasks, or its memory; the alias is not used for longer
    /// than the list is there.
    #[inline]
    pub(crate) unsafe fn list(block: NonNull<Self>) -> ManuallyDrop<Share> {
        // SAFETY: as the caller promises. The driver may be writing to the block's own part at this
        // moment, so no reference to the whole is made.
        let list = unsafe { &(*block.as_ptr()).list };
        // SAFETY: the alias is not used for longer than the list is there, as the caller promises.
        unsafe { list.alias() }
    }

    /// A block for one task, where there are no slots to take from.
    pub(crate) fn alone(list: &Share, task: Layout) -> (NonNull<Header>, NonNull<Self>) {
        let (memory, offset) = Layout::new::<Self>().extend(task).expect("a future has its size");
        // SAFETY: the layout is not empty.
        let Some(block) = NonNull::new(unsafe { alloc(memory) }) else {
            handle_alloc_error(memory)
        };
        let block = block.cast::<Self>();
        // SAFETY: fresh memory, large enough and aligned for the head.
        unsafe { block.write(Self::new(list, memory, 0, ALONE)) };
        // SAFETY: the task lies behind it, in the same memory.
        (unsafe { block.byte_add(offset) }.cast(), block)
    }

    fn new(list: &Share, memory: Layout, stride: u32, class: u32) -> Self {
        let (next, before) = (ptr::null_mut(), ptr::null_mut());
        let own = Own { free: ptr::null_mut(), taken: 0, place: 0, next, before };
        Self { list: list.clone(), memory, stride, class, own, late: AtomicUsize::new(0) }
    }
}

/// # Safety
/// The block is alive, this thread is the one that drives, or has the seat, and no other reference
/// to this part is in use.
#[inline]
unsafe fn own<'a>(block: NonNull<Block>) -> &'a mut Own {
    // SAFETY: as the caller promises.
    unsafe { &mut (*block.as_ptr()).own }
}

/// The distance between two slots for something of this layout, if it can lie in one.
pub(crate) const fn stride(task: Layout) -> Option<u32> {
    let stride = task.size().next_multiple_of(GRAIN);
    if stride <= LARGEST && task.align() <= GRAIN { Some(stride as u32) } else { None }
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
        stride: u32,
    ) -> (NonNull<Header>, NonNull<Block>) {
        // SAFETY: only the thread that drives comes here, and nothing below runs code that could come
        // here again: it counts, links, and asks the allocator.
        let inner = unsafe { &mut *self.0.get() };
        let open = match NonNull::new(inner.recent) {
            // SAFETY: a block that is open is alive.
            Some(block) if unsafe { (*block.as_ptr()).stride } == stride => block,
            _ => inner.open(ready, stride),
        };
        // SAFETY: as above; this thread drives.
        let own = unsafe { own(open) };
        // SAFETY: an open block has a free slot.
        let slot = unsafe { NonNull::new_unchecked(own.free) };
        // SAFETY: a free slot has a link.
        own.free = unsafe { (*link(slot)).load(Ordering::Relaxed) };
        own.taken += 1;
        if own.free.is_null() {
            inner.unlink(open);
        }
        (slot, open)
    }

    /// # Safety
    /// `slot` was taken here and is used no more; its header's `next` and `block` can still be
    /// read. This thread drives, or has the seat.
    #[inline]
    pub(crate) unsafe fn put(&self, slot: NonNull<Header>) {
        // SAFETY: only the thread that drives comes here, or the owner of the seat, and as in `take`
        // nothing below comes here again: a block that goes gives a count of its list back, which
        // is not the last, for the caller's is there.
        let inner = unsafe { &mut *self.0.get() };
        // SAFETY: as the caller promises; a slot that is taken keeps its block.
        let at = unsafe { block_of(slot) };
        // SAFETY: as above; this thread drives.
        let own = unsafe { own(at) };
        // SAFETY: as the caller promises.
        unsafe { (*link(slot)).store(own.free, Ordering::Relaxed) };
        let was_full = own.free.is_null();
        own.free = slot.as_ptr();
        own.taken -= 1;
        let unused = own.taken == 0;
        if was_full {
            inner.link(at);
        }
        if unused {
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
            let taken = unsafe { own(block) }.taken as usize;
            // SAFETY: as above; from here on it may be freed elsewhere.
            let late = unsafe { &(*block.as_ptr()).late };
            if late.fetch_sub(taken, Ordering::AcqRel) == taken {
                // SAFETY: all that were taken are back.
                unsafe { free(block) };
            }
        }
    }

    /// A slot comes back that the driver no longer waits for.
    ///
    /// # Safety
    /// `slot` lies in a block, is used no more, and was not put back; its driver is gone.
    pub(crate) unsafe fn put_late(slot: NonNull<Header>) {
        // SAFETY: as the caller promises; a slot that is taken keeps its block.
        let block = unsafe { block_of(slot) };
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
    fn open(&mut self, ready: &Share, stride: u32) -> NonNull<Block> {
        let class = self.classes.iter().position(|class| class.stride == stride);
        let class = class.unwrap_or_else(|| {
            let fits = |size: &usize| size_of::<Block>() + 2 * stride as usize <= *size;
            let next = SIZES.iter().position(fits).expect("two of the largest slots fit");
            self.classes.push(Class { stride, open: ptr::null_mut(), next });
            self.classes.len() - 1
        });
        let open = NonNull::new(self.classes[class].open);
        let open = open.unwrap_or_else(|| self.grow(ready, class));
        self.recent = open.as_ptr();
        open
    }

    fn grow(&mut self, ready: &Share, class: usize) -> NonNull<Block> {
        let Class { stride, next: size, .. } = self.classes[class];
        self.classes[class].next = (size + 1).min(SIZES.len() - 1);
        let fresh = Box::leak(blocks::take(SIZES[size]));
        let memory = Layout::for_value(fresh);
        let block = NonNull::from(fresh).cast::<Block>();
        let mut head = Block::new(ready, memory, stride, class as u32);
        let slots = (memory.size() - size_of::<Block>()) / stride as usize;
        for slot in (0..slots).rev() {
            let before = size_of::<Block>() + slot * stride as usize;
            // SAFETY: the slot lies in the block's memory, behind its head.
            let slot = unsafe { block.byte_add(before) }.cast::<Header>();
            // SAFETY: that memory belongs to this list, and the slot is aligned in it.
            unsafe { link(slot).write(AtomicPtr::new(head.own.free)) };
            head.own.free = slot.as_ptr();
        }
        head.own.place = self.blocks.len() as u32;
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
        let open = &mut self.classes[unsafe { (*at.as_ptr()).class } as usize].open;
        if let Some(next) = NonNull::new(*open) {
            // SAFETY: as above.
            unsafe { own(next) }.before = at.as_ptr();
        }
        // SAFETY: as above; the other reference is gone.
        unsafe { own(at) }.next = *open;
        *open = at.as_ptr();
    }

    /// It has no free slot any more, or goes.
    #[cold]
    fn unlink(&mut self, at: NonNull<Block>) {
        // SAFETY: as in `link`; so are those below, one after the other.
        let part = unsafe { own(at) };
        let next = mem::replace(&mut part.next, ptr::null_mut());
        let before = mem::replace(&mut part.before, ptr::null_mut());
        if let Some(before) = NonNull::new(before) {
            // SAFETY: as above.
            unsafe { own(before) }.next = next;
        } else {
            // SAFETY: as above.
            let class = unsafe { (*at.as_ptr()).class };
            self.classes[class as usize].open = next;
        }
        if let Some(next) = NonNull::new(next) {
            // SAFETY: as above.
            unsafe { own(next) }.before = before;
        }
        if self.recent == at.as_ptr() {
            self.recent = ptr::null_mut();
        }
    }

    /// None of its slots is taken: its memory goes, unless it is the only one that is open.
    #[cold]
    fn retire(&mut self, at: NonNull<Block>) {
        // SAFETY: as in `link`.
        let Own { next, before, place, .. } = *unsafe { own(at) };
        if next.is_null() && before.is_null() {
            return;
        }
        self.unlink(at);
        self.blocks.swap_remove(place as usize);
        if let Some(moved) = self.blocks.get(place as usize) {
            // SAFETY: as in `link`.
            unsafe { own(*moved) }.place = place;
        }
        // SAFETY: none of its slots is taken, and nothing points to it.
        unsafe { free(at) };
    }
}

/// Which block a slot lies in.
///
/// # Safety
/// It is taken, or was and is on its way back: of its header this much is still there.
unsafe fn block_of(slot: NonNull<Header>) -> NonNull<Block> {
    // SAFETY: only an address is computed: the rest may be gone, so there is no reference to the whole.
    let block = unsafe { &raw const (*slot.as_ptr()).block };
    // SAFETY: as the caller promises.
    unsafe { block.read() }
}

/// The link in a slot's header.
fn link(slot: NonNull<Header>) -> *mut AtomicPtr<Header> {
    // SAFETY: only an address is computed, within the slot.
    unsafe { &raw mut (*slot.as_ptr()).next }
}

/// A task has ended that had a block for itself.
///
/// # Safety
/// The task is used no more.
#[cold]
unsafe fn free_alone(block: NonNull<Block>) {
    // SAFETY: as the caller promises.
    let head = unsafe { block.read() };
    // SAFETY: it was allocated with this layout. The count of its list goes last: the list may be
    // what knows the block.
    unsafe { dealloc(block.as_ptr().cast(), head.memory) };
}

/// # Safety
/// No slot of it is taken, and no pointer to it is left.
unsafe fn free(block: NonNull<Block>) {
    // SAFETY: as the caller promises.
    let head = unsafe { block.read() };
    let grains = head.memory.size() / size_of::<Grain>();
    let memory = ptr::slice_from_raw_parts_mut(block.as_ptr().cast::<MaybeUninit<Grain>>(), grains);
    // SAFETY: it was leaked with this length. The count of its list goes last, as above.
    blocks::give(unsafe { Box::from_raw(memory) });
}

/// The memory of a task that is used no more goes where it came from.
///
/// # Safety
/// `slot` lies in a block, and only `next` and `block` of its header are still there.
#[inline]
pub(crate) unsafe fn give_back(slot: NonNull<Header>) {
    // SAFETY: as the caller promises.
    let block = unsafe { block_of(slot) };
    // SAFETY: a slot that is taken keeps its block.
    if unsafe { (*block.as_ptr()).class } == ALONE {
        // SAFETY: the one task of it is used no more.
        unsafe { free_alone(block) };
    } else {
        // SAFETY: a block keeps its list, and the alias is used for this call only.
        let list = unsafe { Block::list(block) };
        // SAFETY: as the caller promises.
        unsafe { list.give_back(slot) };
    }
}
