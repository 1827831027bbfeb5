//! A child's future with what a plain child has not: a name, a note for a dump, a place under the
//! nursery's limit, a scope of its own. It must never outlive its scope's place in the tree.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::around::Around;
use crate::limit::Place;
use crate::polling::{self, InScope};
use crate::scope::info::{ChildRecord, Info, Runs};
use crate::scope::{Owner, Scope, ScopeOptions};
use crate::trace::Span;

/// A child's entry among its nursery's; goes when the child's future does.
pub(crate) struct RecordGuard {
    record: Arc<ChildRecord>,
    nursery: Arc<Scope>,
}

impl RecordGuard {
    pub(crate) fn new(
        nursery: &Arc<Scope>,
        name: Option<Arc<str>>,
        shield: bool,
        runs: Runs,
        place: &'static Location<'static>,
    ) -> Self {
        let record = nursery.signal.info.record(name, shield, runs, Some(place));
        Self { record, nursery: nursery.clone() }
    }

    pub(crate) fn record(&self) -> &Arc<ChildRecord> {
        &self.record
    }
}

impl Drop for RecordGuard {
    fn drop(&mut self) {
        self.nursery.signal.info.forget(&self.record);
    }
}

/// The scope of a child that no cancellation reaches (R19).
pub(crate) fn wall(nursery: Arc<Scope>, info: Info) -> Arc<Scope> {
    let options = ScopeOptions { shield: true, ..ScopeOptions::default() };
    Scope::open(Some(nursery), &options, Owner::one(), info)
}

pin_project! {
    /// The future, and what ends with it.
    pub(crate) struct Special<F> {
        #[pin]
        future: F,
        recorded: Option<RecordGuard>,
        place: Place,
        // What it stands in, if that is not said elsewhere; `None` while the thread stands in it.
        scope: Option<Arc<Scope>>,
        span: Span,
    }
}

impl<F> Special<F> {
    pub(crate) fn new(
        future: F,
        recorded: Option<RecordGuard>,
        place: Place,
        scope: Option<Arc<Scope>>,
        span: Span,
    ) -> Self {
        Self { future, recorded, place, scope, span }
    }
}

impl<F: Future> Future for Special<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _span = this.span.enter();
        let standing = this.scope.take().map(InScope::enter);
        let has_waited = this.place.waits();
        let mut has_place = this.place.poll(cx.waker());
        if (has_waited || !has_place) && polling::look(Around::is_cancelled) {
            // It has not been accepted: it ends without a first step (R17).
            polling::park();
            has_place = false;
        }
        let polled = match has_place {
            true => {
                let _recorded = this.recorded.as_ref().map(|recorded| recorded.record.enter());
                this.future.poll(cx)
            }
            false => Poll::Pending,
        };
        *this.scope = standing.map(InScope::leave);
        polled
    }
}
