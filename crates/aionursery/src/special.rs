//! A child's future with what a plain child has not: a name, a note for a dump, a place under the
//! nursery's limit, a scope of its own. It must never outlive its scope's place in the tree.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::frame::Standing;
use crate::limit::Place;
use crate::scope::about::{About, Note, Runs};
use crate::scope::{Owner, Scope, ScopeOptions, Signal};
use crate::trace::Span;

/// A child's entry among its nursery's; goes when the child's future does.
pub(crate) struct Noted {
    note: Arc<Note>,
    nursery: Arc<Signal>,
}

impl Noted {
    pub(crate) fn new(
        nursery: &Arc<Signal>,
        name: Option<Arc<str>>,
        shield: bool,
        runs: Runs,
        place: &'static Location<'static>,
    ) -> Self {
        let note = nursery.about.note(name, shield, runs, Some(place));
        Self { note, nursery: nursery.clone() }
    }

    pub(crate) fn note(&self) -> &Arc<Note> {
        &self.note
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.nursery.about.forget(&self.note);
    }
}

/// The scope of a child that no cancellation reaches (R19).
pub(crate) fn wall(nursery: Arc<Scope>, about: About) -> Arc<Scope> {
    let options = ScopeOptions { shield: true, ..ScopeOptions::default() };
    Scope::open(Some(nursery), &options, Owner::one(), about)
}

pin_project! {
    /// The future, and what ends with it.
    pub(crate) struct Special<F> {
        #[pin]
        future: F,
        noted: Option<Noted>,
        place: Place,
        // What it stands in, if that is not said elsewhere; `None` while the thread stands in it.
        scope: Option<Arc<Scope>>,
        span: Span,
    }
}

impl<F> Special<F> {
    pub(crate) fn new(
        future: F,
        noted: Option<Noted>,
        place: Place,
        scope: Option<Arc<Scope>>,
        span: Span,
    ) -> Self {
        Self { future, noted, place, scope, span }
    }
}

impl<F: Future> Future for Special<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _span = this.span.enter();
        let standing = this.scope.take().map(Standing::in_scope);
        let polled = match this.place.poll(cx.waker()) {
            true => {
                let _noted = this.noted.as_ref().map(|noted| noted.note.enter());
                this.future.poll(cx)
            }
            false => Poll::Pending,
        };
        *this.scope = standing.map(Standing::leave);
        polled
    }
}
