//! What a program does at an end, and what that raises. It must never wait: what may is a transfer.

use pyo3::prelude::*;

use super::rules::{check_close, turn_away};
use super::{
    Channel, ChannelObject, Direction, End, ReceiveChannel, Receives, SendChannel, Sends, Side,
    Transfer, TransferKind, side_of,
};
use crate::cpython::args::Args;
use crate::cpython::call::{call, int};
use crate::cpython::class::Heap;
use crate::cpython::errors::{Fallible, Raised, exc, set_error, set_error_text, string};
use crate::cpython::function::This;
use crate::cpython::imports::imports;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::wait::{self, WaitKind};

/// An end as CPython passes it.
type ThisEnd<'a, D> = This<'a, Heap<End<D>>>;

/// An end in words.
fn words(end: &Object) -> String {
    let name = if end.cast::<SendChannel>().is_some() { Sends::NAME } else { Receives::NAME };
    let is_closed = side_of(end).is_none_or(|side| side.closed.get());
    let phase = if is_closed { "closed" } else { "open" };
    format!("<{name} {phase} at {:#x}>", end.address())
}

/// Raises that this end is closed.
#[cold]
pub(super) fn closed(end: &Object) -> Raised {
    let text = format!("{} is closed; clone() an end for each task that closes one", words(end));
    set_error_text(imports(end.py()).parts.closed_resource, &text)
}

/// Raises that nothing receives any more.
#[cold]
pub(super) fn broken(py: Python<'_>) -> Raised {
    set_error(imports(py).parts.broken_resource, c"every receive end of this channel is closed")
}

/// Raises that no item is left and none can come.
#[cold]
pub(super) fn ended(py: Python<'_>) -> Raised {
    set_error(imports(py).parts.end_of_channel, c"every send end is closed, and no item is left")
}

/// Puts an item into the channel. Returns `false` if there is no place for it.
#[inline]
pub(super) fn send_now(end: &Object, channel: &Channel, item: &Object) -> Fallible<bool> {
    if side_of(end).is_none_or(|side| side.closed.get()) {
        return Err(closed(end));
    }
    if channel.receivers.get() == 0 {
        return Err(broken(end.py()));
    }
    channel.offer(item)
}

/// What a receiver finds.
pub(super) enum Received {
    Item(Owned),
    Nothing,
    /// Nothing, and nothing can come.
    Ended,
}

/// Takes an item out of the channel.
#[inline]
pub(super) fn receive_now(end: &Object, channel: &Channel) -> Fallible<Received> {
    if side_of(end).is_none_or(|side| side.closed.get()) {
        return Err(closed(end));
    }
    Ok(match channel.take()? {
        Some(item) => Received::Item(item),
        None if channel.has_ended() => Received::Ended,
        None => Received::Nothing,
    })
}

/// Closes an end. Raises, and leaves it open, if this thread must not wake what waits for that.
pub(super) fn close_end(end: &Object) -> Fallible<()> {
    if let Some(sends) = end.cast::<SendChannel>() {
        close_side::<Sends>(end, sends)
    } else if let Some(receives) = end.cast::<ReceiveChannel>() {
        close_side::<Receives>(end, receives)
    } else {
        Ok(())
    }
}

fn close_side<D: Direction>(end: &Object, side: &Side) -> Fallible<()> {
    let Some(channel) = side.channel.cloned() else { return Ok(()) };
    if side.closed.get() {
        return Ok(());
    }
    let (line, open) = (D::line(&channel), D::open(&channel));
    let last = (open.get() == 1).then(|| D::other_line(&channel));
    check_close((side.waiting.get() > 0).then_some(line), end, last)?;
    // To look may have run the program's code.
    if side.closed.replace(true) {
        return Ok(());
    }
    open.set(open.get().saturating_sub(1));
    if side.waiting.get() > 0 {
        turn_away(line, end);
    }
    if open.get() == 0 {
        D::last_closed(&channel);
    }
    Ok(())
}

/// The only argument of a method.
#[inline]
fn item<'a>(py: Python<'_>, args: Args<'a>, method: &str) -> Fallible<&'a Object> {
    if let ([item], false) = (args.positional(), args.has_keywords()) {
        return Ok(*item);
    }
    let [item] = args.parse(py, method, ["item"], 1)?;
    item.ok_or_else(|| {
        let text = format!("{method}() missing 1 required positional argument: 'item'");
        set_error_text(exc::type_error(py), &text)
    })
}

