//! Children's results in the order in which they end, as a stream. It only looks at handles: the
//! children are their nursery's, and the stream must never keep one alive or end one.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_core::Stream;

use crate::child::{Child, hand_over, refuse};
use crate::error::Fault;
use crate::gone::Stopped;
use crate::scope::lock;
use crate::sync::Mutex;

/// The results of these children, in the order in which they end.
///
/// An item is what awaiting the child would give (see [`Child`]): a value; with
/// `on_error = Collect` an error too; and a child that has nothing to give ends who reads the
/// stream. Nothing is held back: children run and end whether the stream is read or not. To know
/// which child it was, let it return that along with its value.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{as_completed, nursery, yield_now};
/// use futures::StreamExt;
///
/// let order = nursery(async |n| {
///     let mut results = as_completed([3, 1, 2].map(|turns| n.start_soon(async move {
///         for _ in 0..turns {
///             yield_now().await;
///         }
///         Ok::<_, String>(turns)
///     })));
///     let mut order = Vec::new();
///     while let Some(turns) = results.next().await {
///         order.push(turns?);
///     }
///     Ok(order)
/// }).await;
/// assert_eq!(order.unwrap(), [1, 2, 3]);
/// # });
/// ```
pub fn as_completed<T, E>(children: impl IntoIterator<Item = Child<T, E>>) -> AsCompleted<T, E> {
    let mut all = AsCompleted::new();
    for child in children {
        all.push(child);
    }
    all
}

/// A stream of children's results: see [`as_completed`].
///
/// ```
/// # futures::executor::block_on(async {
/// use futures::StreamExt;
/// let sum = aionursery::nursery(async |n| {
///     let mut running = aionursery::AsCompleted::new();
///     running.push(n.start_soon(async { Ok::<_, String>(1) }));
///     let mut sum = 0;
///     while let Some(value) = running.next().await {
///         sum += value?;
///         if sum < 10 {
///             running.push(n.start_soon(async move { Ok(2 * sum) }));
///         }
///     }
///     assert!(running.is_empty());
///     Ok(sum)
/// }).await;
/// assert_eq!(sum.unwrap(), 27);
/// # });
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct AsCompleted<T, E> {
    children: Vec<Slot<T, E>>,
    free: Vec<usize>,
    /// Those that nobody has asked yet.
    new: VecDeque<usize>,
    woken: Arc<Woken>,
    left: usize,
    /// One has nothing to give.
    refused: Option<Stopped>,
}

struct Slot<T, E> {
    child: Option<Child<T, E>>,
    waker: Arc<Bell>,
}

/// A child's end, and whether its nursery collects errors.
type Ended<T, E> = (Result<T, Fault<E>>, bool);

/// Which children have called since the last look, and who reads.
#[derive(Default)]
struct Woken(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    places: VecDeque<usize>,
    reader: Option<Waker>,
}

/// One place's waker.
struct Bell {
    place: usize,
    woken: Arc<Woken>,
}

impl Woken {
    /// A place where a child has ended, maybe; if there is none, `reader` is told of the next.
    fn poll(&self, reader: &Waker) -> Poll<usize> {
        {
            let calls = &mut *lock(&self.0);
            if let Some(place) = calls.places.pop_front() {
                return Poll::Ready(place);
            }
            if calls.reader.as_ref().is_some_and(|kept| kept.will_wake(reader)) {
                return Poll::Pending;
            }
        }
        // A waker is anybody's code: it is cloned before the lock is taken, and the old one is
        // dropped after it was given back (R29).
        let mut reader = Some(reader.clone());
        let calls = &mut *lock(&self.0);
        match calls.places.pop_front() {
            Some(place) => Poll::Ready(place),
            None => {
                std::mem::swap(&mut calls.reader, &mut reader);
                Poll::Pending
            }
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let reader = {
            let calls = &mut *lock(&self.woken.0);
            calls.places.push_back(self.place);
            calls.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<T, E> AsCompleted<T, E> {
    /// Without children: [`push`](Self::push) them.
    ///
    /// ```
    /// assert!(aionursery::AsCompleted::<(), String>::new().is_empty());
    /// ```
    pub fn new() -> Self {
        Self {
            children: Vec::new(),
            free: Vec::new(),
            new: VecDeque::new(),
            woken: Arc::default(),
            left: 0,
            refused: None,
        }
    }

    /// Adds a child, of this nursery or another.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// let mut results = aionursery::AsCompleted::new();
    /// results.push(n.start_soon(async { Ok::<_, String>(1) }));
    /// # Ok(()) }).await.unwrap() });
    /// ```
    pub fn push(&mut self, child: Child<T, E>) {
        self.left += 1;
        let place = match self.free.pop() {
            Some(place) => {
                self.children[place].child = Some(child);
                place
            }
            None => {
                let place = self.children.len();
                let waker = Arc::new(Bell { place, woken: self.woken.clone() });
                self.children.push(Slot { child: Some(child), waker });
                place
            }
        };
        self.new.push_back(place);
    }

    /// How many results are still to come.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// let child = n.start_soon(async { Ok::<_, String>(1) });
    /// assert_eq!(aionursery::as_completed([child]).len(), 1);
    /// # Ok(()) }).await.unwrap() });
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether none is to come.
    ///
    /// ```
    /// # use aionursery::{Child, as_completed};
    /// let none: [Child<(), String>; 0] = [];
    /// assert!(as_completed(none).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next that ends, whatever its end; `None` if all have.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended<T, E>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        loop {
            let place = match self.new.pop_front() {
                Some(place) => place,
                None => ready!(self.woken.poll(cx.waker())),
            };
            // A late call of a child that was there before finds another, or none: that is no end.
            let slot = &mut self.children[place];
            let Some(child) = &mut slot.child else { continue };
            let waker = Waker::from(slot.waker.clone());
            if let Poll::Ready(result) = child.poll_result(&mut Context::from_waker(&waker)) {
                let collect = child.collects();
                slot.child = None;
                self.free.push(place);
                self.left -= 1;
                return Poll::Ready(Some((result, collect)));
            }
            if child.is_finished() {
                // The runtime wants its turn. It has told the bell, who may be heard before that.
                self.new.push_front(place);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

impl<T, E> Default for AsCompleted<T, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, E> Unpin for AsCompleted<T, E> {}

impl<T, E> Stream for AsCompleted<T, E> {
    type Item = Result<T, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(stopped) = &mut this.refused {
            return refuse(stopped, cx);
        }
        match ready!(this.poll_ended(cx)) {
            Some((Ok(value), _)) => Poll::Ready(Some(Ok(value))),
            Some((Err(fault), collect)) => match hand_over(fault, collect) {
                Some(error) => Poll::Ready(Some(Err(error))),
                None => refuse(this.refused.insert(Stopped::default()), cx),
            },
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T, E> std::fmt::Debug for AsCompleted<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsCompleted").field("len", &self.left).finish()
    }
}
