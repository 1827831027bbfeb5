"""`race`: the first success of many.

It decides only which one has won; the nursery around the racers cancels and joins the others.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import deque
from collections.abc import Iterable
from typing import Any, TypeVar, overload

from . import _aionursery
from ._aionursery import Nursery
from ._errors import BaseMultiError
from ._refusals import awaitable
from ._results import Target, refuse, targets_of
from ._sync import Event

#: Seconds that the result of a late winner has to be closed: the budget that is not given (R18).
CLEANUP = 10.0

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")


@overload
async def race(
    target: Target[T1], second: Target[T2], /, *, stagger: float | None = None
) -> T1 | T2: ...
@overload
async def race(
    target: Target[T1],
    second: Target[T2],
    third: Target[T3],
    /,
    *,
    stagger: float | None = None,
) -> T1 | T2 | T3: ...
@overload
async def race(*targets: Target[T], stagger: float | None = None) -> T: ...
@overload
async def race(targets: Iterable[Target[T]], /, *, stagger: float | None = None) -> T: ...
async def race(*targets: Any, stagger: float | None = None) -> Any:
    """Run all at once and return the result of the first that succeeds.

    Takes what `gather` takes. The others are then cancelled and joined; one that succeeds all the
    same has its result closed, by ``aclose()`` or ``close()`` if it has one. That has ten seconds,
    whatever is cancelled meanwhile; what fails in it, also the TimeoutError at their end, goes to
    the loop's exception handler. An error does not end the race: if none succeeds, a `MultiError`
    has all of them, in the order of happening.

    With ``stagger``, the second starts that many seconds after the first unless that has failed
    before, and so on. Raises ValueError for no target at all, and for a negative stagger or a NaN;
    RuntimeError if no racer has won or failed because each was cancelled by hand.
    """
    found, _ = targets_of("race", targets)
    if not found:
        raise ValueError("race() needs at least one target")
    if stagger is not None and (math.isnan(stagger) or stagger < 0):
        refuse(found)
        raise ValueError(f"stagger must be None or not negative, not {stagger}")
    return await _Race(found).run(stagger)


class _Race:
    """The racers that have not started, and what has become of the others."""

    def __init__(self, targets: list[Target[Any]]) -> None:
        self._left = deque(targets)
        self._won = False
        self._value: Any = None
        self._errors: list[Exception] = []
        self._names: list[str | None] = []

    async def run(self, stagger: float | None) -> Any:
        try:
            async with Nursery() as nursery:
                while self._left and not self._won:
                    ended = Event() if stagger is not None else None
                    nursery.start_soon(self._racer(nursery, self._left.popleft(), ended))
                    if ended is not None and self._left:
                        with _aionursery.move_on_after(stagger):
                            await ended.wait()
                        # The wait may have ended in the turn of a cancellation (R12a).
                        await _aionursery.checkpoint_if_cancelled()
        except BaseException:
            # The winner reaches the finish, and nothing takes it: an outer scope is cancelled.
            if self._won:
                await _close(self._value)
            self._errors.clear()
            raise
        finally:
            refuse(self._left)
        if self._won:
            return self._value
        if self._errors:
            # The errors' frames lead here: what is kept here would keep them in a cycle.
            errors, self._errors = self._errors, []
            raise BaseMultiError._of(errors, self._names)
        raise RuntimeError("no racer has won: each was cancelled")

    async def _racer(self, nursery: Nursery, target: Target[Any], ended: Event | None) -> None:
        try:
            if inspect.isawaitable(target):
                value = await target
            else:
                value = await awaitable("race", target, target())
        except Exception as exc:
            task = asyncio.current_task()
            self._errors.append(exc)
            self._names.append(task.get_name() if task is not None else None)
            return
        finally:
            if ended is not None:
                ended.set()
        if self._won:
            await _close(value)
        else:
            self._won, self._value = True, value
            nursery.cancel("the race is won")


async def _close(value: object) -> None:
    """Close a result that nothing takes."""
    try:
        close = getattr(value, "aclose", None) or getattr(value, "close", None)
        if not callable(close):
            return
        with _aionursery.fail_after(CLEANUP, shield=True, cleanup=0):
            closing = close()
            if inspect.isawaitable(closing):
                await closing
    except Exception as exc:
        loop = asyncio.get_running_loop()
        # Not its own `__repr__`, which could fail, too.
        message = f"closing {object.__repr__(value)}, which a race has left over, failed"
        loop.call_exception_handler({"message": message, "exception": exc})
