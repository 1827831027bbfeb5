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
    /// The search for one that waits goes on here.
    from: usize,
    /// How often the owner has asked since something was seen to get on.
    asked: u8,
    heard: Arc<Heard>,
}

/// So often nothing gets on before the owner goes: it asks before each poll, and after it.
const PATIENCE: u8 = 2;

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
    /// How often its future has been polled while it is held, as far as was seen.
    turns: usize,
    /// It knows that it has nothing to wait for.
    is_told: bool,
    bell: Arc<Bell>,
    waiter: Arc<Waiter>,
}

/// How a nursery that is to end was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It waits for its time to clean up, or for children that end by themselves.
    Waiting,
    /// It can end, and was polled since the last look.
    Turned,
    /// It can end, and was not.
    Still,
    Ended,
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
        Self { all: BTreeMap::new(), next: 0, from: 0, asked: 0, heard }
    }

    pub(super) fn add(&mut self, scope: Weak<Scope>) {
        let number = self.next;
        self.next += 1;
        let bell = Bell { number, has_rung: AtomicBool::new(false), heard: self.heard.clone() };
        let (bell, waiter) = (Arc::new(bell), Arc::new(Waiter::new()));
        let timer = Timer::new();
        let joining = Joining { scope, timer, turns: 0, is_told: false, bell, waiter };
        self.all.insert(number, joining);
        lock(&self.heard.numbers).push(number);
    }

    /// Whether one of them has something to wait for, or is getting on: then the owner is woken when that may have
    /// changed. What can end gives its errors back where its future is still polled (R7). `holds`: something else
    /// stands in the future, for which these may wait.
    pub(super) fn stand(&mut self, holds: bool) -> bool {
        let heard = std::mem::take(&mut *lock(&self.heard.numbers));
        let (mut waits, mut gets_on) = (holds, false);
        for number in heard {
            match self.look_at(number) {
                Found::Waiting => (self.from, waits) = (number, true),
                found => gets_on |= found != Found::Still,
            }
        }
        // One that has nothing to wait for may have it again: all are asked before none does.
        for _ in 0..self.all.len() {
            if waits {
                break;
            }
            let from = self.all.range(self.from..).next().or_else(|| self.all.first_key_value());
            let Some((&number, _)) = from else { break };
            self.from = number;
            match self.look_at(number) {
                Found::Waiting => waits = true,
                found => {
                    gets_on |= found != Found::Still;
                    self.from += 1;
                }
            }
        }
        if waits || gets_on {
            self.asked = 0;
        }
        if waits || self.all.is_empty() {
            return waits;
        }
        self.asked = self.asked.saturating_add(1);
        let has_turn = self.asked <= PATIENCE;
        if has_turn {
            self.heard.owner.wake();
        }
        has_turn
    }

    fn look_at(&mut self, number: usize) -> Found {
        let Some(joining) = self.all.get_mut(&number) else { return Found::Still };
        let found = joining.look();
        if found == Found::Ended {
            self.all.remove(&number);
        }
        found
    }
}

impl Joining {
    fn look(&mut self) -> Found {
        let waker = Waker::from(self.bell.clone());
        // What changes from here on rings again.
        self.bell.has_rung.store(false, Ordering::Release);
        self.waiter.register(&waker);
        let scope = match self.scope.upgrade() {
            Some(scope) if !scope.is_over() => scope,
            _ => return Found::Ended,
        };
        scope.take_along();
        scope.signal.add_holder(&self.waiter);
        while !scope.is_hard() || scope.has_tasks() {
            if !self.timer.poll(&scope, &mut Context::from_waker(&waker)) {
                self.is_told = false;
                return Found::Waiting;
            }
        }
        if !std::mem::replace(&mut self.is_told, true) {
            // The last child may be about to: it has counted itself out before.
            scope.signal.owner.notify_driver();
        }
        match scope.turns() {
            turns if turns == self.turns => Found::Still,
            turns => {
                self.turns = turns;
                Found::Turned
            }
        }
    }
}
