use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use aionursery::mode::{Admits, Sendable};

struct Shared(Rc<u8>);

impl Future for Shared {
    type Output = Result<u8, ()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(*self.0))
    }
}

impl Admits<Shared> for Sendable {}

fn main() {}