/// The channel of an end, which only the collector takes away.
fn channel_of<D: Direction>(this: &ThisEnd<'_, D>) -> Fallible<Owned<ChannelObject>> {
    this.side.channel.cloned().ok_or_else(|| closed(this.object()))
}

pub(super) fn send(this: &ThisEnd<'_, Sends>, args: Args<'_>) -> Fallible<Owned> {
    let item = item(this.py(), args, "send")?;
    Transfer::create(this.object(), TransferKind::Send, Some(item))
}

pub(super) fn send_nowait(this: &ThisEnd<'_, Sends>, args: Args<'_>) -> Fallible<Owned> {
    let py = this.py();
    let item = item(py, args, "send_nowait")?;
    if send_now(this.object(), &*channel_of(this)?, item)? {
        return Ok(none(py));
    }
    let text = c"no place is free, and nothing waits for an item";
    Err(set_error(imports(py).parts.would_block, text))
}

pub(super) fn receive(this: &ThisEnd<'_, Receives>) -> Fallible<Owned> {
    Transfer::create(this.object(), TransferKind::Receive, None)
}

pub(super) fn anext(this: &ThisEnd<'_, Receives>) -> Fallible<Owned> {
    Transfer::create(this.object(), TransferKind::Next, None)
}

pub(super) fn receive_nowait(this: &ThisEnd<'_, Receives>) -> Fallible<Owned> {
    let py = this.py();
    match receive_now(this.object(), &*channel_of(this)?)? {
        Received::Item(item) => Ok(item),
        Received::Ended => Err(ended(py)),
        Received::Nothing => Err(set_error(imports(py).parts.would_block, c"no item is there")),
    }
}

pub(super) fn clone<D: Direction>(this: &ThisEnd<'_, D>) -> Fallible<Owned> {
    if this.side.closed.get() {
        return Err(closed(this.object()));
    }
    End::<D>::create(&*channel_of(this)?).map(Owned::into_object)
}

pub(super) fn close<D: Direction>(this: &ThisEnd<'_, D>) -> Fallible<Owned> {
    close_end(this.object()).map(|()| none(this.py()))
}

pub(super) fn aclose<D: Direction>(this: &ThisEnd<'_, D>) -> Fallible<Owned> {
    Transfer::create(this.object(), TransferKind::Close(D::ACLOSE), None)
}

pub(super) fn enter<D: Direction>(this: &ThisEnd<'_, D>) -> Fallible<Owned> {
    Ok(Owned::share(this.object()))
}

pub(super) fn exit<D: Direction>(this: &ThisEnd<'_, D>, _: Args<'_>) -> Fallible<Owned> {
    close(this)
}

pub(super) fn aenter<D: Direction>(this: &ThisEnd<'_, D>) -> Fallible<Owned> {
    let payload = Some(Owned::share(this.object()));
    wait::create(this.py(), WaitKind::Ready, 0.0, payload).map(Owned::into_object)
}

pub(super) fn aexit<D: Direction>(this: &ThisEnd<'_, D>, _: Args<'_>) -> Fallible<Owned> {
    Transfer::create(this.object(), TransferKind::Close(D::AEXIT), None)
}

pub(super) fn repr<D: Direction>(this: &ThisEnd<'_, D>) -> Fallible<Owned> {
    string(this.py(), &words(this.object()))
}

pub(super) fn statistics<D: Direction>(this: &ThisEnd<'_, D>) -> Fallible<Owned> {
    let py = this.py();
    let channel = channel_of(this)?;
    let buffered = channel.buffer.borrow().len();
    let counts = [
        buffered,
        channel.senders.get(),
        channel.receivers.get(),
        channel.putters.count(),
        channel.getters.count(),
    ];
    let capacity = channel.capacity.cloned().unwrap_or_else(|| none(py));
    let [buffered, senders, receivers, putters, getters] =
        counts.map(|count| int(py, count as u64));
    call(
        imports(py).parts.channel_statistics,
        [&*buffered?, &*capacity, &*senders?, &*receivers?, &*putters?, &*getters?],
    )
}
