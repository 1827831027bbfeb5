//! Children's results in the order in which they end, as a stream. It only looks at handles: the
//! children are their nursery's, and the stream must never keep one alive or end one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_core::Stream;

use crate::child::Child;
use crate::error::ChildError;
use crate::sync::{Mutex, WakerSlot, lock};

/// The results of these children, in the order in which they end.
///
/// [`next`](AsCompleted::next) gives what awaiting the child would give: every end by value (see
/// [`Child`]). [`next_value`](AsCompleted::next_value) gives values, and a child that has none ends the
/// code that reads, as [`Child::value`] does. Nothing is held back: children run and end whether their
/// results are read or not. It is a `Stream`, too.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{as_completed, nursery, yield_now};
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

/// Children's results in the order in which they end: see [`as_completed`]. Children may be added while
/// others run, as to a `JoinSet`; with a key of type `K`, as to a `JoinMap`.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{AsCompleted, nursery};
/// let sum = nursery(async |n| {
///     let mut running = AsCompleted::new();
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
///
/// nursery(async |n| {
///     let mut pages = AsCompleted::keyed();
///     for page in ["/", "/about"] {
///         pages.insert(page, n.start_soon(async { Ok::<_, String>(page.len()) }));
///     }
///     assert_eq!(pages.len(), 2);
///     while let Some((page, size)) = pages.next_with_key().await {
///         assert_eq!(size.unwrap(), page.len());
///     }
///     Ok(())
/// }).await.unwrap();
/// # });
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct AsCompleted<T, E, K = ()> {
    children: Vec<Slot<T, E, K>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
    left: usize,
}

/// A child's end by value, and its key.
type Keyed<T, E, K> = (K, Result<T, ChildError<E>>);

struct Slot<T, E, K> {
    child: Option<(K, Child<T, E>)>,
    /// The child's end calls it.
    bell: Waker,
}

/// Which children have called since the last look, and the reader.
struct Woken {
    places: Mutex<VecDeque<usize>>,
    reader: WakerSlot,
}

/// One place's waker.
struct Bell {
    place: usize,
    woken: Arc<Woken>,
}

impl Woken {
    /// A place whose child has ended, or an earlier one in it; if there is none, `reader` is told of the next.
    fn poll(&self, reader: &Waker) -> Poll<usize> {
        let next = || lock(&self.places).pop_front();
        let place = next().or_else(|| {
            self.reader.register(reader);
            next()
        });
        place.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let is_first = {
            let places = &mut *lock(&self.woken.places);
            places.push_back(self.place);
            places.len() == 1
        };
        // A reader waits only while there is none.
        if is_first {
            self.woken.reader.wake();
        }
    }
}

impl<T, E> AsCompleted<T, E> {
    /// Without children: [`push`](Self::push) them.
    pub fn new() -> Self {
        Self::keyed()
    }

    /// Adds a child, of this nursery or another.
    pub fn push(&mut self, child: Child<T, E>) {
        self.insert((), child);
    }
}

impl<T, E, K> AsCompleted<T, E, K> {
    /// Without children, for children with keys: [`insert`](Self::insert) them.
    pub fn keyed() -> Self {
        let woken = Woken { places: Mutex::default(), reader: WakerSlot::new() };
        Self { children: Vec::new(), free: Vec::new(), woken: Arc::new(woken), left: 0 }
    }

