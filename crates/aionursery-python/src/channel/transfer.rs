//! A transfer as a coroutine: what `await`, `send`, `throw` and `close` do with it. While it waits, its task
//! waits for a wait of ours, which is all that the loop and a task of whatever kind see. It must never keep
//! an item that it was handed and that its task does not go on with.

use pyo3::prelude::*;

use super::ends::{Received, broken, close_end, closed, ended, receive_now, send_now};
use super::line::Line;
use super::rules::leave;
use super::{
    Channel, ChannelObject, Given, Transfer, TransferKind, TransferObject, TransferPhase, new_wait,
    side_of,
};
use crate::cpython::args::Args;
use crate::cpython::call::Sent;
use crate::cpython::errors::{Aside, Fallible, Raised, exc, set_bare, set_error};
use crate::cpython::function::This;
use crate::cpython::generator::raise_thrown;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::cpython::slots::{Sends, yielded};
use crate::wait::{self, WaitPhase};

impl Sends<TransferObject> for Transfer {
    #[inline]
    fn send(this: &This<'_, TransferObject>) -> Fallible<Sent> {
        advance(this)
    }
}

fn advance(this: &TransferObject) -> Fallible<Sent> {
    let step = match this.phase.get() {
        TransferPhase::New => begin,
        TransferPhase::Waiting => go_on,
        TransferPhase::Running => return Err(driven(this.py())),
        TransferPhase::Over => return Err(used(this.py())),
    };
    this.phase.set(TransferPhase::Running);
    let sent = step(this);
    if matches!(sent, Ok(Sent::Yielded(_))) {
        this.phase.set(TransferPhase::Waiting);
    } else {
        let _aside = Aside::of(this.py(), &sent);
        this.finish();
    }
    sent
}

#[cold]
fn driven(py: Python<'_>) -> Raised {
    set_error(exc::value_error(py), c"coroutine already executing")
}

#[cold]
fn used(py: Python<'_>) -> Raised {
    set_error(exc::runtime_error(py), c"cannot reuse already awaited coroutine")
}

/// The first step: what needs no wait is done.
#[inline]
fn begin(this: &TransferObject) -> Fallible<Sent> {
    let py = this.py();
    let (Some(end), Some(channel)) = (this.end.cloned(), this.channel()) else {
        return Err(used(py));
    };
    match this.kind {
        TransferKind::Send => {
            let Some(item) = this.item.cloned() else { return Err(used(py)) };
            begin_or_stand(this, &end, &channel, || {
                Ok(send_now(&end, &channel, &item)?.then(|| none(py)))
            })
        }
        TransferKind::Receive | TransferKind::Next => {
            begin_or_stand(this, &end, &channel, || match receive_now(&end, &channel)? {
                Received::Item(item) => Ok(Some(item)),
                Received::Nothing => Ok(None),
                Received::Ended => Err(this.at_end(py)),
            })
        }
        TransferKind::Close(_) => {
            close_end(&end)?;
            Ok(Sent::Returned(none(py)))
        }
    }
}

/// Does it at once, or stands in line for it.
#[inline]
fn begin_or_stand(
    this: &TransferObject,
    end: &Object,
    channel: &Channel,
    now: impl Fn() -> Fallible<Option<Owned>>,
) -> Fallible<Sent> {
    let mut made = None;
    let gone = loop {
        if let Some(answer) = now()? {
            return Ok(Sent::Returned(answer));
        }
        match made.take() {
            // To make a wait may run the program's code, so the channel is looked at again.
            None => made = Some(new_wait(this.py())?),
            Some(wait) => break this.wait.replace(Some(wait)),
        }
    };
    this.in_line.set(true);
    if let Some(side) = side_of(end) {
        side.waiting.set(side.waiting.get() + 1);
    }
    this.line(channel).join(this);
    drop(gone);
    if this.kind != TransferKind::Send {
        channel.want();
    }
    go_on(this)
}

