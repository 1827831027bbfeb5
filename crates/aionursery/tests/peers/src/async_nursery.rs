//! async_nursery's `Nursery` and `NurseryStream`: the stream is the nursery's future and a queue of
//! values. Children run where the stream is driven, and the executor does what else is asked of it.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_executors::{BlockingHandle, SpawnBlocking, Timer, YieldNow, YieldNowFut};
use futures::future::BoxFuture;
use futures::stream::Stream;
use futures::task::{FutureObj, LocalFutureObj, Spawn, SpawnError};
use send_wrapper::SendWrapper;

use crate::held::{self, End, Handle, Held};

/// As async_nursery's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NurseErr {
    /// It takes no more.
    Closed,
}

impl fmt::Display for NurseErr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the nursery is closed")
    }
}

impl std::error::Error for NurseErr {}

/// As async_nursery's.
pub trait Nurse<Out: Send + 'static> {
    /// Starts a child.
    fn nurse_obj(&self, future: FutureObj<'static, Out>) -> Result<(), NurseErr>;
}

/// As async_nursery's.
pub trait NurseExt<Out: Send + 'static>: Nurse<Out> {
    /// Starts a child.
    fn nurse(&self, future: impl Future<Output = Out> + Send + 'static) -> Result<(), NurseErr> {
        self.nurse_obj(FutureObj::new(Box::new(future)))
    }
}

impl<N: Nurse<Out> + ?Sized, Out: Send + 'static> NurseExt<Out> for N {}

/// As async_nursery's.
pub trait LocalNurse<Out: 'static> {
    /// Starts a child that is not `Send`.
    fn nurse_local_obj(&self, future: LocalFutureObj<'static, Out>) -> Result<(), NurseErr>;
}

/// As async_nursery's.
pub trait LocalNurseExt<Out: 'static>: LocalNurse<Out> {
    /// Starts a child that is not `Send`.
    fn nurse_local(&self, future: impl Future<Output = Out> + 'static) -> Result<(), NurseErr> {
        self.nurse_local_obj(LocalFutureObj::new(Box::new(future)))
    }
}

impl<N: LocalNurse<Out> + ?Sized, Out: 'static> LocalNurseExt<Out> for N {}

type Values<Out> = Arc<Mutex<VecDeque<Out>>>;

/// As async_nursery's.
pub struct Nursery<S, Out> {
    executor: S,
    nursery: Handle,
    values: Values<Out>,
    holder: Holder,
}

/// The last of a nursery's handles ends it.
#[derive(Clone)]
struct Holder {
    end: End,
    held: Arc<()>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        if Arc::strong_count(&self.held) == 1 {
            self.end.end();
        }
    }
}

impl<S: Clone, Out> Clone for Nursery<S, Out> {
    fn clone(&self) -> Self {
        Self {
            executor: self.executor.clone(),
            nursery: self.nursery.clone(),
            values: self.values.clone(),
            holder: self.holder.clone(),
        }
    }
}

impl<S, Out> Nursery<S, Out> {
    /// The handle and the stream.
    pub fn new(executor: S) -> (Self, NurseryStream<Out>) {
        let (nursery, block, end) = held::open();
        let values = Values::default();
        let stream = NurseryStream { block, values: values.clone() };
        let holder = Holder { end, held: Arc::default() };
        (Self { executor, nursery, values, holder }, stream)
    }

    /// Takes no more.
    pub fn close_nursery(&self) {
        self.holder.end.end();
    }

    fn start(&self, child: impl Future<Output = ()> + Send + 'static) -> Result<(), NurseErr> {
        if self.holder.end.has_ended() {
            return Err(NurseErr::Closed);
        }
        let started = self.nursery.try_start_soon(async {
            child.await;
            Ok(())
        });
        started.map(drop).map_err(|_| NurseErr::Closed)
    }
}

impl<S, Out: Send + 'static> Nurse<Out> for Nursery<S, Out> {
    fn nurse_obj(&self, future: FutureObj<'static, Out>) -> Result<(), NurseErr> {
        let values = self.values.clone();
        self.start(async move {
            let value = future.await;
            values.lock().unwrap().push_back(value);
        })
    }
}

impl<S, Out: 'static> LocalNurse<Out> for Nursery<S, Out> {
    fn nurse_local_obj(&self, future: LocalFutureObj<'static, Out>) -> Result<(), NurseErr> {
        let values = self.values.clone();
        self.start(SendWrapper::new(Box::pin(async move {
            let value = future.await;
            values.lock().unwrap().push_back(value);
        })))
    }
}

impl<S> Spawn for Nursery<S, ()> {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.nurse_obj(future).map_err(|_| SpawnError::shutdown())
    }
}

impl<S: Timer, Out> Timer for Nursery<S, Out> {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.executor.sleep(duration)
    }
}

impl<S: YieldNow, Out> YieldNow for Nursery<S, Out> {
    fn yield_now(&self) -> YieldNowFut {
        self.executor.yield_now()
    }
}

impl<S: SpawnBlocking<R>, Out, R: Send + 'static> SpawnBlocking<R> for Nursery<S, Out> {
    fn spawn_blocking<F>(&self, function: F) -> BlockingHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
    {
        self.executor.spawn_blocking(function)
    }

    fn spawn_blocking_dyn(&self, function: Box<dyn FnOnce() -> R + Send>) -> BlockingHandle<R> {
        self.executor.spawn_blocking_dyn(function)
    }
}

/// As async_nursery's: a stream of the values, or the end of all.
pub struct NurseryStream<Out> {
    block: Held,
    values: Values<Out>,
}

impl<Out> Stream for NurseryStream<Out> {
    type Item = Out;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Out>> {
        let end = self.block.poll(cx);
        let value = self.values.lock().unwrap().pop_front();
        match (value, end) {
            (Some(value), _) => Poll::Ready(Some(value)),
            (None, Poll::Ready(())) => Poll::Ready(None),
            (None, Poll::Pending) => Poll::Pending,
        }
    }
}

impl<Out> Future for NurseryStream<Out> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.block.poll(cx)
    }
}
