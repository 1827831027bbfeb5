//! What a future may not be dropped for. To drop a future is to drop whatever is in it: so the owner
//! that is about to drop one because it is cancelled asks first whether a shield stands inside
//! (R12, R19), or a nursery with live children (R27a), and waits until that has ended. A shield and
//! such a nursery raise a wall, once, of which all that are polling at that moment hear, from the
//! inside outwards. It must cost nothing where there is neither, and never hold against what does
//! not ask: a `select!` that loses, an executor (R20, R28).

mod joining;

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};
use std::task::Waker;

use crate::polling;
use crate::scope::{Scope, Waiter};
#[cfg(all(test, aionursery_loom))]
use crate::sync::LocalCell;
use crate::sync::{Mutex, lock, thread_local};
use joining::Nurseries;

thread_local! {
    /// The walls that were raised in the polls that this thread is in, and that all around are yet
    /// to see, each with its number, in the order of those.
    static RAISED: RefCell<Vec<(usize, Wall)>> = const { RefCell::new(Vec::new()) };
    /// The next one's number, without a destructor, which costs each access.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// What holds a future, to those that are around it.
#[derive(Clone)]
enum Wall {
    Shield(Arc<Shield>),
    /// A nursery that has, or had, children that do not end by being dropped.
    Nursery(Weak<Scope>),
}

/// What waits for it to fall; `None` once it has.
struct Shield(Mutex<Option<Vec<Arc<Waiter>>>>);

impl Wall {
    /// It will not stand again.
    fn has_fallen(&self) -> bool {
        match self {
            Self::Shield(shield) => lock(&shield.0).is_none(),
            Self::Nursery(scope) => scope.upgrade().is_none_or(|scope| scope.is_over()),
        }
    }
}

impl Shield {
    /// If it stands, `waiter` is told when it falls.
    fn is_waited_for(&self, waiter: &Arc<Waiter>) {
        if let Some(waiting) = &mut *lock(&self.0) {
            waiter.add_shield();
            waiting.push(waiter.clone());
        }
    }
}

fn raise(wall: Wall) {
    // A thread that is ending has no list left: nothing hears of it, as of a bare drop.
    let _ = RAISED.try_with(|raised| {
        let is_full = {
            let raised = raised.borrow();
            raised.len() == raised.capacity()
        };
        if is_full {
            forget_fallen(raised);
        }
        let number = COUNT.get();
        raised.borrow_mut().push((number, wall));
        COUNT.set(number + 1);
    });
    polling::mark_wall();
}

/// The poll that is to see them may not end for long: it may run a loop in `block_on`.
#[cold]
fn forget_fallen(raised: &RefCell<Vec<(usize, Wall)>>) {
    // What goes with one may raise another.
    let mut walls = raised.take();
    walls.retain(|(_, wall)| !wall.has_fallen());
    let mut raised = raised.borrow_mut();
    walls.append(&mut raised);
    *raised = walls;
}

/// A nursery has children that do not end by being dropped.
pub(crate) fn raise_nursery(scope: &Arc<Scope>) {
    raise(Wall::Nursery(Arc::downgrade(scope)));
}

/// The side of a shield's owner: the wall falls when this is dropped.
pub(crate) struct ShieldGuard(Arc<Shield>);

impl ShieldGuard {
    pub(crate) fn new() -> Self {
        let shield = Arc::new(Shield(Mutex::new(Some(Vec::new()))));
        raise(Wall::Shield(shield.clone()));
        Self(shield)
    }
}

impl Drop for ShieldGuard {
    fn drop(&mut self) {
        let waiting = lock(&self.0.0).take();
        for waiter in waiting.into_iter().flatten() {
            waiter.shield_has_fallen();
        }
    }
}

/// Where the walls begin that will be raised from here on.
#[inline]
pub(crate) fn count() -> usize {
    COUNT.get()
}

/// Whether a nursery is among the walls that were raised since then.
#[inline]
pub(crate) fn has_nursery(since: usize) -> bool {
    let is_nursery = |wall: &Wall| matches!(wall, Wall::Nursery(_));
    count() > since
        && RAISED
            .try_with(|raised| {
                let raised = raised.borrow();
                raised[place_of(&raised, since)..].iter().any(|(_, wall)| is_nursery(wall))
            })
            .unwrap_or(false)
}

/// Where the walls begin that were raised since then.
fn place_of(raised: &[(usize, Wall)], since: usize) -> usize {
    raised.partition_point(|(number, _)| *number < since)
}

/// All around have seen those that were raised since then.
pub(crate) fn forget(since: usize) {
    if count() > since {
        let seen = RAISED.try_with(|raised| {
            let raised = &mut *raised.borrow_mut();
            COUNT.set(since);
            let first = place_of(raised, since);
            // Most often it is one, and that asks no allocator.
            let last = if raised.len() > first { raised.pop() } else { None };
            let others = if raised.len() > first { raised.split_off(first) } else { Vec::new() };
            (last, others)
        });
        drop(seen);
    }
}

/// The walls that stand in one future. Of most in which any stands it is one: that needs no allocation.
#[derive(Default)]
pub(crate) struct WallsInside {
    first: Option<Wall>,
    more: Option<Box<More>>,
}

#[derive(Default)]
struct More {
    /// Those that were not asked about yet, beside the first.
    new: Vec<Wall>,
    /// Those that the owner waits for.
    waited: Option<Waited>,
}

struct Waited {
    waiter: Arc<Waiter>,
    nurseries: Nurseries,
}

impl WallsInside {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_none()
    }

    /// Takes those in that were raised since then, of which what is around is to hear, too.
    pub(crate) fn take_in(&mut self, since: usize) {
        let mut since = since;
        while since < count() {
            let next = RAISED.try_with(|raised| {
                let raised = raised.borrow();
                raised.get(place_of(&raised, since)).cloned()
            });
            let Ok(Some((number, wall))) = next else { return };
            self.add(wall);
            since = number + 1;
        }
    }

    /// As [`take_in`](Self::take_in), where nothing is around.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_over(&mut self, since: usize) {
        self.take_in(since);
        forget(since);
    }

    fn add(&mut self, wall: Wall) {
        if self.first.as_ref().is_none_or(Wall::has_fallen) {
            self.first = Some(wall);
            return;
        }
        let new = &mut self.more.get_or_insert_default().new;
        if new.len() == new.capacity() {
            new.retain(|wall| !wall.has_fallen());
        }
        new.push(wall);
    }

    /// Whether one of them stands, and the future must not be dropped yet: then `waker` is woken when
    /// that may have changed. Only an owner that would drop the future asks: nurseries in it are
    /// cancelled by that.
    pub(crate) fn stands(&mut self, waker: &Waker) -> bool {
        if self.is_empty() {
            return false;
        }
        let More { new, waited } = &mut **self.more.get_or_insert_default();
        let Waited { waiter, nurseries } = waited.get_or_insert_with(|| {
            let waiter = Arc::new(Waiter::new());
            Waited { nurseries: Nurseries::new(waiter.clone()), waiter }
        });
        waiter.register(waker);
        for wall in self.first.take().into_iter().chain(new.drain(..)) {
            match wall {
                Wall::Shield(shield) => shield.is_waited_for(waiter),
                Wall::Nursery(scope) => nurseries.add(scope),
            }
        }
        nurseries.stand(waiter.has_shields())
    }
}
