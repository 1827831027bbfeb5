use std::rc::Rc;

use aionursery::nursery;

fn main() {
    let block = nursery(async |n| {
        let shared = Rc::new(1);
        n.start_soon(async move { Ok::<_, ()>(*shared) });
        Ok(())
    });
    drop(block);
}
