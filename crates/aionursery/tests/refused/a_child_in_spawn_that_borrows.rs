use aionursery::nursery;

fn main() {
    let text = String::from("borrowed");
    let block = nursery(async |n| {
        n.spawn(async { Ok::<_, ()>(text.len()) });
        Ok(())
    });
    drop(block);
}
