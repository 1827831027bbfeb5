//! Memory for blocks, of a few sizes. What a nursery leaves behind is kept for the next one on the
//! thread, up to a limit. It must never know what lies in a block.

use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Blocks are made of these, and aligned as they are.
#[repr(align(16))]
pub(crate) struct Grain {
    _bytes: [u8; 16],
}

/// A block's memory, with whatever its last user left in it.
pub(crate) type Memory = Box<[MaybeUninit<Grain>]>;

/// In bytes. The first block of a nursery is small, for there are many with few children.
pub(crate) const SIZES: [usize; 5] = [512, 1024, 2048, 4096, 8192];
/// How many of each size a thread keeps: 248 KiB in all.
const KEPT: usize = 16;

thread_local! {
    static UNUSED: RefCell<[Vec<Memory>; SIZES.len()]> =
        const { RefCell::new([const { Vec::new() }; SIZES.len()]) };
}

pub(crate) fn take(size: usize) -> Memory {
    let list = SIZES.iter().position(|other| *other == size).expect("one of the sizes");
    let kept = UNUSED.try_with(|unused| unused.borrow_mut()[list].pop()).ok().flatten();
    kept.unwrap_or_else(|| Box::new_uninit_slice(size / size_of::<Grain>()))
}

pub(crate) fn give(memory: Memory) {
    let size = size_of_val(&*memory);
    let list = SIZES.iter().position(|other| *other == size).expect("one of the sizes");
    // A thread that ends keeps nothing.
    let _ = UNUSED.try_with(move |unused| {
        let list = &mut unused.borrow_mut()[list];
        if list.len() < KEPT {
            list.push(memory);
        }
    });
}
