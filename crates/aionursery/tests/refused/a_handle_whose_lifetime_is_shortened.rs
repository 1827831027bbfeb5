use aionursery::Nursery;

fn shorten<'short, 'long: 'short>(n: Nursery<'long, ()>) -> Nursery<'short, ()> {
    n
}

fn main() {
    let _ = shorten;
}
