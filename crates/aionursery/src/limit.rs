//! How many children of a nursery run at once; the others wait for their first step in the
//! order of their first polls, or are made only when there is a place. It must never hold a place for a child
//! that is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use crate::ignore_panics::ignore_panics;
use crate::scope::{Scope, Waiter};
use crate::sync::{Mutex, lock};

/// The places of one nursery.
pub(crate) struct Gate {
    places: Mutex<Places>,
    /// Woken when the nursery is cancelled.
    told: Arc<Waiter>,
}

/// A place that is left is given to the first that waits: none is free as long as any waits.
struct Places {
    free: usize,
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl Gate {
    /// Of the nursery that has this scope.
    pub(crate) fn new(limit: usize, scope: &Scope) -> Arc<Self> {
        let places = Places { free: limit.max(1), next: 0, waiting: BTreeMap::new() };
        let (places, told) = (Mutex::new(places), scope.signal.add_waiter());
        let gate = Arc::new(Self { places, told });
        gate.told.register(&Waker::from(Arc::new(Tells(Arc::downgrade(&gate)))));
        gate
    }

    /// Whether the child has a place. With a ticket it waits, until it is no longer among those that
    /// do: then it has been given one.
    fn poll_enter(&self, ticket: &mut Option<u64>, waker: &Waker) -> bool {
        // A waker may be the program's code: it is cloned before the lock is taken, and the old one is
        // dropped after it was given back (R29).
        let mut own = waker.clone();
        let places = &mut *lock(&self.places);
        match *ticket {
            Some(ticket) => match places.waiting.get_mut(&ticket) {
                Some(kept) => std::mem::swap(kept, &mut own),
                None => return true,
            },
            None if places.free > 0 => {
                places.free -= 1;
                return true;
            }
            None => {
                places.waiting.insert(places.next, own);
                *ticket = Some(places.next);
                places.next += 1;
            }
        }
        false
    }

    /// What waits is polled once more. Each keeps its turn: what goes on waiting brings its waker again.
    fn wake_all(&self) {
        let wakers: Vec<_> = {
            let places = &mut *lock(&self.places);
            let none = || Waker::noop().clone();
            places.waiting.values_mut().map(|waker| std::mem::replace(waker, none())).collect()
        };
        for waker in wakers {
            ignore_panics(|| waker.wake());
        }
    }

    /// A child is gone, whether it has its place or waits.
    fn leave(&self, entered: bool, ticket: Option<u64>) {
        let (own, heir) = {
            let places = &mut *lock(&self.places);
            let own = ticket.filter(|_| !entered).and_then(|own| places.waiting.remove(&own));
            let had_place = entered || (ticket.is_some() && own.is_none());
            let heir = if had_place { places.waiting.pop_first() } else { None };
            if had_place && heir.is_none() {
                places.free += 1;
            }
            (own, heir)
        };
        ignore_panics(|| drop(own));
        if let Some((_, waker)) = heir {
            // This may be the end of a child that has panicked.
            ignore_panics(|| waker.wake());
        }
    }
}

/// The waker that tells a gate. It is no code that hears, so no budget from above is given for it (R18).
struct Tells(Weak<Gate>);

impl Wake for Tells {
    fn wake(self: Arc<Self>) {
        self.0.upgrade().iter().for_each(|gate| gate.wake_all());
    }
}

/// What a child has in the nursery, or waits for: a place.
pub(crate) struct Place {
    gate: Option<Arc<Gate>>,
    entered: bool,
    ticket: Option<u64>,
}

impl Place {
    pub(crate) fn new(gate: Option<Arc<Gate>>) -> Self {
        Self { gate, entered: false, ticket: None }
    }

    /// Whether it was not there when it was first asked for, and is not yet.
    pub(crate) fn waits(&self) -> bool {
        self.ticket.is_some() && !self.entered
    }

    /// Whether it is there. If not, `waker` is woken when it is.
    pub(crate) fn poll(&mut self, waker: &Waker) -> bool {
        if let Some(gate) = &self.gate
            && !self.entered
        {
            self.entered = gate.poll_enter(&mut self.ticket, waker);
            return self.entered;
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(gate) = &self.gate {
            gate.leave(self.entered, self.ticket);
        }
    }
}
