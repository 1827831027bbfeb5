//! Channels as objects of Python's: their types, their collection, and the warning that a transfer was never
//! awaited. It must never decide which item goes where.

use std::ffi::{CStr, CString};

use pyo3::prelude::*;

use super::{
    CHANNEL, Channel, Direction, End, RECEIVE_CHANNEL, ReceiveChannel, Receives, SEND_CHANNEL,
    SendChannel, Sends, TRANSFER, Transfer, TransferKind, TransferObject, TransferPhase, demand,
    ends, transfer,
};
use crate::cpython::call::number;
use crate::cpython::called::{finalize, method, property, unary};
use crate::cpython::class::{Class, Inside, WeakList};
use crate::cpython::containers::tuple;
use crate::cpython::errors::{Aside, Fallible, exc, fetch, string, warn, write_unraisable};
use crate::cpython::function::{Method, Property, This};
use crate::cpython::object::{Object, object};
use crate::cpython::owned::{Owned, boolean};
use crate::cpython::slot::{Slot, Visitor};
use crate::cpython::slots::Slots;
use crate::cpython::trash::let_go;

impl Inside for Channel {
    type Weak = ();

    fn class() -> &'static Class<Self> {
        &CHANNEL
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.slot(&self.capacity);
        visitor.slot(&self.producer);
        if let Ok(buffer) = self.buffer.try_borrow() {
            buffer.iter().for_each(|item| visitor.show(item));
        }
        self.getters.traverse(|held| visitor.show(held));
        self.putters.traverse(|held| visitor.show(held));
    }

    fn clear(&self, _: Python<'_>) {
        self.given_back.take();
        let buffer = self.buffer.take();
        let waiting = self.getters.clear().into_iter().chain(self.putters.clear());
        let held = [self.capacity.take(), self.producer.take().map(Owned::into_object)];
        let_go(
            buffer
                .into_iter()
                .chain(waiting.map(Owned::into_object))
                .chain(held.into_iter().flatten()),
        );
    }
}

impl<D: Direction> Inside for End<D> {
    type Weak = WeakList;

    fn class() -> &'static Class<Self> {
        D::class()
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.slot(&self.channel);
    }

    fn clear(&self, _: Python<'_>) {
        let_go(self.channel.take().map(Owned::into_object));
    }
}

impl Inside for Transfer {
    type Weak = ();

    fn class() -> &'static Class<Self> {
        &TRANSFER
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.slot(&self.end);
        visitor.slot(&self.item);
        visitor.slot(&self.wait);
    }

    fn clear(&self, _: Python<'_>) {
        if [&self.end, &self.item].into_iter().all(Slot::is_empty) && self.wait.is_empty() {
            return;
        }
        let held = [self.end.take(), self.item.take(), self.wait.take().map(Owned::into_object)];
        let_go(held.into_iter().flatten());
    }

    /// As for a coroutine: a transfer that is never awaited is a mistake.
    fn farewell(&self, py: Python<'_>) {
        match self.phase.get() {
            TransferPhase::New if !self.claimed.get() => self.warn_unawaited(py),
            TransferPhase::Waiting => self.give_up(py),
            _ => {}
        }
    }
}

impl Transfer {
    /// What a program has called.
    fn name(&self) -> &'static str {
        match self.kind {
            TransferKind::Send => "SendChannel.send",
            TransferKind::Receive => "ReceiveChannel.receive",
            TransferKind::Next => "ReceiveChannel.__anext__",
            TransferKind::Close(name) => name,
        }
    }

    #[cold]
    fn warn_unawaited(&self, py: Python<'_>) {
        let _aside = Aside::new(py);
        let text = CString::new(format!("coroutine '{}' was never awaited", self.name()));
        if let Ok(text) = text
            && let Err(raised) = warn(exc::runtime_warning(py), &text)
        {
            write_unraisable(raised, None);
        }
    }
}

