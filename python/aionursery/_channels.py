"""Channels: items that go from many senders to many receivers, each to one of them.

A channel has two kinds of ends. Each end can be cloned and is closed for itself: the last send end
that closes ends the iteration of the receivers, the last receive end that closes breaks the
senders. Must never lose an item that was sent as long as there is a receive end, whatever is
cancelled when.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Generic, NamedTuple, NoReturn, Self, TypeVar

from ._waiter import waiter

T = TypeVar("T")


class WouldBlock(Exception):
    """A call that does not wait would have to: no item or no place is there."""


class EndOfChannel(Exception):
    """Every send end is closed and every item received."""


class BrokenResourceError(Exception):
    """Every receive end is closed: what is sent would reach nothing."""


class ClosedResourceError(Exception):
    """This end was closed before, or while it waited."""


class ChannelStatistics(NamedTuple):
    """A look at a channel: `SendChannel.statistics`."""

    buffered: int
    """Items that were sent and not received."""
    capacity: float
    """Items that are kept when nothing receives."""
    senders: int
    """Send ends that are open."""
    receivers: int
    """Receive ends that are open."""
    waiting_senders: int
    waiting_receivers: int


class _Refusal(NamedTuple):
    """What a wait is given in place of an item: what makes the error that it raises."""

    make: Callable[[], Exception]


class _State(Generic[T]):
    """What the ends of one channel share."""

    __slots__ = ("buffer", "capacity", "getters", "handed", "putters", "receivers", "senders")

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.buffer: deque[T] = deque()
        self.senders = self.receivers = 0
        # Items that were handed to a receiver that has not gone on yet. It may be cancelled still,
        # and the item be another's: until then it is not certain that the channel has ended.
        self.handed = 0
        # What waits, in order of asking: a getter's future becomes the item, a putter's None once
        # its item is taken, either a refusal. With each stands the end that it waits at.
        self.getters: OrderedDict[asyncio.Future[T | _Refusal], ReceiveChannel[T]] = OrderedDict()
        self.putters: OrderedDict[asyncio.Future[_Refusal | None], tuple[SendChannel[T], T]] = (
            OrderedDict()
        )

    def hand_out(self, item: T) -> bool:
        """Hand an item to the first receiver that waits."""
        while self.getters:
            future, _ = self.getters.popitem(last=False)
            if not future.done():
                future.set_result(item)
                self.handed += 1
                return True
        return False

    def take_in(self) -> None:
        """Fill the buffer's free places with the items of senders that wait."""
        while self.putters and len(self.buffer) < self.capacity:
            future, (_, item) = self.putters.popitem(last=False)
            if not future.done():
                self.buffer.append(item)
                future.set_result(None)

    def take(self) -> T:
        """Take the next item, the oldest that was sent."""
        if self.buffer:
            item = self.buffer.popleft()
            if self.putters:
                self.take_in()
            return item
        while self.putters:
            future, (_, item) = self.putters.popitem(last=False)
            if not future.done():
                future.set_result(None)
                return item
        raise WouldBlock("no item is there")

    def settle(self) -> None:
        """Note that a receiver has gone on with the item that it was handed."""
        self.handed -= 1
        if not self.senders:
            self.end()

    def give_back(self, item: T) -> None:
        """Hand the item of a receiver that was cancelled to the next one."""
        self.handed -= 1
        if self.receivers and not self.hand_out(item):
            self.buffer.appendleft(item)
        if not self.senders:
            self.end()

    def has_ended(self) -> bool:
        """Return whether no item is left and none can come."""
        return not (self.senders or self.buffer or self.handed)

    def end(self) -> None:
        """Tell the receivers that wait, if the channel has ended."""
        while self.getters and self.has_ended():
            future, _ = self.getters.popitem(last=False)
            if not future.done():
                future.set_result(_Refusal(_ended))

    def break_off(self) -> None:
        """The last receive end has closed: nothing takes the items."""
        self.buffer.clear()
        while self.putters:
            future, _ = self.putters.popitem(last=False)
            if not future.done():
                future.set_result(_Refusal(_broken))

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(
            len(self.buffer),
            self.capacity,
            self.senders,
            self.receivers,
            len(self.putters),
            len(self.getters),
        )


def _broken() -> BrokenResourceError:
    return BrokenResourceError("every receive end of this channel is closed")


def _ended() -> EndOfChannel:
    return EndOfChannel("every send end is closed, and no item is left")


def _closed(end: object) -> ClosedResourceError:
    return ClosedResourceError(f"{end!r} is closed; clone() an end for each task that closes one")


