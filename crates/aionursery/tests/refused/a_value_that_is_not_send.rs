use std::rc::Rc;

use aionursery::{Nursery, nursery};

// The owner of the handle may be on another thread than the nursery.
fn on_another_thread(n: Nursery<'static, ()>) {
    n.start_soon(async { Ok(Rc::new(1)) });
}

fn main() {
    let block = nursery(async |n| {
        on_another_thread(n);
        Ok(())
    });
    drop(block);
}
