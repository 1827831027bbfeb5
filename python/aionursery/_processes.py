"""Functions in processes, as children: `to_process` and `Nursery.start_process`.

Each call has a worker process for itself, which is kept for the next call. A thread waits for its
answer. A call that is cancelled loses its process: it is terminated, after a time of grace killed,
and joined. Must never give a process that was told to end to another call.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

from . import _aionursery
from ._aionursery import Nursery, Task
from ._capacity import CapacityLimiter
from ._refusals import check_span
from ._threads import ThreadCall, check_function, limiter_of_the_loop, name_of, run_call
from ._worker_processes import BrokenWorkerProcess, Worker, keep_worker, take_worker

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

#: Seconds that a process has to end by itself when it was told to.
GRACE = 5.0


def current_default_process_limiter() -> CapacityLimiter:
    """Return the running loop's limiter of processes: as many tokens as the machine has cores.

    Raises RuntimeError if no loop runs.
    """
    return limiter_of_the_loop("_aionursery_process_limiter", os.cpu_count() or 1)


class ProcessCall(ThreadCall):
    """A call that runs in a worker process; a thread waits for it."""

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], name: str, grace: float
    ) -> None:
        super().__init__(fn, args, name)
        self._grace = grace
        self._worker: Worker | None = None

    def run(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        # In the thread: to start a process takes its time.
        self._worker = worker = take_worker()
        if self.cancellation is not None:
            self.tell()
        try:
            return worker.run(fn, args)
        finally:
            # First the one, then the other: `tell` does it the other way round, so that a worker
            # that was told to end is never kept.
            self._worker = None
            if self.cancellation is None and worker.process.is_alive():
                keep_worker(worker)
            else:
                worker.process.terminate()
                worker.close()

    def has_given_up(self) -> bool:
        # A process that was told to end may end as a program does, which is no end of this one.
        told = self.cancellation is not None
        if told and isinstance(self.error, (SystemExit, KeyboardInterrupt)):
            return True
        return isinstance(self.error, BrokenWorkerProcess) or super().has_given_up()

    def tell(self) -> None:
        if (worker := self._worker) is not None:
            worker.process.terminate()

    async def stop(self) -> None:
        with _aionursery.move_on_after(self._grace):
            await self.ended.wait()
        if not self.ended.is_set():
            if (worker := self._worker) is not None:
                worker.process.kill()
            await self.ended.wait()


async def to_process(
    fn: Callable[[*Ts], R],
    /,
    *args: *Ts,
    limiter: CapacityLimiter | None = None,
    grace: float = GRACE,
) -> R:
    """Call a function in a worker process, and wait for its end; return what it returns.

    The function, its arguments and its result are pickled; the process is a new one (``spawn``) or
    has ended another call. If the caller is cancelled, the process is terminated, after ``grace``
    seconds killed, and has ended when this raises. ``limiter`` bounds how many run at once; not
    given, it is what `current_default_process_limiter` returns. What the function raises is raised
    here, with its traceback in the worker as the cause. Raises TypeError for an async function,
    ValueError for a grace that is negative or NaN, BrokenWorkerProcess if the process ends by
    itself.
    """
    check_function("to_process", fn)
    check_span("grace", grace)
    await _aionursery.checkpoint_if_cancelled()
    call = ProcessCall(fn, args, f"process of {name_of(fn)}", grace)
    del fn, args
    result: R = await run_call(call, limiter or current_default_process_limiter())
    return result


def start_process(
    self: Nursery,
    fn: Callable[[*Ts], R],
    /,
    *args: *Ts,
    limiter: CapacityLimiter | None = None,
    grace: float = GRACE,
    name: object = None,
    shield: bool = False,
) -> Task[R]:
    """Start a function in a worker process, as a child, and return its task.

    The nursery waits for the process as for any child, and its error is the child's. `to_process`
    says what a cancellation does, and what ``limiter`` and ``grace`` are. Raises TypeError for an
    async function; otherwise as `start_soon`.
    """
    check_function("start_process", fn)
    run = functools.partial(to_process, fn, *args, limiter=limiter, grace=grace)
    return self.start_soon(run, name=name or name_of(fn), shield=shield)
