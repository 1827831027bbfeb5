"""`as_safe_channel`: an async generator that may open nurseries, run in a task of its own.

A generator is suspended at `yield` in the middle of its blocks, and whatever closes it leaves
those blocks in another task or too late (PEP 789). Here a child enters, runs and leaves it. Must
never let the generator run further than it is asked to.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import ParamSpec, TypeVar

from ._aionursery import Nursery, ReceiveChannel, SendChannel, demand, refuse_child
from ._channels import open_channel
from ._errors import BaseMultiError, alone

P = ParamSpec("P")
T = TypeVar("T")


def as_safe_channel(
    fn: Callable[P, AsyncGenerator[T, None]], /
) -> Callable[P, AbstractAsyncContextManager[ReceiveChannel[T]]]:
    """Turn an async generator function into one that may open nurseries and scopes around `yield`.

    Decorates the function; calling it gives an async context manager: ``async with numbers() as
    channel``, then ``async for number in channel``. The generator runs in a child of that block,
    goes on only when an item is wanted, and is closed in its own task when the block is left. What
    it raises, or what the body raises, leaves the block bare; a `MultiError` has both if both fail.
    Raises TypeError for a function that gives no async generator.
    """
    if inspect.iscoroutinefunction(fn):
        raise TypeError(f"as_safe_channel() takes an async generator, and {fn!r} has no 'yield'")

    @asynccontextmanager
    @functools.wraps(fn)
    async def context(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[ReceiveChannel[T]]:
        # Nothing is lost that was made for a receiver which is cancelled then.
        send, receive = open_channel[T](math.inf)
        failed: BaseException | None = None
        try:
            async with Nursery() as nursery:
                nursery.start_soon(_feed, _checked(fn, fn(*args, **kwargs)), send)
                with receive:
                    yield receive
                nursery.cancel("the block around the channel was left")
        except BaseMultiError as group:
            failed = alone(group)
        if failed is not None:
            try:
                raise failed
            finally:
                del failed

    return context


def _checked(fn: object, made: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Return what a function has made, which must be an async generator."""
    if not isinstance(made, AsyncGenerator):
        refuse_child(made)
        raise TypeError(
            f"as_safe_channel() takes an async generator function, and {fn!r} returned {made!r}"
        )
    return made


async def _feed(items: AsyncGenerator[T, None], send: SendChannel[T]) -> None:
    """Run the generator, an item at a time, as they are wanted."""
    async with aclosing(items):
        while (seen := send.statistics()).receivers:
            try:
                if not seen.waiting_receivers:
                    await demand(send)
                    continue
            except asyncio.CancelledError as exc:
                if not send.statistics().receivers:
                    raise
                # It may be that of a scope in the generator, which is where it has to be caught.
                step = items.athrow(exc)
            else:
                step = anext(items)
            try:
                item = await step
            except StopAsyncIteration:
                break
            if send.statistics().receivers:
                send.send_nowait(item)
    # Not if it fails: the receiver is then cancelled, and does not take what came for all.
    send.close()
