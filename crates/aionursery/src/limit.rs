//! At most so many children of a nursery run at once; the others wait for their first step in the
//! order of starting. It must never hold a place for a child that is gone.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::scope::lock;
use crate::sync::Mutex;

/// The places of one nursery.
pub(crate) struct Gate(Mutex<Places>);

struct Places {
    free: usize,
    next: u64,
    waiting: VecDeque<(u64, Waker)>,
}

impl Gate {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let places = Places { free: limit.max(1), next: 0, waiting: VecDeque::new() };
        Arc::new(Self(Mutex::new(places)))
    }

    fn poll_enter(&self, ticket: &mut Option<u64>, waker: &Waker) -> bool {
        let places = &mut *lock(&self.0);
        let ahead = match ticket {
            Some(ticket) => places.waiting.iter().position(|(other, _)| other == ticket),
            None => Some(places.waiting.len()),
        };
        let ahead = ahead.unwrap_or(0);
        if ahead < places.free {
            places.free -= 1;
            if let Some(ticket) = ticket.take() {
                places.waiting.retain(|(other, _)| *other != ticket);
            }
            return true;
        }
        match ticket {
            Some(_) => places.waiting[ahead].1.clone_from(waker),
            None => {
                *ticket = Some(places.next);
                places.waiting.push_back((places.next, waker.clone()));
                places.next += 1;
            }
        }
        false
    }

    fn leave(&self, entered: bool, ticket: Option<u64>) {
        let wake = {
            let places = &mut *lock(&self.0);
            if entered {
                places.free += 1;
            }
            if let Some(ticket) = ticket {
                places.waiting.retain(|(other, _)| *other != ticket);
            }
            let free = places.free;
            places.waiting.iter().take(free).map(|(_, waker)| waker.clone()).collect::<Vec<_>>()
        };
        wake.into_iter().for_each(Waker::wake);
    }
}

struct Place {
    gate: Option<Arc<Gate>>,
    entered: bool,
    ticket: Option<u64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(gate) = &self.gate {
            gate.leave(self.entered, self.ticket);
        }
    }
}

pin_project! {
    /// A child that waits for its place, then runs in it.
    pub(crate) struct Gated<F> {
        #[pin]
        future: F,
        place: Place,
    }
}

impl<F> Gated<F> {
    pub(crate) fn new(gate: Option<Arc<Gate>>, future: F) -> Self {
        Self { future, place: Place { gate, entered: false, ticket: None } }
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let place = this.place;
        if let Some(gate) = &place.gate
            && !place.entered
        {
            if !gate.poll_enter(&mut place.ticket, cx.waker()) {
                return Poll::Pending;
            }
            place.entered = true;
        }
        this.future.poll(cx)
    }
}
