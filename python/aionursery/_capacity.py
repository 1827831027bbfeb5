"""`CapacityLimiter`: a number of borrowers at a time, each known by what it is.

Names and meaning are trio's and anyio's. A token that is given back goes to the first that waits.
Must never lose a token, whatever is cancelled when.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from types import TracebackType
from typing import Any, NamedTuple

from ._channel_parts import WouldBlock
from ._waiter import waiter


class CapacityLimiterStatistics(NamedTuple):
    """A look at a limiter: `CapacityLimiter.statistics`."""

    borrowed_tokens: int
    total_tokens: float
    borrowers: list[Any]
    """What holds a token: tasks, or what was passed to `acquire_on_behalf_of`."""
    tasks_waiting: int


class CapacityLimiter:
    """A number of tokens that tasks borrow: ``async with limiter``.

    ``total_tokens`` is an int from 1 on, or `math.inf`; it can be changed at any time. Unlike a
    semaphore it knows what has borrowed, so nothing borrows twice or gives back what it has not.
    Raises TypeError or ValueError for another number.
    """

    def __init__(self, total_tokens: float) -> None:
        self._borrowers: set[Any] = set()
        self._waiting: OrderedDict[Any, asyncio.Future[None]] = OrderedDict()
        self._total = _checked(total_tokens)

    @property
    def total_tokens(self) -> float:
        """How many may borrow at once. If it is lowered, what is borrowed stays so."""
        return self._total

    @total_tokens.setter
    def total_tokens(self, total: float) -> None:
        self._total = _checked(total)
        self._hand_out()

    @property
    def borrowed_tokens(self) -> int:
        """How many tokens are borrowed now."""
        return len(self._borrowers)

    @property
    def available_tokens(self) -> float:
        """How many tokens are left."""
        return self._total - len(self._borrowers)

    def statistics(self) -> CapacityLimiterStatistics:
        """Return what is borrowed, and by what."""
        borrowers = list(self._borrowers)
        return CapacityLimiterStatistics(len(borrowers), self._total, borrowers, len(self._waiting))

    def acquire_nowait(self) -> None:
        """Borrow a token for the current task, or raise WouldBlock."""
        self.acquire_on_behalf_of_nowait(_task())

    def acquire_on_behalf_of_nowait(self, borrower: Any) -> None:
        """Borrow a token for any hashable object, or raise WouldBlock."""
        self._check(borrower)
        if self._waiting or len(self._borrowers) >= self._total:
            raise WouldBlock("no token is left")
        self._borrowers.add(borrower)

    async def acquire(self) -> None:
        """Wait for a token, and borrow it for the current task.

        Goes on at once if one is left. Raises RuntimeError if the task has one already.
        """
        await self.acquire_on_behalf_of(_task())

    async def acquire_on_behalf_of(self, borrower: Any) -> None:
        """Wait for a token, and borrow it for any hashable object; otherwise as `acquire`."""
        try:
            self.acquire_on_behalf_of_nowait(borrower)
            return
        except WouldBlock:
            pass
        future: asyncio.Future[None] = waiter()
        self._waiting[borrower] = future
        try:
            # A thread may have given back the last token while this lined up: `_take_back`.
            self._hand_out()
            await future
        except BaseException:
            if self._waiting.pop(borrower, None) is None:
                # It was handed over in the same moment.
                self.release_on_behalf_of(borrower)
            raise

    def release(self) -> None:
        """Give back the current task's token. Raises RuntimeError if it has none."""
        self.release_on_behalf_of(_task())

    def release_on_behalf_of(self, borrower: Any) -> None:
        """Give back the token of what it was borrowed for. Raises RuntimeError if it has none."""
        try:
            self._borrowers.remove(borrower)
        except KeyError:
            raise RuntimeError(f"this limiter has lent no token to {borrower!r}") from None
        self._hand_out()

    def _take_back(self, borrower: Any) -> None:
        """Take back the token of what is left of a closed loop, in any thread."""
        self._borrowers.discard(borrower)
        # A token is handed out in the thread of the loop that waits for it.
        for future in tuple(self._waiting.values()):
            try:
                future.get_loop().call_soon_threadsafe(self._hand_out)
                return
            except RuntimeError:
                # That loop is closed, too.
                pass

    def _check(self, borrower: Any) -> None:
        if borrower in self._borrowers or borrower in self._waiting:
            raise RuntimeError(
                f"this limiter lends a borrower one token, and {borrower!r} has one or waits for it"
            )

    def _hand_out(self) -> None:
        while self._waiting and len(self._borrowers) < self._total:
            borrower, future = self._waiting.popitem(last=False)
            self._borrowers.add(borrower)
            if not future.done():
                future.set_result(None)

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<CapacityLimiter {len(self._borrowers)}/{self._total} borrowed>"


def _checked(total: float) -> float:
    if total != math.inf and not isinstance(total, int):
        raise TypeError(f"total_tokens must be an int or math.inf, not {total!r}")
    if total < 1:
        raise ValueError(f"total_tokens must be at least 1, not {total}")
    return total


def _task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a token is borrowed by a task, and none runs")
    return task
