//! What a program's own types need of ours: `Debug` for `#[derive(Debug)]`.

use std::fmt::Debug;
use std::future::{pending, ready};

use aionursery::{
    Builder, CancelScope, LocalNursery, Nursery, TaskStatus, as_completed,
    combine::{Finish, for_each, map},
    future::Starting,
    gather, nursery, nursery_local, race, shield, yield_now,
};
use futures::executor::block_on;

/// Neither a value nor an error that can be shown.
struct Opaque;

fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}

#[test]
fn every_public_future_can_be_shown_whatever_it_gives() {
    let of = || ready(Ok::<_, Opaque>(Opaque));
    assert!(shown(&nursery(async |_: Nursery<'_, Opaque>| Ok(Opaque))).starts_with("Block"));
    let local = nursery_local(async |_: LocalNursery<'_, Opaque>| Ok(Opaque));
    assert!(shown(&local).starts_with("Block"));
    assert!(shown(&gather([of()])).starts_with("Block"));
    assert!(shown(&gather((of(), of()))).starts_with("Block"));
    assert!(shown(&race([of()])).starts_with("Racing"));
    let mapped = map([1], 1, async |_| Ok::<_, Opaque>(Opaque));
    assert!(shown(&mapped).starts_with("Mapping"));
    let each = for_each(futures::stream::iter([1]), 1, async |_| Ok::<_, Opaque>(()));
    assert!(shown(&each).starts_with("ForEach"));
    assert!(shown(&CancelScope::new().run(ready(Opaque))).starts_with("Scoped"));
    assert!(shown(&shield(ready(Opaque))).starts_with("Shielding"));
    let moving_on = aionursery::move_on_after(std::time::Duration::ZERO, ready(Opaque));
    assert!(shown(&moving_on).starts_with("MovingOn"));
}

#[test]
fn every_public_handle_can_be_shown_whatever_it_is_of() {
    fn is_debug<T: Debug>() {}
    is_debug::<Builder>();
    is_debug::<Finish<'_, Opaque, Opaque>>();
    is_debug::<Starting<Opaque, Opaque, Opaque>>();
    is_debug::<TaskStatus<Opaque, Opaque>>();
    block_on(Builder::new().name("kitchen").nursery(async |n: Nursery<'_, Opaque>| {
        let child = n.named("cook").start_soon(pending::<Result<Opaque, Opaque>>());
        assert_eq!(
            shown(&n),
            "Nursery { name: Some(\"kitchen\"), running: 1, cancelled: false, .. }"
        );
        assert_eq!(shown(&child), "Child { id: 1, name: Some(\"cook\"), finished: false }");
        assert_eq!(shown(&n.cancelled()), "Cancellation { cancelled: false, .. }");
        child.cancel();
        assert_eq!(shown(&as_completed([child])), "AsCompleted { len: 1 }");
        n.cancel();
        assert!(shown(&n).contains("cancelled: true"));
        assert_eq!(shown(&n.cancelled()), "Cancellation { cancelled: true, .. }");
        yield_now().await;
        Ok(())
    }))
    .unwrap_or_else(|error| assert!(error.is_cancelled()));
    let scope = CancelScope::new();
    assert_eq!(shown(&scope), "CancelScope { cancelled: false, .. }");
    scope.cancel();
    assert_eq!(shown(&scope), "CancelScope { cancelled: true, .. }");
}
