//! tokio-util's `CancellationToken`: a tree of scopes that nothing runs in but a dweller. It does
//! what it is handed while it stands in the scope: opens one below, asks whether it is cancelled.

use std::future::{Future, pending, poll_fn};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use aionursery::{CancelScope, cancelled, future::Scoped};

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;
type Errand = Box<dyn FnOnce() + Send>;

/// As tokio-util's.
#[derive(Clone)]
pub struct CancellationToken(Arc<Node>);

struct Node {
    scope: CancelScope,
    dweller: Mutex<Pin<Box<Scoped<Boxed>>>>,
    errand: Arc<Mutex<Option<Errand>>>,
    // A token below keeps the place in the tree.
    _above: Option<Arc<Node>>,
}

impl Node {
    fn new(above: Option<Arc<Self>>) -> Arc<Self> {
        let scope = CancelScope::new();
        let errand = Arc::new(Mutex::new(None::<Errand>));
        let handed = errand.clone();
        let dweller: Boxed = Box::pin(poll_fn(move |_| {
            let errand = handed.lock().unwrap().take();
            if let Some(errand) = errand {
                errand();
            }
            Poll::Pending
        }));
        let dweller = Mutex::new(Box::pin(scope.run(dweller)));
        Arc::new(Self { scope, dweller, errand, _above: above })
    }

    /// The dweller does it, unless the scope is cancelled: then nothing stands in it any more.
    fn within(&self, errand: Errand) {
        let dweller = &mut *self.dweller.lock().unwrap();
        if self.scope.is_cancelled() {
            return;
        }
        *self.errand.lock().unwrap() = Some(errand);
        let _ = dweller.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.errand.lock().unwrap().take();
    }
}

impl Default for CancellationToken {
    fn default() -> Self {
        Self::new()
    }
}

impl CancellationToken {
    /// A root.
    pub fn new() -> Self {
        Self(Node::new(None))
    }

    /// One that this one's cancellation reaches.
    pub fn child_token(&self) -> Self {
        let child = Node::new(Some(self.0.clone()));
        let opens = child.clone();
        self.0.within(Box::new(move || opens.within(Box::new(|| ()))));
        if self.is_cancelled() {
            child.scope.cancel();
        }
        Self(child)
    }

    /// Cancels it and all below.
    pub fn cancel(&self) {
        self.0.scope.cancel();
    }

    /// Whether it is cancelled, or one above.
    pub fn is_cancelled(&self) -> bool {
        self.0.scope.is_cancelled()
    }

    /// Ends when it is cancelled.
    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.waits()
    }

    /// As [`cancelled`](Self::cancelled).
    pub fn cancelled_owned(self) -> WaitForCancellationFuture<'static> {
        self.waits()
    }

    fn waits<'a>(&self) -> WaitForCancellationFuture<'a> {
        let waits: Boxed = Box::pin(cancelled());
        let waits = Arc::new(Mutex::new(waits));
        WaitForCancellationFuture { token: self.clone(), waits, borrows: PhantomData }
    }

    /// The future's value, if it is there before the cancellation.
    pub async fn run_until_cancelled<F: Future>(&self, future: F) -> Option<F::Output> {
        self.clone().run_until_cancelled_owned(future).await
    }

    /// As [`run_until_cancelled`](Self::run_until_cancelled).
    pub async fn run_until_cancelled_owned<F: Future>(self, future: F) -> Option<F::Output> {
        let mut waits = self.cancelled();
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| match Pin::new(&mut waits).poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => future.as_mut().poll(cx).map(Some),
        })
        .await
    }
}

impl PartialEq for CancellationToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CancellationToken {}

impl Hash for CancellationToken {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl std::fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancellationToken").field("is_cancelled", &self.is_cancelled()).finish()
    }
}

/// As tokio-util's.
pub struct WaitForCancellationFuture<'a> {
    token: CancellationToken,
    waits: Arc<Mutex<Boxed>>,
    borrows: PhantomData<&'a ()>,
}

impl Future for WaitForCancellationFuture<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (waits, waker) = (self.waits.clone(), cx.waker().clone());
        self.token.0.within(Box::new(move || {
            let waits = &mut *waits.lock().unwrap();
            if waits.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                // It may be asked again, and says then what the scope says.
                *waits = Box::pin(pending());
            }
        }));
        match self.token.is_cancelled() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}
