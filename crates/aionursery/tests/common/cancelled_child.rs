//! A child that has no value.

use std::future::{Pending, pending};

use aionursery::{Child, Nursery, mode::Admits, yield_now};

pub async fn cancelled_child<M>(n: &Nursery<'_, &'static str, M>) -> Child<(), &'static str>
where
    M: Admits<Pending<Result<(), &'static str>>>,
{
    let child = n.start_soon(pending());
    child.cancel();
    while !child.is_finished() {
        yield_now().await;
    }
    child
}
