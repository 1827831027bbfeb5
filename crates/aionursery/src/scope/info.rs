//! What a scope says of itself in a dump: its name, the place where it was opened,
//! how far its nursery is, and the children that it has noted. It must never be asked for a
//! decision; what it says of a running program may be old when it is read.

#[expect(unsafe_code, reason = "it reads what lives as long as the program")]
mod place;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::sync::plain;
pub(crate) use place::OpenedAt;
use place::Place;

/// What kind of scope it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nursery,
    Scope,
    /// Made for a shielded child, and shown as a part of it.
    Wall,
    /// As that, for a function on a thread of its own, where nothing of ours polls.
    Thread,
}

/// How far a nursery is, or a scope: that is open or closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    Joining,
    Closed,
    /// Its future is gone; spawned children may still end.
    Dropped,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Open, Self::Joining, Self::Closed, Self::Dropped];
}

pub(crate) struct Info {
    pub(crate) kind: Kind,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) place: Place,
    /// The noted child that opened it.
    pub(crate) opener: Option<Arc<ChildRecord>>,
    stage: AtomicU8,
    records: Mutex<BTreeMap<u64, Arc<ChildRecord>>>,
}

impl Info {
    pub(crate) fn new(kind: Kind, name: Option<Arc<str>>, place: OpenedAt) -> Self {
        Self::opened_by(current(), kind, name, place)
    }

    /// The wall of a shielded child.
    pub(crate) fn wall(of: Option<Arc<ChildRecord>>) -> Self {
        Self::opened_by(of, Kind::Wall, None, None)
    }

    /// The wall of a function on a thread of its own.
    #[cfg(feature = "tokio")]
    pub(crate) fn thread(of: Option<Arc<ChildRecord>>) -> Self {
        Self::opened_by(of, Kind::Thread, None, None)
    }

    fn opened_by(
        opener: Option<Arc<ChildRecord>>,
        kind: Kind,
        name: Option<Arc<str>>,
        place: OpenedAt,
    ) -> Self {
        Self {
            kind,
            name,
            place: Place::new(place),
            opener,
            stage: AtomicU8::new(0),
            records: Mutex::default(),
        }
    }

    /// Another nursery has it now.
    pub(super) fn open_again(&self, place: OpenedAt) {
        self.place.set(place);
        self.set_stage(Stage::Open);
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    pub(crate) fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Ordering::Relaxed))]
    }

    /// Notes a child.
    pub(crate) fn record(
        &self,
        name: Option<Arc<str>>,
        shield: bool,
        runs: Runs,
        place: OpenedAt,
    ) -> Arc<ChildRecord> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let (id, begun) = (AtomicU32::new(0), AtomicBool::new(false));
        let record = Arc::new(ChildRecord { serial, name, place, runs, shield, id, begun });
        plain(&self.records).insert(serial, record.clone());
        record
    }

    /// A noted child is gone.
    pub(crate) fn forget(&self, record: &ChildRecord) {
        let gone = plain(&self.records).remove(&record.serial);
        drop(gone);
    }

    /// The noted children, in the order of starting.
    pub(crate) fn records(&self) -> Vec<Arc<ChildRecord>> {
        plain(&self.records).values().cloned().collect()
    }
}

/// How a child runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    Here,
    #[cfg(feature = "tokio")]
    Spawned,
    #[cfg(feature = "tokio")]
    Blocking,
}

/// One child that is noted.
pub(crate) struct ChildRecord {
    pub(crate) serial: u64,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) place: OpenedAt,
    pub(crate) runs: Runs,
    pub(crate) shield: bool,
    id: AtomicU32,
    begun: AtomicBool,
}

impl ChildRecord {
    /// Its number in its nursery; 0 for a moment, while it is started.
    pub(crate) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    pub(crate) fn set_id(&self, id: u32) {
        self.id.store(id, Ordering::Relaxed);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// It is being polled, until what this returns is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        self.begun.store(true, Ordering::Relaxed);
        Entered(CURRENT.try_with(|current| current.replace(Some(self.clone()))).ok().flatten())
    }
}

static RECORDS: AtomicBool = AtomicBool::new(false);

/// Nurseries that open from now on note every child when it starts, so that a
/// [`dump`](crate::dump::dump) shows it: its number, the place where it was started, and whether it has
/// begun. Without this a dump shows the children that have a name, and how many others there are.
///
/// ```
/// aionursery::dump::record_children();
/// ```
pub fn record_children() {
    RECORDS.store(true, Ordering::Relaxed);
}

/// Whether a nursery that opens now notes children without a name, too.
pub(crate) fn records() -> bool {
    RECORDS.load(Ordering::Relaxed)
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<ChildRecord>>> = const { RefCell::new(None) };
}

/// The noted child that is being polled; what it opens is shown below it.
fn current() -> Option<Arc<ChildRecord>> {
    // A thread that is ending has none.
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// What was being polled before.
pub(crate) struct Entered(Option<Arc<ChildRecord>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}
