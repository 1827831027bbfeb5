"""Time: a clock that is set by hand or jumps, and a loop that goes by it.

Owns the time that a test sees, also that of the module `time`. Never waits for real, unless a
thread has something to tell.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import time
import types
from typing import Any

from . import under

#: After this many seconds without a word from any thread, the program waits for ever.
PATIENCE = 5


class MockClock:
    """A clock that stands still; with `autojump_threshold=0` it jumps when nothing can run."""

    def __init__(self, rate: float = 0.0, autojump_threshold: float = math.inf) -> None:
        if rate or autojump_threshold not in (0, math.inf):
            raise NotImplementedError("a clock that goes, or one that waits before it jumps")
        self.autojump_threshold = autojump_threshold
        self.now = 0.0

    def current_time(self) -> float:
        return self.now

    def jump(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("time cannot go backwards")
        self.now += seconds


class _Selector(selectors.DefaultSelector):
    """Knows when nothing can run: the loop would wait, and no file has anything to say."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.loop.wake_idle() or self.loop.jump():
            return []
        ready = super().select(PATIENCE)
        if not ready:
            raise RuntimeError("the program waits for ever: nothing is scheduled")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that goes by a given clock."""

    def __init__(self, clock: MockClock) -> None:
        self.clock = clock
        self.idle: list[asyncio.Future[None]] = []
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.clock.current_time()

    def wake_idle(self) -> bool:
        """Wake the tasks that wait until nothing can run."""
        woken = [waiter for waiter in self.idle if not waiter.done()]
        self.idle.clear()
        for waiter in woken:
            waiter.set_result(None)
        return bool(woken)

    def jump(self) -> bool:
        """Go to the next timer, exactly, if this clock jumps."""
        if self.clock.autojump_threshold or not self._scheduled:
            return False
        self.clock.jump(max(0, self._scheduled[0].when() - self.clock.now))
        return True


def current_time() -> float:
    return under.current_run().loop.time()


def current_clock() -> MockClock:
    return under.current_run().clock


def blocking_sleep(seconds: float) -> None:
    """What a blocking sleep is to a test: a thread's is one, a task's takes the time along."""
    loop = asyncio._get_running_loop()
    if isinstance(loop, VirtualLoop):
        loop.clock.jump(seconds)
    else:
        time.sleep(seconds)


def time_of_tests() -> Any:
    """What a test gets for the module `time`."""
    if not under.virtual:
        return time
    names = {"perf_counter": current_time, "sleep": blocking_sleep}
    return types.SimpleNamespace(**vars(time) | names)
