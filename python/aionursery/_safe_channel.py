"""`as_safe_channel`: an async generator that may open nurseries, run in a task of its own.

A generator is suspended at `yield` in the middle of its blocks, and whatever closes it leaves
those blocks in another task or too late (PEP 789). Here a child enters, runs and leaves it. Must
never let the generator run further than it is asked to.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import ParamSpec, TypeVar

from ._aionursery import Nursery
from ._channels import ReceiveChannel, SendChannel, _State
from ._errors import BaseMultiError, alone
from ._sync import Event

P = ParamSpec("P")
T = TypeVar("T")


class _Asking(ReceiveChannel[T]):
    """A receive end that says when it wants an item."""

    __slots__ = ("_asked",)

    def __init__(self, state: _State[T], asked: Event) -> None:
        super().__init__(state)
        self._asked = asked

    async def receive(self) -> T:
        self._asked.set()
        return await super().receive()

    def close(self) -> None:
        super().close()
        self._asked.set()

    def clone(self) -> ReceiveChannel[T]:
        # Refuses if this end is closed.
        super().clone().close()
        return _Asking(self._state, self._asked)


def as_safe_channel(
    fn: Callable[P, AsyncGenerator[T, None]], /
) -> Callable[P, AbstractAsyncContextManager[ReceiveChannel[T]]]:
    """Turn an async generator function into one that may open nurseries and scopes around `yield`.

    Decorates the function; calling it gives an async context manager: ``async with numbers() as
    channel``, then ``async for number in channel``. The generator runs in a child of that block,
    goes on only when an item is wanted, and is closed in its own task when the block is left. What
    it raises, or what the body raises, leaves the block bare; a `MultiError` has both if both fail.
    """

    @asynccontextmanager
    @functools.wraps(fn)
    async def context(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[ReceiveChannel[T]]:
        state: _State[T] = _State(0)
        asked = Event()
        send, receive = SendChannel(state), _Asking(state, asked)
        failed: BaseException | None = None
        try:
            async with Nursery() as nursery:
                nursery.start_soon(_feed, fn(*args, **kwargs), send, state, asked)
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


async def _feed(
    items: AsyncGenerator[T, None], send: SendChannel[T], state: _State[T], asked: Event
) -> None:
    """Run the generator, an item at a time, as they are wanted."""
    ready: deque[T] = deque()
    async with aclosing(items):
        while state.receivers:
            try:
                while state.receivers and not state.getters:
                    asked.clear()
                    await asked.wait()
            except asyncio.CancelledError as exc:
                if not state.receivers:
                    raise
                # It may be that of a scope in the generator, which is where it has to be caught.
                step = items.athrow(exc)
            else:
                if not state.receivers:
                    break
                if ready:
                    if state.hand_out(ready[0]):
                        ready.popleft()
                    continue
                step = anext(items)
            try:
                ready.append(await step)
            except StopAsyncIteration:
                break
    state.buffer.extend(ready)
    # Not if it fails: the receiver is then cancelled, and does not take what came for all.
    send.close()
