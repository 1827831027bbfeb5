//! A future that stands in a scope of its own, or in a nursery's: whatever is opened while it is
//! polled is opened below that scope. It must never outlive its scope's place in the tree.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nursery_core::Settings;
use pin_project_lite::pin_project;

use crate::frame::Standing;
use crate::scope::about::{About, Note};
use crate::scope::{Owner, Scope};

pin_project! {
    /// The future, and the scope that it stands in.
    pub(crate) struct Within<F> {
        #[pin]
        future: F,
        // `None` while the thread stands in it.
        scope: Option<Arc<Scope>>,
    }
}

impl<F> Within<F> {
    /// A child's future below `nursery`; a shielded one behind a wall of its own (R19).
    pub(crate) fn child(
        nursery: Arc<Scope>,
        shield: bool,
        note: Option<Arc<Note>>,
        future: F,
    ) -> Self {
        let scope = if shield {
            let settings = Settings { shield, ..Settings::default() };
            Scope::open(Some(nursery), None, |_| settings, Owner::one(), About::wall(note))
        } else {
            nursery
        };
        Self { future, scope: Some(scope) }
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let standing = this.scope.take().map(Standing::in_scope);
        let polled = this.future.poll(cx);
        *this.scope = standing.map(Standing::leave);
        polled
    }
}
