use aionursery::nursery;

fn main() {
    let block = nursery(async |n| {
        let text = String::from("gone when the body has ended");
        n.start_soon(async { Ok::<_, ()>(text.len()) });
        Ok(())
    });
    drop(block);
}
