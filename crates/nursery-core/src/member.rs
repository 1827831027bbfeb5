//! One task's place in the tree: which nursery it is a child of and which scope it stands in. It must never
//! change by itself: only [`Tree`](crate::Tree) changes it.

use crate::scope::Charge;
use crate::slab::NONE;

/// A task in a tree, valid until it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberId(pub(crate) u32);

#[derive(Clone, Debug)]
pub(crate) struct Member<K> {
    pub(crate) key: K,
    /// The nursery it is a child of.
    pub(crate) nursery: u32,
    pub(crate) next: u32,
    pub(crate) prev: u32,
    /// The scope it was started in, and the innermost one it has entered since.
    pub(crate) base: u32,
    pub(crate) scope: u32,
    /// What it owes to the scopes above its base.
    pub(crate) charge: Charge,
    /// How many cancellations of scopes it has heard of.
    pub(crate) heard: u32,
    /// All it owes: the part of its count of cancellations that the tree has caused.
    pub(crate) charges: u32,
    /// A cancellation waits to be thrown at its next step or await.
    pub(crate) pending: bool,
    /// ... because its budget was spent at that moment (R18): that holds until it is thrown, or
    /// until the budget is changed to a later one.
    pub(crate) insisted_at: Option<f64>,
    /// How often that was so since it last entered or left a scope.
    pub(crate) insisted_times: u32,
    /// The scope in which an error is on its way that has overtaken a cancellation from above.
    pub(crate) overtaken: u32,
    /// Since when it can hear of what lies above it: its first step, or the end of the last shield
    /// that it has left (R18).
    pub(crate) hears_since: f64,
    /// It ends after the body and the other children of its nursery.
    pub(crate) service: bool,
    /// It has been named as what leaves a nursery in the host's place.
    pub(crate) succeeds: bool,
    /// A redelivery counts: the task is not of the face's own kind and counts for itself.
    pub(crate) foreign: bool,
}

impl<K> Member<K> {
    pub(crate) fn new(key: K, nursery: u32, base: u32, foreign: bool) -> Self {
        Self {
            key,
            nursery,
            next: NONE,
            prev: NONE,
            base,
            scope: base,
            charge: Charge::default(),
            heard: 0,
            charges: 0,
            pending: false,
            insisted_at: None,
            insisted_times: 0,
            overtaken: NONE,
            hears_since: f64::NEG_INFINITY,
            service: false,
            succeeds: false,
            foreign,
        }
    }
}
