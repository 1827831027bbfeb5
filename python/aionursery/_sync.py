"""Events, locks and queues: asyncio's own logic, on waits that need neither future nor `call_soon`.

Names, meaning and fairness are asyncio's, because the code is: each class only has its waiters made
by the loop's state instead of the loop. One of our tasks goes from such a waiter straight to the
ready queue; any other task finds the future that it expects.
"""

from __future__ import annotations

import asyncio
from asyncio.events import _get_running_loop
from typing import Any, TypeVar

from ._aionursery import LoopState, loop_state

T = TypeVar("T")


class _Waits:
    """Has waiters made where they are cheap."""

    _loop: asyncio.AbstractEventLoop | None

    def _get_loop(self) -> LoopState:
        loop = _get_running_loop()
        if loop is None or loop is not self._loop:
            # Binds to the loop, or refuses another one's.
            loop = super()._get_loop()  # type: ignore[misc]
        return loop_state(loop)


class Event(_Waits, asyncio.Event):
    """`asyncio.Event`: tasks wait until it is set."""


class Lock(_Waits, asyncio.Lock):
    """`asyncio.Lock`: one task at a time."""


class Semaphore(_Waits, asyncio.Semaphore):
    """`asyncio.Semaphore`: a number of tasks at a time."""


class BoundedSemaphore(_Waits, asyncio.BoundedSemaphore):
    """`asyncio.BoundedSemaphore`: never released more often than acquired."""


class Condition(_Waits, asyncio.Condition):
    """`asyncio.Condition`: tasks wait, under a lock, until they are notified."""

    def __init__(self, lock: asyncio.Lock | None = None) -> None:
        super().__init__(Lock() if lock is None else lock)


class _Queue(_Waits):
    _finished: asyncio.Event

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)  # type: ignore[call-arg]
        self._finished = Event()
        self._finished.set()


class Queue(_Queue, asyncio.Queue[T]):
    """`asyncio.Queue`: first in, first out."""


class PriorityQueue(_Queue, asyncio.PriorityQueue[Any]):
    """`asyncio.PriorityQueue`: the smallest first."""


class LifoQueue(_Queue, asyncio.LifoQueue[T]):
    """`asyncio.LifoQueue`: last in, first out."""