fn transfer_repr(this: &This<'_, TransferObject>) -> Fallible<Owned> {
    let phase = format!("{:?}", this.phase.get()).to_lowercase();
    string(this.py(), &format!("<aionursery coroutine {} {phase}>", this.name()))
}

fn transfer_name(this: &TransferObject) -> Fallible<Owned> {
    let name = Transfer::name(this);
    string(this.py(), name.rsplit('.').next().unwrap_or(name))
}

fn transfer_qualname(this: &TransferObject) -> Fallible<Owned> {
    string(this.py(), Transfer::name(this))
}

fn is_running(this: &TransferObject) -> Fallible<Owned> {
    Ok(boolean(this.py(), this.phase.get() == TransferPhase::Running))
}

const CLOSE: &CStr = c"close($self)\n--\n\nClose this end; what waits at it gets ClosedResourceError. It may be closed already.";
const ACLOSE: &CStr =
    c"aclose($self)\n--\n\nClose this end, for what expects a coroutine; it does not wait.";
const STATISTICS: &CStr =
    c"statistics($self)\n--\n\nReturn how full the channel is and what waits at it.";
const ENTER: &CStr = c"__enter__($self)\n--\n\n";
const EXIT: &CStr = c"__exit__($self, exc_type, exc_value, traceback, /)\n--\n\n";
const AENTER: &CStr = c"__aenter__($self)\n--\n\n";
const AEXIT: &CStr = c"__aexit__($self, exc_type, exc_value, traceback, /)\n--\n\n";

static TRANSFER_METHODS: [Method<TransferObject>; 4] = [
    method!(one_arg TransferObject, c"send", transfer::send_value),
    method!(fast TransferObject, c"throw", transfer::throw),
    method!(no_args TransferObject, c"close", transfer::close),
    Method::end(),
];

static TRANSFER_PROPERTIES: [Property<TransferObject>; 4] = [
    property!(TransferObject, c"__name__", transfer_name),
    property!(TransferObject, c"__qualname__", transfer_qualname),
    property!(TransferObject, c"cr_running", is_running),
    Property::end(),
];

static SEND_METHODS: [Method<SendChannel>; 12] = [
    method!(fast SendChannel, c"send", ends::send).documented(
        c"send($self, item)\n--\n\nPut an item into the channel, and wait until there is a place for it.\n\nItems arrive in the order of sending. If a scope cancels the wait, the item was not sent;\na bare ``Task.cancel()`` can come in the moment after it was. Goes on at once where no wait\nis needed. Raises BrokenResourceError if every receive end is closed, ClosedResourceError\nif this end is.",
    ),
    method!(fast SendChannel, c"send_nowait", ends::send_nowait).documented(
        c"send_nowait($self, item)\n--\n\nPut an item into the channel, or raise WouldBlock if there is no place for it.",
    ),
    method!(no_args SendChannel, c"clone", ends::clone).documented(
        c"clone($self)\n--\n\nReturn another send end of the same channel. Raises ClosedResourceError.",
    ),
    method!(no_args SendChannel, c"close", ends::close).documented(CLOSE),
    method!(no_args SendChannel, c"aclose", ends::aclose).documented(ACLOSE),
    method!(no_args SendChannel, c"statistics", ends::statistics).documented(STATISTICS),
    method!(no_args SendChannel, c"__enter__", ends::enter).documented(ENTER),
    method!(fast SendChannel, c"__exit__", ends::exit).documented(EXIT),
    method!(no_args SendChannel, c"__aenter__", ends::aenter).documented(AENTER),
    method!(fast SendChannel, c"__aexit__", ends::aexit).documented(AEXIT),
    Method::class_getitem(),
    Method::end(),
];

