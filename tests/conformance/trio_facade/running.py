"""Runs: a loop of its own for each, and the token by which others reach it.

Owns the beginning and the end of a run. Never hides what reached the loop's exception handler.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from . import under
from .clock import MockClock, VirtualLoop
from .nurseries import strict
from .tasks import current_task


class RunFinishedError(RuntimeError):
    """The run that a token belongs to has ended."""


class ReportedError(Exception):
    """Something reached the loop's exception handler."""


class TrioToken:
    """Calls functions in a run, from anywhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.main: asyncio.Task[Any] | None = None
        self._lock = threading.Lock()
        self._queue: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._once: set[tuple[Callable[..., object], tuple[Any, ...]]] = set()
        self._finished = False

    def run_sync_soon(
        self, sync_fn: Callable[..., object], *args: Any, idempotent: bool = False
    ) -> None:
        call = (sync_fn, args)
        with self._lock:
            if self._finished:
                raise RunFinishedError("the run has ended")
            if idempotent:
                if call in self._once:
                    return
                self._once.add(call)
            self._queue.append(call)
            self._loop.call_soon_threadsafe(self._call_next)

    def _call_next(self) -> None:
        if self._queue:
            call = self._queue.popleft()
            self._once.discard(call)
            try:
                call[0](*call[1])
            except BaseException:
                # It reaches the loop's exception handler, and with trio the run is over.
                if self.main is not None:
                    self.main.cancel()
                raise

    def finish(self) -> None:
        """Take no more calls, and make those that were taken."""
        with self._lock:
            self._finished = True
        while self._queue:
            self._call_next()


def current_trio_token() -> TrioToken:
    return under.current_run().token


async def to_thread_run_sync(sync_fn: Callable[..., Any], *args: Any) -> Any:
    # Of its own: how long a runner waits for the loop's would be a matter of the virtual clock.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, sync_fn, *args)


def run(
    async_fn: Callable[..., Awaitable[Any]],
    *args: Any,
    clock: MockClock | None = None,
    strict_exception_groups: bool = True,
) -> Any:
    """Run a program of trio's on a loop of its own; a clock that is not given jumps."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("a run cannot be called from inside of a run")
    clock = clock or MockClock(autojump_threshold=0)
    loop = VirtualLoop(clock) if under.virtual else uvloop.new_event_loop()
    this = under.Run(loop, clock, TrioToken(loop))
    loop.set_exception_handler(lambda _, context: this.reports.append(context))

    async def root() -> Any:
        this.root = current_task()
        this.token.main = asyncio.current_task()
        strict.set(strict_exception_groups)
        under.library.warn_stuck_after(math.inf)
        try:
            return await async_fn(*args)
        finally:
            this.token.finish()

    runner_class = under.library.Runner if under.own_task else asyncio.Runner
    under.run = this
    try:
        with runner_class(loop_factory=lambda: loop) as runner:
            try:
                return runner.run(root())
            finally:
                gc.collect()
                if this.reports:
                    raise ReportedError(f"told to the loop's exception handler: {this.reports}")
    finally:
        under.run = None
