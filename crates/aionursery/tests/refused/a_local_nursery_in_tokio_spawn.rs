use aionursery::nursery_local;

fn main() {
    drop(tokio::spawn(async {
        nursery_local(async |n| {
            n.start_soon(async { Ok::<_, ()>(1) });
            Ok(())
        })
        .await
    }));
}
