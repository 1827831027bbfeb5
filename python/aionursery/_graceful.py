"""`graceful`: a nursery that SIGTERM and SIGINT shut down.

It owns the handlers from entry to exit and restores what was there before. It must never end the
nursery by itself: it calls `shutdown` and `cancel`.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from ._aionursery import Nursery
from ._refusals import check_span

N = TypeVar("N", bound=Nursery)


class graceful(Generic[N]):
    """Enter a nursery that signals shut down: ``async with graceful(Nursery()) as nursery``.

    At the first of ``signals`` it calls ``nursery.shutdown(grace)``, and so sets
    ``nursery.stopping`` and gives body and children ``grace`` seconds; a second one cancels the
    nursery at once. Where several such blocks are open, all are told. The handlers are there until
    the block is left; then those from before are there again. (On uvloop only those that
    `signal.signal` had set: it does not tell what its own ``add_signal_handler`` was given, and the
    signal has its default action.)

    ``nursery`` is one that has not been entered. Entry raises RuntimeError in a thread that is not
    the main one, for only that can handle signals; RuntimeError or ValueError, as the loop does,
    for a signal that cannot be handled. `graceful` itself raises TypeError for what is no
    nursery, ValueError if ``grace`` is negative or a NaN.
    """

    def __init__(
        self,
        nursery: N,
        signals: Iterable[int] = (signal.SIGTERM, signal.SIGINT),
        grace: float = 5.0,
    ) -> None:
        if not isinstance(nursery, Nursery):
            raise TypeError(
                f"graceful() takes a nursery, not {nursery!r}; write graceful(Nursery())"
            )
        check_span("grace", grace)
        self._nursery = nursery
        self._signals = tuple(dict.fromkeys(signals))
        self._grace = grace
        self._told = False
        self._handlers: list[_Handler] = []

    async def __aenter__(self) -> N:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("graceful() handles signals, which only the main thread can")
        loop = asyncio.get_running_loop()
        try:
            for number in self._signals:
                handler = _handler_of(loop, number)
                handler.blocks.append(self)
                self._handlers.append(handler)
            return await self._nursery.__aenter__()
        except BaseException:
            self._restore()
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        try:
            return await self._nursery.__aexit__(exc_type, exc, traceback)
        finally:
            del exc, traceback
            self._restore()

    def _tell(self, number: int) -> None:
        """A signal has come."""
        if self._told:
            self._nursery.cancel(f"a second signal: {signal.strsignal(number) or number}")
        else:
            self._told = True
            self._nursery.shutdown(self._grace)

    def _restore(self) -> None:
        handlers, self._handlers = self._handlers, []
        for handler in handlers:
            handler.blocks.remove(self)
            if not handler.blocks:
                handler.remove()


class _Handler:
    """What handles one signal on one loop, for all blocks that are open there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        self.loop = loop
        self.number = number
        self.blocks: list[graceful[Any]] = []
        self.before = signal.getsignal(number)
        # asyncio's own loops keep there what add_signal_handler was given.
        self.replaced: asyncio.Handle | None = getattr(loop, "_signal_handlers", {}).get(number)
        try:
            loop.add_signal_handler(number, self.tell)
            self.on_loop = True
        except NotImplementedError:
            # Windows. Such a handler runs between two instructions, in whatever code is there.
            signal.signal(number, self.tell_soon)
            self.on_loop = False
        _handlers.add(self)

    def tell(self) -> None:
        for block in tuple(self.blocks):
            block._tell(self.number)

    def tell_soon(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.tell)

    def remove(self) -> None:
        _handlers.discard(self)
        if self.on_loop:
            self.loop.remove_signal_handler(self.number)
            if getattr(self.before, "__module__", "") in ("asyncio.unix_events", "uvloop.loop"):
                # A mere sign to the loop, which has forgotten what to do then.
                if self.replaced is not None and not self.loop.is_closed():
                    handle: Any = self.replaced
                    self.loop.add_signal_handler(self.number, handle._callback, *handle._args)
                return
        if self.before is not None:  # None: it was set in C
            signal.signal(self.number, self.before)


#: Its blocks and its loop keep a handler: where they are forgotten, it goes with them.
_handlers: WeakSet[_Handler] = WeakSet()


def _handler_of(loop: asyncio.AbstractEventLoop, number: int) -> _Handler:
    """Return the handler of a signal on a loop, set now if there was none."""
    for handler in _handlers:
        if handler.loop is loop and handler.number == number:
            return handler
    return _Handler(loop, number)
