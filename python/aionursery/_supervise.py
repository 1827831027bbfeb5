"""`supervise`: run a function again when it has failed, for as long as that makes sense.

It decides only whether a failure is followed by another run; a cancellation is the scope's.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple

from . import _aionursery
from ._errors import MultiError
from ._refusals import awaitable, check_async_function
from ._threads import name_of

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


#: To this many seconds a pause grows by doubling.
LONGEST = 60.0
#: As many failures are counted where there is no bound; the memory stays flat.
COUNTED = 1000


class SupervisorError(MultiError[Exception]):
    """A supervised function has failed too often. Its one member is the last error."""


async def supervise(
    fn: Callable[[*Ts], Awaitable[R]],
    /,
    *args: *Ts,
    max_restarts: int | None = 5,
    within: float = 60.0,
    backoff: float | Callable[[int], float] = 1.0,
) -> R:
    """Run an async function, and again each time that it fails; return what it returns.

    A return ends it. A cancellation ends it: there is no restart in a cancelled scope, whatever the
    function makes of the cancellation. A failure that would be followed by more than
    ``max_restarts`` restarts within ``within`` seconds raises `SupervisorError`, whose member is
    that failure; with None there is no such end (and n below is at most 1000). The pauses are not
    counted among the seconds.

    Before a restart it pauses: ``backoff`` seconds before the first in that time, twice as many
    before each further one, up to a minute; or ``backoff(n)`` before the n-th. An error that leads
    to a restart goes to the loop's exception handler; only an `Exception` does, anything else is
    raised. Raises TypeError if ``fn`` cannot be called, ValueError for negative numbers and NaNs.
    """
    _check(fn, max_restarts, within, backoff)
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("supervise() must run in a task; a callback of the loop has none")
    requests = task.cancelling()
    # When it failed, on a clock that stands still in the pauses: otherwise long ones, which make
    # failures rare, would keep a function that always fails running for ever.
    failures: deque[float] = deque(maxlen=COUNTED if max_restarts is None else None)
    paused = 0.0
    while True:
        try:
            return await awaitable("supervise", fn, fn(*args))
        except Exception as exc:
            if task.cancelling() > requests or _is_cancelled():
                raise
            now = _aionursery.current_time()
            failures.append(now - paused)
            while failures[0] < now - paused - within:
                failures.popleft()
            restart = len(failures)
            if max_restarts is not None and restart > max_restarts:
                message = (
                    f"{name_of(fn)} has failed, and there are no more than {max_restarts} restarts "
                    f"within {within:g} seconds"
                )
                raise SupervisorError(message, [exc]) from None
            pause = backoff(restart) if callable(backoff) else _doubled(backoff, restart)
            _report(fn, exc, restart, max_restarts, pause)
        await _aionursery.sleep(pause)
        paused += _aionursery.current_time() - now


def _is_cancelled() -> bool:
    """Return whether a scope around the caller is cancelled."""
    return _aionursery.current_effective_deadline() == -math.inf


def _doubled(backoff: float, restart: int) -> float:
    """Return a pause that doubles with each restart, up to a minute or what it begins with."""
    return min(backoff * 2.0 ** min(restart - 1, 100), max(backoff, LONGEST))


def _report(
    fn: Callable[..., Any], error: Exception, restart: int, most: int | None, pause: float
) -> None:
    """Hand an error that is followed by a restart to the loop's exception handler."""
    of = "" if most is None else f" of {most}"
    # Without the task: from CPython 3.12 on the handler would be called in the task's context, and
    # that is entered already, so it would not be called at all.
    asyncio.get_running_loop().call_exception_handler(
        {
            "message": f"{name_of(fn)} has failed; restart {restart}{of} in {pause:g} seconds",
            "exception": error,
        }
    )


def _check(fn: Any, max_restarts: Any, within: float, backoff: Any) -> None:
    """Refuse what cannot be meant."""
    check_async_function("supervise", fn)
    if max_restarts is not None:
        if not isinstance(max_restarts, int):
            raise TypeError(f"max_restarts must be an int or None, not {max_restarts!r}")
        if max_restarts < 0:
            raise ValueError(f"max_restarts must not be negative, not {max_restarts}")
    if not within > 0:
        raise ValueError(f"within must be above 0, not {within}")
    if not callable(backoff) and not (isinstance(backoff, (int, float)) and backoff >= 0):
        raise ValueError(f"backoff must be a function or not negative, not {backoff!r}")