static RECEIVE_METHODS: [Method<ReceiveChannel>; 12] = [
    method!(no_args ReceiveChannel, c"receive", ends::receive).documented(
        c"receive($self)\n--\n\nWait for the next item and return it.\n\nEach item goes to one receiver, the first that has asked. If the wait is cancelled, no item\nis lost: one that was handed over in the same moment goes to the next receiver. Goes on at\nonce where an item is there. Raises EndOfChannel if every send end is closed and no item is\nleft, ClosedResourceError if this end is closed.",
    ),
    method!(no_args ReceiveChannel, c"receive_nowait", ends::receive_nowait).documented(
        c"receive_nowait($self)\n--\n\nReturn the next item, or raise WouldBlock if none is there; otherwise as `receive`.",
    ),
    method!(no_args ReceiveChannel, c"clone", ends::clone).documented(
        c"clone($self)\n--\n\nReturn another receive end of the same channel. Raises ClosedResourceError.",
    ),
    method!(no_args ReceiveChannel, c"close", ends::close).documented(CLOSE),
    method!(no_args ReceiveChannel, c"aclose", ends::aclose).documented(ACLOSE),
    method!(no_args ReceiveChannel, c"statistics", ends::statistics).documented(STATISTICS),
    method!(no_args ReceiveChannel, c"__enter__", ends::enter).documented(ENTER),
    method!(fast ReceiveChannel, c"__exit__", ends::exit).documented(EXIT),
    method!(no_args ReceiveChannel, c"__aenter__", ends::aenter).documented(AENTER),
    method!(fast ReceiveChannel, c"__aexit__", ends::aexit).documented(AEXIT),
    Method::class_getitem(),
    Method::end(),
];

/// Make a channel with this many places, which its statistics show as `capacity`; return its two ends.
/// A `strict` one is anyio's: what a sender offers that was cancelled is taken until its task goes on.
#[pyfunction]
#[pyo3(signature = (capacity, places, strict=false))]
fn make_channel<'py>(
    capacity: &Bound<'py, PyAny>,
    places: &Bound<'py, PyAny>,
    strict: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = capacity.py();
    let made =
        make(object(capacity), object(places), strict).map_err(|raised| fetch(py, raised))?;
    Ok(made.into_bound(py))
}

fn make(capacity: &Object, places: &Object, strict: bool) -> Fallible<Owned> {
    let places = usize::try_from(number(places)?).unwrap_or(0);
    let channel = Channel::create(capacity.py(), capacity, places, strict)?;
    let (send, receive) = (End::<Sends>::create(&channel)?, End::<Receives>::create(&channel)?);
    tuple(capacity.py(), &[send.object(), receive.object()])
}

/// Makes the types and adds them to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    CHANNEL.create(py, c"aionursery._aionursery.Channel", Slots::new())?;
    let slots = Slots::new()
        .repr(unary!(TransferObject, transfer_repr))
        .sends::<Transfer>()
        .finalize(
            finalize!(TransferObject, |this: &This<'_, TransferObject>| this.give_up(this.py()))
        )
        .methods(&TRANSFER_METHODS)
        .properties(&TRANSFER_PROPERTIES);
    let transfer = TRANSFER.create(py, c"aionursery._aionursery.Transfer", slots)?;
    let slots = Slots::new()
        .doc(c"The end of a channel that items are put into. `open_channel` makes it.\n\n``with`` and ``async with`` close it after the block.")
        .repr(unary!(SendChannel, ends::repr))
        .methods(&SEND_METHODS);
    let send = SEND_CHANNEL.create(py, c"aionursery.SendChannel", slots)?;
    let slots = Slots::new()
        .doc(c"The end of a channel that items come out of. `open_channel` makes it.\n\n``async for`` gives items until every send end is closed. ``with`` and ``async with`` close it\nafter the block.")
        .repr(unary!(ReceiveChannel, ends::repr))
        .anext(unary!(ReceiveChannel, ends::anext))
        .methods(&RECEIVE_METHODS);
    let receive = RECEIVE_CHANNEL.create(py, c"aionursery.ReceiveChannel", slots)?;
    module.add("Transfer", transfer)?;
    module.add("SendChannel", send)?;
    module.add("ReceiveChannel", receive)?;
    module.add_function(wrap_pyfunction!(make_channel, module)?)?;
    module.add_function(wrap_pyfunction!(demand::demand, module)?)
}
