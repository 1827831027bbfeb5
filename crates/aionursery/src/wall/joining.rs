//! The nurseries that are to end before the future that they stand in is dropped. What has not told of a change is
//! not looked at again: so of many that end one after another, each costs the same. It must never take one for
//! ended without a look.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};

use crate::scope::{Scope, Waiter};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};
use crate::timer::Timer;

pub(super) struct Nurseries {
    /// By number, in the order in which they were added.
    all: BTreeMap<usize, Joining>,
    next: usize,
    /// The search for one that stands goes on here.
    from: usize,
    heard: Arc<Heard>,
}

/// Those that have told of a change since they were last looked at.
struct Heard {
    numbers: Mutex<Vec<usize>>,
    /// Looks at them then.
    owner: Arc<Waiter>,
}

struct Joining {
    scope: Weak<Scope>,
    /// Looks at the clock for it: its own future may not be polled any more.
    timer: Timer,
    /// How often its owner has asked since its last child has ended.
    asked: u8,
    bell: Arc<Bell>,
    waiter: Arc<Waiter>,
}

/// Rings when something has changed for a nursery, once until that is looked at.
struct Bell {
    number: usize,
    has_rung: AtomicBool,
    heard: Arc<Heard>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.has_rung.swap(true, Ordering::AcqRel) {
            lock(&self.heard.numbers).push(self.number);
            self.heard.owner.wake();
        }
    }
}

impl Nurseries {
    /// `owner` is told of what changes for them.
    pub(super) fn new(owner: Arc<Waiter>) -> Self {
        let heard = Arc::new(Heard { numbers: Mutex::default(), owner });
        Self { all: BTreeMap::new(), next: 0, from: 0, heard }
    }

    pub(super) fn add(&mut self, scope: Weak<Scope>) {
        let number = self.next;
        self.next += 1;
        let bell = Bell { number, has_rung: AtomicBool::new(false), heard: self.heard.clone() };
        let (bell, waiter) = (Arc::new(bell), Arc::new(Waiter::new()));
        let joining = Joining { scope, timer: Timer::new(), asked: 0, bell, waiter };
        self.all.insert(number, joining);
        lock(&self.heard.numbers).push(number);
    }

    /// Whether one of them has something to wait for: then the owner is woken when that may have changed.
    pub(super) fn stand(&mut self) -> bool {
        let heard = std::mem::take(&mut *lock(&self.heard.numbers));
        let mut stands = false;
        for number in heard {
            if self.look_at(number) {
                self.from = number;
                stands = true;
            }
        }
        if stands {
            return true;
        }
        // One that has nothing to wait for may have it again: all are asked before the answer is `false`.
        for _ in 0..self.all.len() {
            let from = self.all.range(self.from..).next().or_else(|| self.all.first_key_value());
            let Some((&number, _)) = from else { break };
            self.from = number;
            if self.look_at(number) {
                return true;
            }
            self.from += 1;
        }
        false
    }

    /// Whether it has something to wait for. One that has ended goes.
    fn look_at(&mut self, number: usize) -> bool {
        let joins = self.all.get_mut(&number).and_then(Joining::joins);
        if joins.is_none() {
            self.all.remove(&number);
        }
        joins == Some(true)
    }
}

impl Joining {
    /// Whether it has something to wait for: time to clean up, or children that end by themselves.
    /// `None` if it has ended. The other children end with the future that they stand in.
    fn joins(&mut self) -> Option<bool> {
        let waker = Waker::from(self.bell.clone());
        // What changes from here on rings again.
        self.bell.has_rung.store(false, Ordering::Release);
        self.waiter.register(&waker);
        let scope = self.scope.upgrade().filter(|scope| !scope.is_over())?;
        scope.take_along();
        scope.signal.add_holder(&self.waiter);
        while !scope.is_hard() || scope.has_tasks() {
            if !self.timer.poll(&scope, &mut Context::from_waker(&waker)) {
                self.asked = 0;
                return Some(true);
            }
        }
        // If its future is still polled, it gives its errors back there (R7): an owner asks before
        // each poll, and after it.
        self.asked = self.asked.saturating_add(1);
        let has_turn = self.asked <= 2;
        if has_turn {
            waker.wake_by_ref();
        }
        Some(has_turn)
    }
}
