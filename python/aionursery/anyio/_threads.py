"""anyio's worker threads: a call is joined, and what it runs in the loop is its nursery's.

The threads themselves are anyio's. Must never leave one behind that it was not told to
abandon.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any, cast

from anyio._core._eventloop import set_current_async_library, threadlocals
from anyio._core._exceptions import RunFinishedError

from .. import _aionursery as engine
from .._errors import NurseryClosed
from ._copy import copy

Answer = concurrent.futures.Future[Any]

#: Seconds that a thread has for a call before what waits for it counts as blocked: as long as
#: anyio's own backend sleeps where a task is not.
QUICK = 0.1


async def run_in_worker_thread(
    backend: Any,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    abandon_on_cancel: bool,
    limiter: Any,
) -> Any:
    """Call a function in a worker thread, and wait for its end."""
    await engine.checkpoint()
    idle, workers = _pool()
    async with limiter or backend.current_default_thread_limiter():
        call = Call()
        if abandon_on_cancel:
            return await call.wait(backend, idle, workers, func, args)
        async with engine.Nursery(cleanup=0) as call.nursery:
            try:
                with engine.shield():
                    value = await call.wait(backend, idle, workers, func, args)
            except asyncio.CancelledError:
                raise
            except BaseException as exc:
                # Not as the nursery's: it would come out in a group.
                call.error = exc
        if call.error is not None:
            try:
                raise call.error
            finally:
                call.error = None
        return value


class Call:
    """A call that a worker thread runs."""

    def __init__(self) -> None:
        #: What the call runs in the loop belongs to it; None for a call that may be abandoned.
        self.nursery: engine.Nursery | None = None
        self.error: BaseException | None = None
        self.abandoned = False

    async def wait(
        self,
        backend: Any,
        idle: deque[Any],
        workers: set[Any],
        func: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> Any:
        """Give the function to a thread, and wait for what it returns."""
        future: asyncio.Future[Any] = asyncio.Future()
        context = copy_context()
        context.run(set_current_async_library, None)
        worker = _worker(backend, idle, workers)
        worker.call, worker.since = future, backend.current_time()
        worker.queue.put_nowait((context, func, args, future, self))
        try:
            return await future
        except asyncio.CancelledError:
            self.abandoned = future.cancelled()
            raise

    def is_cancelled(self) -> bool:
        """Return whether a cancellation has reached it. May be asked from any thread."""
        return self.abandoned or (self.nursery is not None and engine.is_cancelled(self.nursery))


def _pool() -> tuple[deque[Any], set[Any]]:
    """The running loop's threads: those that wait for work, and all."""
    try:
        return copy._threadpool_idle_workers.get(), copy._threadpool_workers.get()
    except LookupError:
        idle: deque[Any] = deque()
        workers: set[Any] = set()
        copy._threadpool_idle_workers.set(idle)
        copy._threadpool_workers.set(workers)
        return idle, workers


async def wait_for_quick(backend: Any) -> bool:
    """Wait for the end of a call that a thread has just been given; return False without one."""
    now = backend.current_time()
    calls = {
        worker.call: worker.since + QUICK - now
        for worker in copy._threadpool_workers.get(())
        if not worker.call.done() and worker.since + QUICK > now
    }
    if not calls:
        return False
    await asyncio.wait(calls, timeout=max(calls.values()), return_when=asyncio.FIRST_COMPLETED)
    return True


def _worker(backend: Any, idle: deque[Any], workers: set[Any]) -> Any:
    """Take a thread that waits, or start one. Those that have waited long enough are stopped."""
    if not idle:
        root = copy.find_root_task()
        worker = copy.WorkerThread(root, workers, idle)
        worker.start()
        workers.add(worker)
        root.add_done_callback(worker.stop, context=Context())
        return worker
    worker = idle.pop()
    oldest = backend.current_time() - copy.WorkerThread.MAX_IDLE_TIME
    while idle and idle[0].idle_since <= oldest:
        expired = idle.popleft()
        expired.root_task.remove_done_callback(expired.stop)
        expired.stop()
    return worker


def check_cancelled() -> None:
    """Raise CancelledError if the call that runs in this thread was cancelled."""
    call = threadlocals.current_cancel_scope
    if call is not None and call.is_cancelled():
        raise asyncio.CancelledError("Cancelled via cancel scope")


def run_from_thread(
    func: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], token: Any
) -> Any:
    """Run an async function in a loop, from another thread; wait for its end."""
    loop = token or threadlocals.current_token.native_token
    if loop.is_closed():
        raise RunFinishedError
    context = copy_context()
    context.run(set_current_async_library, "asyncio")
    call = getattr(threadlocals, "current_cancel_scope", None)
    answer: Answer
    if call is None or call.nursery is None:
        answer = context.run(asyncio.run_coroutine_threadsafe, _alone(func, args), loop)
    else:
        answer = concurrent.futures.Future()
        loop.call_soon_threadsafe(partial(_start, loop, call.nursery, func, args, answer, context))
    return answer.result()


async def _alone(func: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> Any:
    __tracebackhide__ = True
    try:
        return await func(*args)
    except asyncio.CancelledError as exc:
        raise concurrent.futures.CancelledError(str(exc)) from None


def _start(
    loop: asyncio.AbstractEventLoop,
    nursery: engine.Nursery,
    func: Callable[..., Coroutine[Any, Any, Any]],
    args: tuple[Any, ...],
    answer: Answer,
    context: Context,
) -> None:
    try:
        task = nursery.start_soon(_run(func, args, answer), context=context)
    except (NurseryClosed, RuntimeError):
        # The call was abandoned, or is another loop's: nothing is left that it could belong to.
        task = cast("Any", context.run)(loop.create_task, _run(func, args, answer))
    task.add_done_callback(partial(_ended, answer))


async def _run(
    func: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], answer: Answer
) -> None:
    __tracebackhide__ = True
    try:
        value = await func(*args)
    except asyncio.CancelledError as exc:
        # The thread is told, and decides what becomes of its call.
        answer.set_exception(asyncio.CancelledError(str(exc)))
    except BaseException as exc:
        answer.set_exception(exc)
        if not isinstance(exc, Exception):
            raise
    else:
        answer.set_result(value)
    finally:
        del answer


def _ended(answer: Answer, _: object) -> None:
    if not answer.done():
        answer.set_exception(asyncio.CancelledError())
