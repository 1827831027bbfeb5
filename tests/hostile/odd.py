"""What can be awaited or started, in every form: coroutines, and what only looks like one.

Each form ends by itself after few steps, whatever is sent or thrown into it; a program that hangs
does not hang because of these.
"""

from __future__ import annotations

import asyncio
import collections.abc
import functools
import inspect
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .actor import actor
from .objects import Bites, BitingFuture, Duck, Thing, error
from .world import World


class OddCoroutine(Bites, collections.abc.Coroutine):  # type: ignore[type-arg]
    """A coroutine by its abstract class, whose methods bite and answer oddly."""

    def __init__(self, world: World, a: int, b: int) -> None:
        self.left = a % 4
        self.manner = b % 8
        self.loop = world.loop

    def send(self, value: Any) -> Any:
        self._bite("result")
        if self.left <= 0:
            raise StopIteration(Thing())
        self.left -= 1
        if self.manner == 1:
            return 7
        if self.manner == 2:
            future = asyncio.Future(loop=self.loop)
            future._asyncio_future_blocking = True
            self.loop.call_soon(_resolve, future)
            return future
        if self.manner == 3:
            raise error(self._hook, self._mask)
        if self.manner == 4:
            return asyncio.Future(loop=self.loop)
        return None

    def throw(self, *args: Any) -> Any:
        self._bite("cancel")
        if self.left > 0 and self.manner >= 5:
            self.left -= 1
            return None
        exc = args[-1] if len(args) < 2 or args[1] is None else args[1]
        raise exc if isinstance(exc, BaseException) else args[0]

    def close(self) -> None:
        self._bite("call")
        if self.manner == 6:
            raise error(self._mask, self._hook)

    def __await__(self) -> Any:
        self._bite("get")
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)


class OddAwaitable(Bites):
    """An awaitable that is no coroutine; its iterator may be anything."""

    def __init__(self, world: World, a: int, b: int) -> None:
        self.world, self.a, self.b = world, a, b

    def __await__(self) -> Any:
        self._bite("get")
        kind = self.a % 6
        if kind == 0:
            return iter([None, None])
        if kind == 1:
            return OddCoroutine(self.world, self.a, self.b)
        if kind == 2:
            raise error(self.a, self.b)
        if kind == 3:
            return asyncio.sleep(0).__await__()
        if kind == 4:
            return actor(self.world, self.b).__await__()
        return 5


def _resolve(future: Any) -> None:
    if not future.done():
        future.set_result(None)


@types.coroutine
def generated(world: World, a: int, b: int) -> Any:
    """A coroutine that is a generator."""
    for _ in range(a % 3):
        yield
    if b & 1:
        future = world.pick("futures", b)
        if future is not None:
            return (yield from future)
    world.hook(b)
    return Thing()


@types.coroutine
def yields_alone(world: World, a: int, b: int) -> Any:
    """Yields a future, and leaves it to the task to throw what it brings."""
    future = asyncio.Future(loop=world.loop)
    future._asyncio_future_blocking = True
    if a & 1:
        world.loop.call_soon(future.cancel)
    else:
        world.loop.call_soon(_resolve, future)
    yield future
    world.hook(b)


async def value(world: World, a: int, b: int) -> Any:
    """Return at once, with something that bites."""
    return Thing()._teach(a, b)


async def fails(world: World, a: int, b: int) -> None:
    """Fail, after a turn or at once."""
    if a & 2:
        await asyncio.sleep(0)
    raise error(a, b)


class Callee(Bites):
    """An object whose call makes a coroutine."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._bite("call")
        return actor(self.world, self._hook)

    def method(self, *args: Any) -> Any:
        return actor(self.world, self._mask & 15)

    __name__ = property(lambda self: self._bite("repr") or "callee")  # type: ignore[assignment]
    __qualname__ = "callee"


def awaitable(world: World, a: int, b: int) -> Any:
    """Make or choose something that can be awaited, or nearly."""
    kind = a % 16
    if kind < 4:
        return actor(world, b)
    if kind == 4:
        return value(world, a, b)
    if kind == 5:
        return fails(world, a, b)
    if kind == 6:
        return generated(world, a, b)
    if kind == 7:
        return yields_alone(world, a, b)
    if kind == 8:
        return OddCoroutine(world, a, b)._teach(a, b)
    if kind == 9:
        return OddAwaitable(world, a >> 4, b)._teach(a, b)
    if kind == 10:
        return world.pick("coroutines", b)
    if kind == 11:
        return world.pick("futures", b)
    if kind == 12:
        task = world.pick_task(b)
        return asyncio.shield(task) if task is not None and a & 16 else task
    if kind == 13:
        return world.pick("waits", b)
    if kind == 14:
        return world.api.sleep(0.001 * (b % 4))
    return world.keep("futures", future(world, a, b))


def future(world: World, a: int, b: int) -> Any:
    """Make a future of some kind, bound to the loop."""
    kind = a % 6
    if kind < 2:
        return BitingFuture(loop=world.loop)._teach(a, b)
    if kind == 2:
        return Duck(world.loop)._teach(a, b)
    if kind == 3:
        return asyncio.futures._PyFuture(loop=world.loop)  # type: ignore[attr-defined]
    if kind == 4 and not world.api.plain:
        return world.loop._aionursery.create_future()
    return world.loop.create_future()


def target(world: World, a: int, b: int) -> tuple[Any, tuple[Any, ...]]:
    """Make what `start_soon` takes, and its arguments."""
    kind = b % 8
    if kind == 0:
        return actor, (world, a)
    if kind == 1:
        return functools.partial(actor, world), (a,)
    if kind == 2:
        return Callee(world)._teach(a, b), (Thing()._teach(a, b),)
    if kind == 3:
        return Callee(world)._teach(a, b).method, ()
    if kind == 4:
        return (OddCoroutine, OddAwaitable, generated, fails)[a % 4], (world, a, b)
    return awaitable(world, a, b), ()


def forget_to_await(thing: Any) -> None:
    """Close a coroutine that nobody took, so that Python does not complain."""
    if inspect.iscoroutine(thing) and inspect.getcoroutinestate(thing) == inspect.CORO_CREATED:
        thing.close()


@contextmanager
def new_target(world: World, a: int, b: int) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Make what `start_soon` takes, for a block that starts it, or not."""
    made, args = target(world, a, b)
    try:
        yield made, args
    finally:
        forget_to_await(made)
