//! Channels: what their ends share, the ends, and what a task awaits at one. A wait at a channel is one of our
//! waits, so what completes it wakes a task of ours without a future. It must never lose an item that was
//! sent as long as there is a receive end, whatever is cancelled when (R12a).
//!
//! What there is stands here; `line` has what waits, `rules` which item goes where, `transfer` what a task awaits,
//! `ends` what a program calls, `demand` what a producer waits for, and `class` the types.

mod class;
mod demand;
mod ends;
mod line;
mod rules;
mod transfer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Deref;

use pyo3::prelude::*;

use crate::cpython::class::{Class, Heap};
use crate::cpython::errors::Fallible;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::cpython::slot::Slot;
use crate::engine::state::LoopState;
use crate::wait::{self, WaitKind, WaitObject};

pub(crate) use class::add_to;
use line::{Line, Stands};

/// What the ends of one channel share.
pub(crate) struct Channel {
    /// How many items are kept while nothing receives; and in the program's own words.
    places: usize,
    capacity: Slot,
    /// It is anyio's: what a sender offers that was cancelled is taken until its task goes on.
    strict: bool,
    /// What was sent and not received, the oldest first.
    buffer: RefCell<VecDeque<Owned>>,
    /// Which of all that were handed to receivers the first of these are: they were given back.
    given_back: RefCell<VecDeque<u64>>,
    /// How many were handed to receivers.
    hand_overs: Cell<u64>,
    /// How many ends are open.
    senders: Cell<usize>,
    receivers: Cell<usize>,
    /// How many items were handed to a receiver that has not gone on yet. It may be cancelled still, and the
    /// item be another's: until then it is not certain that the channel has ended.
    handed: Cell<usize>,
    /// What waits for an item, and what waits for a place for one.
    getters: Line<TransferObject>,
    putters: Line<TransferObject>,
    /// What waits until an item is wanted.
    producer: Slot<WaitObject>,
}

pub(crate) type ChannelObject = Heap<Channel>;

static CHANNEL: Class<Channel> = Class::new();

impl Channel {
    fn create(
        py: Python<'_>,
        capacity: &Object,
        places: usize,
        strict: bool,
    ) -> Fallible<Owned<ChannelObject>> {
        let channel = Self {
            places,
            capacity: Slot::empty(),
            strict,
            buffer: RefCell::new(VecDeque::new()),
            given_back: RefCell::new(VecDeque::new()),
            hand_overs: Cell::new(0),
            senders: Cell::new(0),
            receivers: Cell::new(0),
            handed: Cell::new(0),
            getters: Line::new(),
            putters: Line::new(),
            producer: Slot::empty(),
        };
        channel.capacity.set(Owned::share(capacity));
        CHANNEL.make(py, channel)
    }
}

/// What both kinds of ends are: open or closed.
struct Side {
    channel: Slot<ChannelObject>,
    closed: Cell<bool>,
    /// How many of its transfers stand in a line.
    waiting: Cell<usize>,
}

/// Which kind an end is of.
trait Direction: Sized + 'static {
    /// What a program calls the class, and its methods that close an end when they are awaited.
    const NAME: &'static str;
    const ACLOSE: &'static str;
    const AEXIT: &'static str;

    fn class() -> &'static Class<End<Self>>;

    /// How many ends of this kind are open.
    fn open(channel: &Channel) -> &Cell<usize>;

    /// What waits at ends of this kind, and at the others.
    fn line(channel: &Channel) -> &Line<TransferObject>;
    fn other_line(channel: &Channel) -> &Line<TransferObject>;

    /// The last end of this kind has closed.
    fn last_closed(channel: &Channel);
}

/// An end of a channel.
#[repr(transparent)]
struct End<D> {
    side: Side,
    direction: PhantomData<fn(D)>,
}

impl<D> Deref for End<D> {
    type Target = Side;

    #[inline]
    fn deref(&self) -> &Side {
        &self.side
    }
}

enum Sends {}
enum Receives {}

type SendChannel = Heap<End<Sends>>;
type ReceiveChannel = Heap<End<Receives>>;

static SEND_CHANNEL: Class<End<Sends>> = Class::new();
static RECEIVE_CHANNEL: Class<End<Receives>> = Class::new();

impl Direction for Sends {
    const NAME: &'static str = "SendChannel";
    const ACLOSE: &'static str = "SendChannel.aclose";
    const AEXIT: &'static str = "SendChannel.__aexit__";

