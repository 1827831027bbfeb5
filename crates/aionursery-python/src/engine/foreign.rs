//! The tasks at a loop that are not ours and host scopes: which they are, and whether they join. It
//! must never ask one for anything.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::cpython::owned::Owned;
use nursery_core::MemberId;

/// Foreign hosts by their address.
pub(crate) type Hosts = HashMap<usize, Host, BuildHasherDefault<ByAddress>>;

/// Addresses need no more than their bits spread.
#[derive(Debug, Default)]
pub(crate) struct ByAddress(u64);

impl Hasher for ByAddress {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
}

/// A foreign task that hosts scopes.
#[derive(Debug)]
pub(crate) struct Host {
    /// The tree's reference, which the state shows the collector with the tree's keys.
    pub task: Owned,
    pub member: MemberId,
    /// It joins a nursery's children.
    pub joining: Cell<bool>,
}
