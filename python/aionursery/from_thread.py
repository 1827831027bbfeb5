"""Back from a thread into the loop: for functions that run in `to_thread` and `start_thread`.

What is run is a child of the nursery around the thread's call, so it is cancelled with it, and has
ended when the call has. Must never be used from the loop's own thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future as Answer
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from ._errors import Cancelled, NurseryClosed
from ._refusals import awaitable, check_async_function
from ._threads import ThreadCall, cancelled_as, check_cancelled, current_call

__all__ = ["check_cancelled", "run", "run_sync"]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


def run(fn: Callable[[*Ts], Awaitable[R]], /, *args: *Ts) -> R:
    """Run an async function in the loop, in a copy of the thread's context; return its result.

    The thread waits. What the function raises is raised here; `Cancelled` if the thread's call is
    cancelled before it has ended. Raises RuntimeError in any other thread, or if the loop is
    closed.
    """
    check_async_function("from_thread.run", fn)
    call = current_call("from_thread.run")
    answer: list[Answer[R]] = [Answer()]
    call.loop.call_soon_threadsafe(_start, call, fn, args, copy_context(), answer[0])
    return answer.pop().result()


def run_sync(fn: Callable[[*Ts], R], /, *args: *Ts) -> R:
    """Call a plain function in the loop's thread, in a copy of this thread's context.

    This thread waits for its result. What it raises is raised here. Raises RuntimeError in any
    other thread, or if the loop is closed.
    """
    call = current_call("from_thread.run_sync")
    answer: list[Answer[R]] = [Answer()]
    call.loop.call_soon_threadsafe(_call, fn, args, copy_context(), answer.copy())
    return answer.pop().result()


# The frames of an error that is an answer, and the loop's handle behind them, must not hold the
# answer: that would be a cycle.


def _start(
    call: ThreadCall,
    fn: Callable[..., Awaitable[R]],
    args: tuple[Any, ...],
    context: Context,
    answer: Answer[R],
) -> None:
    try:
        task = call.nursery.start_soon(_run, fn, args, answer, context=context)
    except NurseryClosed:
        answer.set_exception(Cancelled("the call was abandoned"))
    else:
        task.add_done_callback(partial(_end, answer))


async def _run(fn: Callable[..., Awaitable[R]], args: tuple[Any, ...], answer: Answer[R]) -> None:
    try:
        value = await awaitable("from_thread.run", fn, fn(*args))
    except asyncio.CancelledError as exc:
        # The thread is told, and decides what becomes of the call.
        answer.set_exception(cancelled_as(exc))
        del answer
    except BaseException as exc:
        answer.set_exception(exc)
        del answer
    else:
        answer.set_result(value)


def _end(answer: Answer[R], _: object) -> None:
    if not answer.done():
        answer.set_exception(Cancelled("it was cancelled before its first step"))


def _call(
    fn: Callable[..., R], args: tuple[Any, ...], context: Context, answer: list[Answer[R]]
) -> None:
    try:
        value = context.run(fn, *args)
    except BaseException as exc:
        answer.pop().set_exception(exc)
    else:
        answer.pop().set_result(value)
