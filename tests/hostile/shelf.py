"""The steps at what is written in Python around the nursery: races, supervisors, limits, services,
limiters, safe channels, the orderly end, and what a task of ours has in place of asyncio's fields.

asyncio has none of it, so these steps do nothing in the control.
"""

from __future__ import annotations

import asyncio
import gc
import io
import math
from collections.abc import AsyncIterator
from typing import Any

import aionursery

from .actor import WAIT, actor
from .blocks import make_nursery, seconds
from .objects import Thing, error
from .odd import forget_to_await, new_target, target
from .steps import step
from .world import World

#: asyncio's fields, which programs and debuggers read.
FIELDS = (
    "_must_cancel", "_callbacks", "_cancel_message", "_exception", "_result", "_source_traceback",
    "_state", "_coro", "_loop", "_log_traceback", "_fut_waiter", "_asyncio_future_blocking",
    "_asyncio_awaited_by", "__dict__", "__weakref__",
)  # fmt: skip


def _targets(world: World, a: int, b: int) -> list[Any]:
    """What runs at once: scripts, a failure, something odd."""

    async def fails() -> None:
        await asyncio.sleep(0)
        raise error(a, b)

    made: list[Any] = [lambda: actor(world, a)]
    if b & 1:
        made.append(fails)
    if b & 2:
        made.append(lambda: actor(world, b))
    if b & 4:
        odd, args = target(world, b, a)
        made.append(odd if not args else lambda: odd(*args))
    return made


async def race(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        racers = _targets(world, a, b)
        try:
            await world.api.race(*racers, stagger=(None, 0, 0.001, 1)[a % 4])
        finally:
            for racer in racers:
                forget_to_await(racer)


async def supervise(world: World, a: int, b: int) -> None:
    if world.api.plain:
        return

    async def fails() -> Any:
        if world.spend():
            await actor(world, a)
        raise error(a | 1, b)

    await world.api.supervise(fails, max_restarts=a % 2, backoff=(0, 0.0005, 1)[b % 3])


def limiter_of(world: World, a: int) -> Any:
    """The limiter of this number."""
    return world.shared(("limiter", a % 2), lambda: world.api.CapacityLimiter(1 + a % 2))


async def limiter(world: World, a: int, b: int) -> None:
    if world.api.plain:
        return
    held = limiter_of(world, a)
    if b & 1:
        async with held:
            world.hook(b)
            await asyncio.sleep(0)
    else:
        owner = Thing()._teach(a, b)
        await held.acquire_on_behalf_of(owner)
        world.keep("owners", (held, owner))


async def free(world: World, a: int, b: int) -> None:
    """Feed a nursery that has a limit."""
    nursery = world.pick("nurseries", a)
    if nursery is not None and not world.api.plain:
        with new_target(world, b, a) as (made, args):
            number = world.number()
            world.keep_task(await nursery.start_when_free(made, *args), number)


async def limited(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        async with world.api.Nursery(
            limit=1 + a % 3, on_error=("cancel", "collect")[b & 1]
        ) as held:
            world.keep("nurseries", held)
            world.made[id(held)] = world.number()
            for _ in range(b % 5):
                world.keep_task(await held.start_when_free(actor, world, a))


async def stopping(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a)
    if nursery is not None and not world.api.plain:
        await nursery.stopping.wait()


async def safe_channel(world: World, a: int, b: int) -> None:
    if world.api.plain:
        return

    async def items() -> AsyncIterator[Any]:
        async with make_nursery(world, a, b):
            for _ in range(3):
                yield Thing()._teach(a, b)
                await asyncio.sleep(0)
        if b & 4:
            raise error(a, b)

    async with world.api.as_safe_channel(items)() as channel:
        async for _ in channel:
            world.hook(b)


async def tell_nursery(world: World, a: int, b: int) -> None:
    """A child that shuts its own nursery down while another waits for that."""
    if not world.api.plain:
        async with make_nursery(world, a, b) as held:
            held.start_soon(held.stopping.wait)
            held.start_soon(actor, world, b)
            held.shutdown(seconds(a))


async def lost_nursery(world: World, a: int, b: int) -> None:
    """Enter a nursery by hand, perhaps begin to leave it, and lose it in a cycle."""
    if world.api.plain:
        return
    lost = world.api.Nursery()
    lost.stopping.nursery = lost
    await lost.__aenter__()
    world.keep_task(lost.start_soon(actor, world, a))
    if b & 1:
        lost.stopping.leaving = lost.__aexit__(None, None, None)
        lost.stopping.leaving.send(None)
    lost = None
    gc.collect()


async def await_service(world: World, a: int, b: int) -> None:
    """Start a service, and await it for a while."""
    nursery = world.pick("nurseries", a)
    if nursery is None or world.api.plain:
        return
    with new_target(world, b, a) as (made, args):
        number = world.number()
        made = world.keep_task(nursery.start_service(made, *args), number)
    with world.api.move_on_after(seconds(b)):
        await made


@step
def service(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a)
    if nursery is not None and not world.api.plain:
        with new_target(world, b, a) as (made, args):
            number = world.number()
            world.keep_task(nursery.start_service(made, *args), number)


@step
def shutdown(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a)
    if nursery is not None and not world.api.plain:
        nursery.shutdown((0, 0.001, math.inf, seconds(b))[b % 4])


@step
def cancel_after(world: World, a: int, b: int) -> None:
    scope = world.pick("scopes", a)
    if scope is not None and not world.api.plain:
        scope.cancel_after((0, 0.001, math.inf, seconds(b))[b % 4])


@step
def tokens(world: World, a: int, b: int) -> None:
    """Change a limiter, give back what was borrowed, borrow without waiting."""
    if world.api.plain:
        return
    held = limiter_of(world, a)
    kind = b % 4
    if kind == 0:
        held.total_tokens = (0, 1, 3, math.inf)[a % 4]
    elif kind == 1:
        held.acquire_on_behalf_of_nowait(Thing()._teach(a, b))
    elif kind == 2:
        lent, owner = world.pick("owners", a) or (None, None)
        if lent is not None:
            lent.release_on_behalf_of(owner)
    else:
        held.statistics()


@step
def fields(world: World, a: int, b: int) -> None:
    """Read, write and delete what a task has in place of asyncio's fields."""
    task = world.pick("tasks", a)
    if task is None:
        return
    for name in FIELDS:
        getattr(task, name, None)
    kind = b % 8
    if kind == 0:
        task.set_name(Thing()._teach(a, b))
    elif kind == 1:
        task._log_traceback = False
    elif kind == 2:
        task.print_stack(file=io.StringIO(), limit=a % 4)
    elif kind == 3:
        task.get_stack(limit=a % 4)
    elif kind in (4, 5) and not isinstance(task, aionursery.Task):
        # What asyncio's own tasks in Python have lost, they do without: also their loop.
        return
    elif kind == 4:
        setattr(task, FIELDS[a % len(FIELDS)], Thing()._teach(a, b))
    elif kind == 5:
        delattr(task, FIELDS[a % len(FIELDS)])
    elif kind == 6:
        task.attribute = Thing()._teach(a, b)
    else:
        task._make_cancelled_error()


WAIT |= {
    "lost_nursery": lost_nursery,
    "await_service": await_service,
    "race": race,
    "supervise": supervise,
    "limiter": limiter,
    "free": free,
    "limited": limited,
    "stopping": stopping,
    "safe_channel": safe_channel,
    "tell_nursery": tell_nursery,
}