    /// Adds a child under a key, which comes back with its end. Several children may have the same.
    pub fn insert(&mut self, key: K, child: Child<T, E>) {
        self.left += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            let place = self.children.len();
            let bell = Bell { place, woken: self.woken.clone() };
            self.children.push(Slot { child: None, bell: Waker::from(Arc::new(bell)) });
            place
        });
        let slot = &mut self.children[place];
        if child.register(&slot.bell) {
            lock(&self.woken.places).push_back(place);
        }
        slot.child = Some((key, child));
    }

    /// The end of the next child that ends, by value, as awaiting the child gives it; `None` if all have
    /// been given. If the future of this call is dropped, nothing is lost.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// let child = n.named("reader").start_soon(std::future::pending::<Result<(), String>>());
    /// child.cancel();
    /// let mut results = aionursery::as_completed([child]);
    /// let end = results.next().await.unwrap().unwrap_err();
    /// assert_eq!(end.name(), Some("reader"));
    /// assert!(end.cancelled().is_some());
    /// assert!(results.next().await.is_none());
    /// # Ok(()) }).await.unwrap() });
    /// ```
    #[expect(clippy::should_implement_trait, reason = "an iterator's gives no future")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<T, ChildError<E>>>> {
        poll_fn(|cx| self.poll_with_key(cx).map(|ended| ended.map(|(_, end)| end)))
    }

    /// As [`next`](Self::next), with the child's key.
    pub fn next_with_key(&mut self) -> impl Future<Output = Option<(K, Result<T, ChildError<E>>)>> {
        poll_fn(|cx| self.poll_with_key(cx))
    }

    /// The value of the next child that ends, as [`Child::value`] gives it; `None` if all have been
    /// given. A child without a value ends the code that awaits this, and its error is the nursery's.
    /// If the future of this call is dropped, nothing is lost.
    ///
    /// # Panics
    /// Where [`Child::value`] does.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// let mut results = aionursery::as_completed([n.start_soon(async { Ok::<_, String>(1) })]);
    /// assert_eq!(results.next_value().await, Some(1));
    /// assert_eq!(results.next_value().await, None);
    /// # Ok(()) }).await.unwrap() });
    /// ```
    pub fn next_value(&mut self) -> impl Future<Output = Option<T>> {
        poll_fn(|cx| {
            self.poll_next_by(cx, Child::poll_value).map(|ended| ended.map(|(_, value)| value))
        })
    }

    #[inline]
    fn poll_with_key(&mut self, cx: &mut Context<'_>) -> Poll<Option<Keyed<T, E, K>>> {
        self.poll_next_by(cx, |child, cx| Pin::new(child).poll(cx))
    }

    /// Cancels those children, of the ones whose result has not been given, whose keys these are, as
    /// [`Child::cancel`] does. Their ends are still to come, by [`next`](Self::next) or
    /// [`next_with_key`](Self::next_with_key): [`next_value`](Self::next_value) ends the code that awaits it there.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// let mut results = aionursery::AsCompleted::keyed();
    /// results.insert("slow", n.start_soon(std::future::pending::<Result<(), String>>()));
    /// results.insert("fast", n.start_soon(async { Ok(()) }));
    /// results.cancel_where(|key| *key == "slow");
    /// while let Some((key, end)) = results.next_with_key().await {
    ///     assert_eq!(end.is_ok(), key == "fast");
    /// }
    /// # Ok(()) }).await.unwrap() });
    /// ```
    pub fn cancel_where(&self, mut is_meant: impl FnMut(&K) -> bool) {
        let children = self.children.iter().filter_map(|slot| slot.child.as_ref());
        children.filter(|(key, _)| is_meant(key)).for_each(|(_, child)| child.cancel());
    }

    /// How many results are still to come.
    #[must_use]
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether none is to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next child that has ended and for which `poll` is ready; `None` if there is no other.
    #[inline]
    pub(crate) fn poll_next_by<R>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl Fn(&mut Child<T, E>, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<Option<(K, R)>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        loop {
            let place = ready!(self.woken.poll(cx.waker()));
            let slot = &mut self.children[place];
            // A late call of a child that was there before finds another, or none: that is no end.
            let Some((_, child)) = slot.child.as_mut().filter(|(_, child)| child.is_finished())
            else {
                continue;
            };
            let Poll::Ready(end) = poll(child, cx) else {
                // The runtime wants its turn, or the code that asks for a value goes no further.
                lock(&self.woken.places).push_front(place);
                return Poll::Pending;
            };
            let (key, _) = slot.child.take().expect("it was there just now");
            self.free.push(place);
            self.left -= 1;
            return Poll::Ready(Some((key, end)));
        }
    }
}

impl<T, E, K> Default for AsCompleted<T, E, K> {
    fn default() -> Self {
        Self::keyed()
    }
}

impl<T, E, K> Unpin for AsCompleted<T, E, K> {}

impl<T, E, K> Stream for AsCompleted<T, E, K> {
    type Item = Result<T, ChildError<E>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let ended = ready!(self.get_mut().poll_with_key(cx));
        Poll::Ready(ended.map(|(_, end)| end))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<T, E, K> std::fmt::Debug for AsCompleted<T, E, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsCompleted").field("len", &self.len()).finish()
    }
}
