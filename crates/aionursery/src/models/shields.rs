//! Shields that fall on another thread than that of what they hold.

use super::*;
use crate::{shield, yield_now};

/// A child that opens a shield, has it carried off, and waits for ever.
async fn carried_off() -> Result<(), &'static str> {
    let mut carried = Box::pin(shield(forever()));
    begin(carried.as_mut()).await;
    thread::spawn(move || drop(carried));
    forever().await
}

#[test]
fn r19_a_child_hears_that_its_shield_has_fallen_elsewhere() {
    model(3, || {
        run(async |n: Handle| {
            n.start_soon(carried_off());
            yield_now().await;
            n.cancel();
            Ok(())
        });
    });
}

#[test]
fn r19_a_spawned_child_hears_that_its_shield_has_fallen_elsewhere() {
    model(2, || {
        run(async |n: Handle| {
            n.spawn(carried_off());
            n.cancel();
            Ok(())
        });
    });
}