    fn class() -> &'static Class<End<Self>> {
        &SEND_CHANNEL
    }

    fn open(channel: &Channel) -> &Cell<usize> {
        &channel.senders
    }

    fn line(channel: &Channel) -> &Line<TransferObject> {
        &channel.putters
    }

    fn other_line(channel: &Channel) -> &Line<TransferObject> {
        &channel.getters
    }

    fn last_closed(channel: &Channel) {
        channel.end();
    }
}

impl Direction for Receives {
    const NAME: &'static str = "ReceiveChannel";
    const ACLOSE: &'static str = "ReceiveChannel.aclose";
    const AEXIT: &'static str = "ReceiveChannel.__aexit__";

    fn class() -> &'static Class<End<Self>> {
        &RECEIVE_CHANNEL
    }

    fn open(channel: &Channel) -> &Cell<usize> {
        &channel.receivers
    }

    fn line(channel: &Channel) -> &Line<TransferObject> {
        &channel.getters
    }

    fn other_line(channel: &Channel) -> &Line<TransferObject> {
        &channel.putters
    }

    fn last_closed(channel: &Channel) {
        channel.break_off();
    }
}

impl<D: Direction> End<D> {
    /// A new end of a channel, which is open.
    fn create(channel: &ChannelObject) -> Fallible<Owned<Heap<Self>>> {
        let side = Side { channel: Slot::empty(), closed: Cell::new(false), waiting: Cell::new(0) };
        side.channel.set(Owned::share(channel));
        let made = D::class().make(channel.py(), Self { side, direction: PhantomData })?;
        let open = D::open(channel);
        open.set(open.get() + 1);
        Ok(made)
    }
}

/// What every end has, of one that may be of either kind.
#[inline]
fn side_of(end: &Object) -> Option<&Side> {
    match end.cast::<ReceiveChannel>() {
        Some(end) => Some(&end.side),
        None => end.cast::<SendChannel>().map(|end| &end.side),
    }
}

/// What a task of whatever kind waits for, at the loop that runs. Raises if none does.
fn new_wait(py: Python<'_>) -> Fallible<Owned<WaitObject>> {
    let state = LoopState::current(py)?;
    let wait = wait::create(py, WaitKind::Parked, 0.0, None)?;
    wait.attach_to(&state);
    Ok(wait)
}

/// What is transferred, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TransferKind {
    Send,
    Receive,
    /// As `Receive`, for `async for`: the end of the channel ends the iteration.
    Next,
    /// Nothing: the end is closed, by the method of this name.
    Close(&'static str),
}

/// Where a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TransferPhase {
    New,
    /// It is being driven just now.
    Running,
    Waiting,
    Over,
}

/// What a transfer that waits was given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    Nothing,
    /// An item, which lies in it.
    Item,
    /// Its item was taken.
    Taken,
    /// That no item is left and none can come.
    Ended,
    /// That nothing receives any more.
    Broken,
    /// That its end is closed.
    Closed,
}

/// What a task awaits at an end: a coroutine that `send` or `receive` returns.
pub(crate) struct Transfer {
    kind: TransferKind,
    phase: Cell<TransferPhase>,
    given: Cell<Given>,
    /// It stands in its line.
    in_line: Cell<bool>,
    /// A child was made of it, or it was refused: that it was never awaited says nothing.
    claimed: Cell<bool>,
    end: Slot,
    item: Slot,
    /// Which of all that were handed to receivers its item is.
    hand_over: Cell<u64>,
    /// What its task waits for.
    wait: Slot<WaitObject>,
}

pub(crate) type TransferObject = Heap<Transfer>;

static TRANSFER: Class<Transfer> = Class::new();

impl Transfer {
    #[inline]
    fn create(end: &Object, kind: TransferKind, item: Option<&Object>) -> Fallible<Owned> {
        let transfer = Self {
            kind,
            phase: Cell::new(TransferPhase::New),
            given: Cell::new(Given::Nothing),
            in_line: Cell::new(false),
            claimed: Cell::new(false),
            end: Slot::empty(),
            item: Slot::empty(),
            hand_over: Cell::new(0),
            wait: Slot::empty(),
        };
        transfer.end.set(Owned::share(end));
        drop(transfer.item.replace(item.map(Owned::share)));
        TRANSFER.make(end.py(), transfer).map(Owned::into_object)
    }

    /// A child is made of it, and may be cancelled before it begins; or it is refused.
    pub(crate) fn claim(&self) {
        self.claimed.set(true);
    }

    /// Whether it is still to be given something: its task waits, and is not cancelled.
    #[inline]
    fn is_open(&self) -> bool {
        self.in_line.get() && self.wait.cloned().is_some_and(|wait| wait.is_open())
    }
}

impl Stands for TransferObject {
    #[inline]
    fn stands(&self) -> bool {
        self.in_line.get()
    }
}
