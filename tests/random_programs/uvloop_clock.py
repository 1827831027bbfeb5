"""A virtual clock for uvloop, which has none that can be set. Imported only where uvloop is."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from contextvars import Context
from typing import Any

import uvloop

from .clock import MOST_TURNS


class BoundedUvloop(uvloop.Loop):
    """uvloop on a virtual clock: what waits or goes round for ever, it stops.

    Once in each turn it looks whether anything was queued in a whole turn; if not, nothing can
    happen any more before the next timer, and it is then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.numbers = itertools.count()
        self.queued = self.seen = self.turns = self.idle_turns = 0
        super().call_soon(self.turn)

    def time(self) -> float:
        return self.now

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        self.queued += 1
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        self.queued += 1
        return super().call_soon_threadsafe(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self.timers, (when, next(self.numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by the handle; it is skipped when it is due."""

    def turn(self) -> None:
        self.turns += 1
        idle = self.queued == self.seen and not self.let_time_pass()
        # A loop that is about to stop has nothing to do in its last turns, either.
        self.idle_turns = self.idle_turns + 1 if idle else 0
        if self.turns > MOST_TURNS or self.idle_turns > 3:
            self.turns = self.idle_turns = 0
            self.stop()
        self.seen = self.queued
        super().call_soon(self.turn)

    def let_time_pass(self) -> bool:
        """Go on to the next timer, if there is one."""
        due: list[asyncio.TimerHandle] = []
        while self.timers and (not due or self.timers[0][0] <= self.now):
            when, _, handle = heapq.heappop(self.timers)
            if not handle.cancelled():
                self.now = max(self.now, when)
                due.append(handle)
        for handle in due:
            self.call_soon(handle._run)
        return bool(due)