/// Its wait is over, or it is asked again before.
#[inline]
fn go_on(this: &TransferObject) -> Fallible<Sent> {
    let py = this.py();
    let (Some(wait), Some(channel)) = (this.wait.cloned(), this.channel()) else {
        return Err(used(py));
    };
    if let Sent::Yielded(waiting) = wait::advance(&wait)? {
        return Ok(Sent::Yielded(waiting));
    }
    match this.given.replace(Given::Nothing) {
        Given::Item => {
            let item = this.item.take();
            channel.settle();
            Ok(Sent::Returned(item.unwrap_or_else(|| none(py))))
        }
        Given::Taken => Ok(Sent::Returned(none(py))),
        Given::Ended => Err(this.at_end(py)),
        Given::Broken => Err(broken(py)),
        Given::Closed => Err(this.end.cloned().map_or_else(|| used(py), |end| closed(&end))),
        Given::Nothing => {
            // The program has got hold of the wait, and has set it.
            leave(this.line(&channel), this);
            begin(this)
        }
    }
}

impl Transfer {
    fn channel(&self) -> Option<Owned<ChannelObject>> {
        let end = self.end.cloned()?;
        side_of(&end)?.channel.cloned()
    }

    /// Where it waits.
    fn line<'a>(&self, channel: &'a Channel) -> &'a Line<TransferObject> {
        if self.kind == TransferKind::Send { &channel.putters } else { &channel.getters }
    }

    /// No item is left and none can come.
    #[cold]
    fn at_end(&self, py: Python<'_>) -> Raised {
        match self.kind {
            TransferKind::Next => set_bare(exc::stop_async_iteration(py)),
            _ => ended(py),
        }
    }

    /// It is over. An item that it was handed, and has not given to its task, goes to the next receiver.
    #[inline]
    fn finish(&self) {
        self.phase.set(TransferPhase::Over);
        let given = self.given.replace(Given::Nothing);
        if given == Given::Item || self.in_line.get() {
            self.withdraw(given);
        }
        self.wait.clear();
        self.item.clear();
        self.end.clear();
    }

    #[cold]
    fn withdraw(&self, given: Given) {
        let Some(channel) = self.channel() else { return };
        leave(self.line(&channel), self);
        if given == Given::Item
            && let Some(item) = self.item.take()
        {
            channel.give_back(item, self.hand_over.get());
        }
    }

    /// Its task goes without having gone on with the item that it was handed.
    pub(super) fn give_up(&self, py: Python<'_>) {
        if self.phase.get() == TransferPhase::Waiting && self.given.get() == Given::Item {
            let _aside = Aside::new(py);
            self.finish();
        }
    }
}

/// The method `send`.
pub(super) fn send_value(this: &TransferObject, _: &Object) -> Fallible<Owned> {
    yielded(advance(this))
}

/// It is not to go on: what it waits for is called off, and it ends.
fn interrupt(this: &TransferObject, after: WaitPhase) {
    this.phase.set(TransferPhase::Running);
    if let Some(wait) = this.wait.cloned()
        && wait.phase().get() == WaitPhase::Waiting
    {
        wait::interrupt(&wait, after);
    }
    this.finish();
}

pub(super) fn throw(this: &TransferObject, args: Args<'_>) -> Fallible<Owned> {
    let py = this.py();
    match this.phase.get() {
        TransferPhase::Running => return Err(driven(py)),
        TransferPhase::Over => return Err(used(py)),
        TransferPhase::New | TransferPhase::Waiting => {}
    }
    let raised = raise_thrown(py, args.positional());
    let _aside = Aside::new(py);
    interrupt(this, WaitPhase::Cancelled);
    Err(raised)
}

pub(super) fn close(this: &TransferObject) -> Fallible<Owned> {
    match this.phase.get() {
        TransferPhase::Running => return Err(driven(this.py())),
        TransferPhase::Over => {}
        TransferPhase::New | TransferPhase::Waiting => interrupt(this, WaitPhase::Taken),
    }
    Ok(none(this.py()))
}
