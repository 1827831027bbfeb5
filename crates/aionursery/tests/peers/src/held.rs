//! A nursery that is a value: the peers make theirs with `new` and drive it from wherever it is
//! awaited. Its body waits until it is told to end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use aionursery::{Builder, MultiError, Nursery, OnError};

/// A handle of a nursery whose children report no errors.
pub type Handle = Nursery<'static, Infallible>;

type Block = Pin<Box<dyn Future<Output = Result<(), MultiError<Infallible>>> + Send>>;

/// The nursery's future; dropping it drops the children.
pub struct Held(Option<Block>);

/// Ends the body. What runs already is waited for.
#[derive(Clone, Default)]
pub struct End(Arc<Mutex<(bool, Option<Waker>)>>);

impl End {
    /// From now on the nursery ends with its last child.
    pub fn end(&self) {
        let waker = {
            let state = &mut *self.0.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it was told to.
    pub fn has_ended(&self) -> bool {
        self.0.lock().unwrap().0
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Opens one: polled once, so that its handle is there.
pub fn open() -> (Handle, Held, End) {
    let end = End::default();
    let (told, given) = (end.clone(), Arc::new(Mutex::new(None)));
    let giving = given.clone();
    let block = Builder::new().on_error(OnError::Collect).nursery(async move |n: Handle| {
        *giving.lock().unwrap() = Some(n);
        poll_fn(|cx| told.poll(cx)).await;
        Ok(())
    });
    let mut held = Held(Some(Box::pin(block)));
    assert!(held.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let handle = given.lock().unwrap().take().expect("the body has begun");
    (handle, held, end)
}

impl Held {
    /// Runs children; ready once all have ended.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(block) = &mut self.0 else { return Poll::Ready(()) };
        let Poll::Ready(end) = block.as_mut().poll(cx) else { return Poll::Pending };
        self.0 = None;
        if let Err(error) = end {
            // Panics only, and the peers' handles have told of them.
            assert!(error.errors().next().is_none());
        }
        Poll::Ready(())
    }
}
