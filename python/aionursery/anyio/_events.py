"""anyio's events: a list of waiters that need neither future nor `call_soon`.

Must never wake a task but by its waiter.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from typing import Any, Self

from anyio._core._synchronization import Event as BaseEvent
from anyio._core._synchronization import EventStatistics

from .. import _aionursery as engine

_new = object.__new__


class Event(BaseEvent):
    """anyio's `Event`."""

    __slots__ = ("_is_set", "_waiters")

    _is_set: bool
    #: One for each task that waits, in the order of asking.
    _waiters: list[asyncio.Future[Any]]

    def __new__(cls) -> Self:
        event = _new(cls)
        event._is_set = False
        event._waiters = []
        return event

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def is_set(self) -> bool:
        return self._is_set

    async def wait(self) -> None:
        if self._is_set:
            await engine.checkpoint()
            return
        waiter = engine.loop_state(get_running_loop()).create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def statistics(self) -> EventStatistics:
        return EventStatistics(len(self._waiters))


def make_event() -> Event:
    """Make one, in fewer steps than its class."""
    event = _new(Event)
    event._is_set = False
    event._waiters = []
    return event
