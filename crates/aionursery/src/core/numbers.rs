//! The numbers of children in a nursery that has started very many: a test, as no program could
//! start them all in its time.

use crate::nursery;

#[test]
fn a_nursery_that_has_used_up_all_numbers_begins_again_at_1() {
    futures::executor::block_on(nursery(async |n| {
        n.core().state().ids = u32::MAX - 1000;
        let mut last = u32::MAX - 1000;
        for _ in 0..2000 {
            let child = n.start_soon(async { Ok::<_, String>(()) });
            assert!(child.id() == last + 1 || (child.id() == 1 && last > u32::MAX - 100));
            last = child.id();
        }
        assert!(last < 2000);
        Ok(())
    }))
    .unwrap();
}
