use aionursery::nursery;

fn main() {
    let block = {
        let text = String::from("gone before the children are");
        nursery(async |n| {
            n.start_soon(async { Ok::<_, ()>(text.len()) });
            Ok(())
        })
    };
    drop(block);
}
