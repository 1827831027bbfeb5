//! Nurseries that an owner waits for before it drops what they stand in, whose children end on other threads.

use super::*;

/// A child that waits for ever, and whose nursery has a spawned child that writes.
async fn holds(witness: Witness) -> Result<(), &'static str> {
    let inside = nursery(async move |n: Handle| {
        n.spawn(adds(witness));
        forever().await
    });
    inside.await.map_err(|_| "inside")
}

#[test]
fn r27a_an_owner_hears_that_the_last_child_of_a_nursery_inside_has_ended_elsewhere() {
    model(1, || {
        let witness = Witness::new();
        let written = witness.clone();
        run(async move |n: Handle| {
            n.start_soon(holds(witness));
            crate::yield_now().await;
            n.cancel();
            Ok(())
        });
        written.read();
    });
}
