"""The waits: checkpoints and sleeps are ours; a wait that other code ends is a future.

Owns the life of such a future. Never ends a wait that is cancelled otherwise than by its future's
own `cancel`, as every wait of asyncio's is.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Any, NoReturn

import outcome

from . import under
from .cancellations import retold
from .clock import VirtualLoop
from .tasks import Task, current_task

#: On a loop that cannot be asked, no task has anything to do after this many turns of it.
MANY_TURNS = 30


class Abort(enum.Enum):
    """What a wait says to its cancellation."""

    SUCCEEDED = 1
    FAILED = 2


RaiseCancelT = Callable[[], NoReturn]


@retold
async def checkpoint() -> None:
    await under.library.checkpoint()


@retold
async def checkpoint_if_cancelled() -> None:
    await under.library.checkpoint_if_cancelled()


async def cancel_shielded_checkpoint() -> None:
    with under.library.CancelScope(shield=True):
        await under.library.checkpoint()


@retold
async def sleep(seconds: float) -> None:
    await under.library.sleep(seconds)


@retold
async def sleep_until(deadline: float) -> None:
    await under.library.sleep_until(deadline)


@retold
async def sleep_forever() -> None:
    await under.library.sleep_forever()


@retold
async def wait_all_tasks_blocked() -> None:
    """Wait until every other task waits for something."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualLoop):
        waiter = loop.create_future()
        loop.idle.append(waiter)
        await waiter
    else:
        for _ in range(MANY_TURNS):
            await asyncio.sleep(0)


class Parked(asyncio.Future[Any]):
    """A wait that `reschedule` ends; its cancellation is first told to its maker, once."""

    abort_fn: Callable[[RaiseCancelT], Abort] | None

    def cancel(self, msg: Any = None) -> bool:
        if self.done() or self.abort_fn is None:
            return False
        abort_fn, self.abort_fn = self.abort_fn, None
        if abort_fn(raise_cancel) is Abort.FAILED:
            return False
        return super().cancel(msg)


def raise_cancel() -> NoReturn:
    raise asyncio.CancelledError


@retold
async def wait_task_rescheduled(abort_fn: Callable[[RaiseCancelT], Abort]) -> Any:
    """Wait until `reschedule` is called."""
    task = current_task()
    parked = Parked(loop=asyncio.get_running_loop())
    parked.abort_fn = abort_fn
    task.parked = parked
    try:
        return await parked
    finally:
        # An error knows its frames; they must not know it.
        del parked, abort_fn
        task.parked = None


def reschedule(task: Task, next_send: Any = None) -> None:
    """End the wait of a task, with a value or an error."""
    parked = task.parked
    if parked is None:
        raise RuntimeError(f"{task!r} waits for nothing that can be ended from outside")
    task.parked = None
    parked.abort_fn = None
    if isinstance(next_send, outcome.Error):
        parked.set_exception(next_send.error)
    else:
        parked.set_result(None if next_send is None else next_send.value)


def breaker_of(parking: Any) -> Callable[[Task, Any], None]:
    """Make the call by which a task breaks a parking lot when it ends, of trio's module of lots."""
    breakers = parking.GLOBAL_PARKING_LOT_BREAKER

    def add_parking_lot_breaker(task: Task, lot: Any) -> None:
        known = task in breakers
        parking.add_parking_lot_breaker(task, lot)
        if not known:
            task.add_done_callback(break_lots)

    def break_lots(task: Task) -> None:
        for lot in breakers.pop(task, ()):
            lot.break_lot(task)

    return add_parking_lot_breaker
