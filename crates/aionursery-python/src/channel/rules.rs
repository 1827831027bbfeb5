//! Which item goes where: first in, first out, to the first that has asked. An item that was handed to a
//! receiver is the receiver's only when its task goes on (R12a). It must never take a step of a task, nor
//! be in the middle of a change while the program's code runs.

use super::{Channel, Given, Transfer, TransferObject, side_of};
use crate::channel::line::Line;
use crate::cpython::errors::Fallible;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::wait;

/// It leaves its line, of which it is the first.
#[inline]
fn take_first(line: &Line<TransferObject>, first: &TransferObject) {
    line.take_first(first);
    stands_no_more(first);
}

fn stands_no_more(transfer: &Transfer) {
    transfer.in_line.set(false);
    let end = transfer.end.cloned();
    if let Some(side) = end.as_deref().and_then(side_of) {
        side.waiting.set(side.waiting.get().saturating_sub(1));
    }
}

/// The first that can be given something. What was cancelled leaves the line.
#[inline]
fn first_open(line: &Line<TransferObject>) -> Option<Owned<TransferObject>> {
    loop {
        let first = line.first()?;
        if first.is_open() {
            return Some(first);
        }
        take_first(line, &first);
    }
}

/// The first sender that `find` finds. One that only the line still has was begun by hand and let go of: it has
/// sent nothing.
#[inline]
fn first_sender(
    line: &Line<TransferObject>,
    find: impl Fn(&Line<TransferObject>) -> Option<Owned<TransferObject>>,
) -> Option<Owned<TransferObject>> {
    const THE_LINES_AND_OURS: isize = 2;
    loop {
        let first = find(line)?;
        if first.count() > THE_LINES_AND_OURS {
            return Some(first);
        }
        take_first(line, &first);
    }
}

/// The first that `find` finds in a line; raises if this thread must not wake it.
#[inline]
fn first_here(
    line: &Line<TransferObject>,
    find: impl Fn(&Line<TransferObject>) -> Option<Owned<TransferObject>>,
) -> Fallible<Option<Owned<TransferObject>>> {
    loop {
        let Some(first) = find(line) else { return Ok(None) };
        check_thread(&first)?;
        // To look may have run the program's code.
        if find(line).is_some_and(|again| again.object().is(first.object())) {
            return Ok(Some(first));
        }
    }
}

/// Raises if this thread must not wake what waits.
fn check_thread(transfer: &Transfer) -> Fallible<()> {
    transfer.wait.cloned().map_or(Ok(()), |wait| wait::check_thread(&wait))
}

/// What waits is given something, and its task woken.
#[inline]
fn give(transfer: &Transfer, given: Given) {
    if let Some(wait) = transfer.wait.cloned()
        && wait.is_open()
    {
        transfer.given.set(given);
        wait::complete(&wait, None);
    }
}

impl Channel {
    /// Takes an item in, for the first receiver that waits or for later. Returns `false` if there is no
    /// place for it. Raises from another thread than the receiver's.
    #[inline]
    pub(super) fn offer(&self, item: &Object) -> Fallible<bool> {
        if let Some(first) = first_here(&self.getters, first_open)? {
            let number = self.hand_overs.get() + 1;
            self.hand_overs.set(number);
            self.hand_to(&first, Owned::share(item), number);
            return Ok(true);
        }
        let mut buffer = self.buffer.borrow_mut();
        let is_free = buffer.len() < self.places;
        if is_free {
            buffer.push_back(Owned::share(item));
        }
        Ok(is_free)
    }

    #[inline]
    fn hand_to(&self, first: &TransferObject, item: Owned, number: u64) {
        take_first(&self.getters, first);
        first.item.set(item);
        first.hand_over.set(number);
        self.handed.set(self.handed.get() + 1);
        give(first, Given::Item);
    }