class _End(Generic[T]):
    """What both kinds of ends are: open or closed, left as a block, closed by `close`."""

    __slots__ = ("__weakref__", "_closed", "_state", "_waiting")

    def __init__(self, state: _State[T]) -> None:
        self._state = state
        self._closed = False
        self._waiting = 0

    def close(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close this end, for what expects a coroutine; it does not wait."""
        self.close()

    def statistics(self) -> ChannelStatistics:
        """Return how full the channel is and what waits at it."""
        return self._state.statistics()

    def _turn_away(self, waiting: OrderedDict[asyncio.Future[Any], Any], mine: list[Any]) -> None:
        """Tell what waits at this end that it is closed."""
        for future in mine:
            del waiting[future]
            if not future.done():
                future.set_result(_Refusal(partial(_closed, self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class SendChannel(_End[T]):
    """The end of a channel that items are put into. `open_channel` makes it.

    ``with`` and ``async with`` close it behind the block.
    """

    __slots__ = ()

    def __init__(self, state: _State[T]) -> None:
        super().__init__(state)
        state.senders += 1

    async def send(self, item: T) -> None:
        """Put an item into the channel, and wait until there is a place for it.

        Items arrive in the order of sending. If a scope cancels the wait, the item was not sent;
        a bare ``Task.cancel()`` can come in the moment after it was. Goes on at once where no wait
        is needed. Raises BrokenResourceError if every receive end is closed, ClosedResourceError
        if this end is.
        """
        state = self._state
        if self._closed or not state.receivers:
            self._refuse()
        if state.getters and state.hand_out(item):
            return
        if len(state.buffer) < state.capacity:
            state.buffer.append(item)
            return
        future: asyncio.Future[_Refusal | None] = waiter()
        state.putters[future] = (self, item)
        self._waiting += 1
        try:
            answer = await future
        except BaseException:
            state.putters.pop(future, None)
            raise
        finally:
            self._waiting -= 1
        if answer is not None:
            raise answer.make()

    def send_nowait(self, item: T) -> None:
        """Put an item into the channel, or raise WouldBlock if there is no place for it."""
        state = self._state
        if self._closed or not state.receivers:
            self._refuse()
        if state.getters and state.hand_out(item):
            return
        if len(state.buffer) >= state.capacity:
            raise WouldBlock("no place is free, and nothing waits for an item")
        state.buffer.append(item)

    def clone(self) -> SendChannel[T]:
        """Return another send end of the same channel. Raises ClosedResourceError."""
        if self._closed:
            raise _closed(self)
        return SendChannel(self._state)

    def close(self) -> None:
        """Close this end; what waits at it gets ClosedResourceError. It may be closed already."""
        if self._closed:
            return
        self._closed = True
        state = self._state
        state.senders -= 1
        if self._waiting:
            mine = [future for future, (end, _) in state.putters.items() if end is self]
            self._turn_away(state.putters, mine)
        if not state.senders:
            state.end()

    def _refuse(self) -> NoReturn:
        raise _closed(self) if self._closed else _broken()

    def __repr__(self) -> str:
        return f"<SendChannel {'closed' if self._closed else 'open'} at {id(self):#x}>"


class ReceiveChannel(_End[T]):
    """The end of a channel that items come out of. `open_channel` makes it.

    ``async for`` gives items until every send end is closed. ``with`` and ``async with`` close it
    behind the block.
    """

    __slots__ = ()

    def __init__(self, state: _State[T]) -> None:
        super().__init__(state)
        state.receivers += 1

    async def receive(self) -> T:
        """Wait for the next item and return it.

        Each item goes to one receiver, the first that has asked. If the wait is cancelled, no item
        is lost: one that was handed over in the same moment goes to the next receiver. Goes on at
        once where an item is there. Raises EndOfChannel if every send end is closed and no item is
        left, ClosedResourceError if this end is closed.
        """
        state = self._state
        if self._closed:
            raise _closed(self)
        if state.buffer or state.putters:
            try:
                return state.take()
            except WouldBlock:
                pass
        if state.has_ended():
            raise _ended()
        future: asyncio.Future[T | _Refusal] = waiter()
        state.getters[future] = self
        self._waiting += 1
        try:
            answer = await future
        except BaseException:
            state.getters.pop(future, None)
            if future.done() and not future.cancelled():
                item = future.result()
                if not isinstance(item, _Refusal):
                    state.give_back(item)
            raise
        finally:
            self._waiting -= 1
        if isinstance(answer, _Refusal):
            raise answer.make()
        state.settle()
        return answer

    def receive_nowait(self) -> T:
        """Return the next item, or raise WouldBlock if none is there; otherwise as `receive`."""
        if self._closed:
            raise _closed(self)
        if self._state.has_ended():
            raise _ended()
        return self._state.take()

    def clone(self) -> ReceiveChannel[T]:
        """Return another receive end of the same channel. Raises ClosedResourceError."""
        if self._closed:
            raise _closed(self)
        return ReceiveChannel(self._state)

    def close(self) -> None:
        """Close this end; what waits at it gets ClosedResourceError. It may be closed already."""
        if self._closed:
            return
        self._closed = True
        state = self._state
        state.receivers -= 1
        if self._waiting:
            mine = [future for future, end in state.getters.items() if end is self]
            self._turn_away(state.getters, mine)
        if not state.receivers:
            state.break_off()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.receive()
        except EndOfChannel:
            raise StopAsyncIteration from None

    def __repr__(self) -> str:
        return f"<ReceiveChannel {'closed' if self._closed else 'open'} at {id(self):#x}>"


class open_channel(tuple[SendChannel[T], ReceiveChannel[T]]):
    """Open a channel and return its two ends, a `SendChannel` and a `ReceiveChannel`.

    ``send, receive = open_channel[int](100)``. The capacity is how many items are kept while
    nothing receives: 0 lets a sender wait until its item is received, `math.inf` lets none wait.
    Raises TypeError if it is neither an int nor infinity, ValueError if it is negative.
    """

    # A class, so that it can be subscripted with the type of the items.
    __slots__ = ()

    def __new__(  # type: ignore[misc]
        cls, capacity: float, /
    ) -> tuple[SendChannel[T], ReceiveChannel[T]]:
        if capacity != math.inf and not isinstance(capacity, int):
            raise TypeError(f"capacity must be an int or math.inf, not {capacity!r}")
        if capacity < 0:
            raise ValueError(f"capacity must not be negative, not {capacity}")
        state: _State[T] = _State(capacity)
        return (SendChannel(state), ReceiveChannel(state))
