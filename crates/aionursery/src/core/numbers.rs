//! The numbers of children in a nursery that has started very many: a test, as no program could
//! start them all in its time.

use crate::nursery;

#[test]
fn a_nursery_that_has_used_up_all_numbers_begins_again() {
    futures::executor::block_on(nursery(async |n| {
        n.core().state().ids = u32::MAX - 1000;
        let children: Vec<_> =
            (0..2000).map(|_| n.start_soon(async { Ok::<_, String>(()) })).collect();
        for (place, child) in (0..).zip(children) {
            assert_eq!(child.id(), (u32::MAX - 999).wrapping_add(place));
            child.await?;
        }
        Ok(())
    }))
    .unwrap();
}