    /// Takes the next item out, the oldest that was sent. Raises from another thread than that of a
    /// sender that can go on then.
    #[inline]
    pub(super) fn take(&self) -> Fallible<Option<Owned>> {
        let sender = if self.strict {
            first_here(&self.putters, |line| first_sender(line, Line::first))?
        } else {
            first_here(&self.putters, |line| first_sender(line, first_open))?
        };
        let oldest = self.buffer.borrow_mut().pop_front();
        self.given_back.borrow_mut().pop_front();
        let Some(sender) = sender else { return Ok(oldest) };
        let Some(oldest) = oldest else {
            take_first(&self.putters, &sender);
            let item = sender.item.take();
            give(&sender, Given::Taken);
            return Ok(item);
        };
        if self.buffer.borrow().len() < self.places {
            take_first(&self.putters, &sender);
            self.buffer.borrow_mut().extend(sender.item.take());
            give(&sender, Given::Taken);
        }
        Ok(Some(oldest))
    }

    /// A receiver has gone on with the item that it was handed.
    #[inline]
    pub(super) fn settle(&self) {
        self.handed.set(self.handed.get().saturating_sub(1));
        self.end();
    }

    /// The item of a receiver that was cancelled goes to the next one, or back to its place before all that
    /// were sent after it.
    pub(super) fn give_back(&self, item: Owned, number: u64) {
        self.handed.set(self.handed.get().saturating_sub(1));
        if self.receivers.get() > 0 {
            match first_open(&self.getters) {
                Some(first) => self.hand_to(&first, item, number),
                None => {
                    let mut given_back = self.given_back.borrow_mut();
                    let place = given_back.partition_point(|other| *other < number);
                    given_back.insert(place, number);
                    self.buffer.borrow_mut().insert(place, item);
                }
            }
        }
        self.end();
    }

    /// Whether no item is left and none can come.
    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        self.senders.get() == 0 && self.handed.get() == 0 && self.buffer.borrow().is_empty()
    }

    /// Tells the receivers that wait, if the channel has ended.
    #[inline]
    pub(super) fn end(&self) {
        while self.has_ended()
            && let Some(first) = first_open(&self.getters)
        {
            take_first(&self.getters, &first);
            give(&first, Given::Ended);
        }
    }

    /// The last receive end has closed: nothing takes the items.
    pub(super) fn break_off(&self) {
        self.given_back.take();
        let lost = self.buffer.take();
        while self.receivers.get() == 0
            && let Some(first) = first_open(&self.putters)
        {
            take_first(&self.putters, &first);
            give(&first, Given::Broken);
        }
        self.want();
        drop(lost);
    }

    /// An item is wanted, or none will be any more.
    #[inline]
    pub(super) fn want(&self) {
        if let Some(producer) = self.producer.take() {
            wait::complete(&producer, None);
        }
    }
}

/// A transfer that was cancelled, or has failed, stands in its line no longer.
pub(super) fn leave(line: &Line<TransferObject>, transfer: &Transfer) {
    if transfer.in_line.get() {
        stands_no_more(transfer);
        line.note_left();
    }
}

/// Raises if this thread must not wake what the closing of an end wakes: what waits at it, and if it is
/// the `last`, what waits at the others' side.
pub(super) fn check_close(
    line: Option<&Line<TransferObject>>,
    end: &Object,
    last: Option<&Line<TransferObject>>,
) -> Fallible<()> {
    let mine = line.map(|line| line.all(|it| it.in_line.get() && it.end.holds(end)));
    for transfer in mine.iter().flatten() {
        check_thread(transfer)?;
    }
    match last.and_then(first_open) {
        Some(first) => check_thread(&first),
        None => Ok(()),
    }
}

/// Tells what waits at an end that it is closed.
pub(super) fn turn_away(line: &Line<TransferObject>, end: &Object) {
    let mine = line.take_all(|it| it.in_line.get() && it.end.holds(end));
    for transfer in &mine {
        stands_no_more(transfer);
    }
    for transfer in &mine {
        give(transfer, Given::Closed);
    }
}
