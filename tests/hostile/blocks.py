"""The blocks of a script: nurseries, scopes, timeouts, what catches and what cleans up.

A block only wraps `run`; it must let go of what it raises, so that no frame keeps it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from . import classes
from .actor import BLOCK, Cursor, run
from .objects import Thing
from .world import Interrupt, World


def seconds(a: int) -> float:
    """A short time, or none."""
    return (a % 7) * 0.002


def settings(world: World, a: int, b: int) -> dict[str, Any]:
    """What a nursery or a scope is made with."""
    made: dict[str, Any] = {}
    if a & 3 == 1:
        made["deadline"] = world.loop.time() + seconds(a >> 3)
    if a & 28 == 4:
        made["shield"] = True
    if a & 96 == 32:
        made["cleanup"] = (0, 0.003, 0.01, None)[b & 3]
    return made


def make_nursery(world: World, a: int, b: int) -> Any:
    """Make a nursery, or a subclass of it."""
    made = settings(world, a, b)
    if b & 48 == 48:
        made["on_error"] = "collect"
    kind = classes.nurseries(world)[b & 1] if b & 64 else world.api.Nursery
    nursery = world.keep("nurseries", kind(**made))
    world.made[id(nursery)] = world.number()
    return nursery


def make_scope(world: World, a: int, b: int) -> Any:
    """Make a scope, by any of the ways to make one."""
    made = settings(world, a, b)
    made.pop("deadline", None)
    kind, api = b % 7, world.api
    if kind == 0:
        scope = api.fail_after(seconds(a), **made)
    elif kind == 1:
        scope = api.move_on_after(seconds(a), **made)
    elif kind == 2:
        scope = api.fail_at(world.loop.time() + seconds(a), **made)
    elif kind == 3:
        scope = api.move_on_at(world.loop.time() + seconds(a), **made)
    elif kind == 4:
        made.pop("shield", None)
        scope = api.shield(**made)
    else:
        reason = Thing()._teach(a, b) if b & 64 else None
        scope = api.CancelScope(**settings(world, a, b), reason=reason)
    return world.keep("scopes", scope)


async def nursery(world: World, cursor: Cursor, depth: int, a: int, b: int) -> None:
    made = make_nursery(world, a, b)
    async with made:
        await run(world, cursor, depth)


async def group(world: World, cursor: Cursor, depth: int, a: int, b: int) -> None:
    made = asyncio.TaskGroup() if a & 1 else world.api.TaskGroup()
    world.made[id(made)] = world.number()
    world.keep("groups" if a & 1 else "nurseries", made)
    async with made:
        await run(world, cursor, depth)


async def scope(world: World, cursor: Cursor, depth: int, a: int, b: int) -> None:
    with make_scope(world, a, b):
        await run(world, cursor, depth)


async def timeout(world: World, cursor: Cursor, depth: int, a: int, b: int) -> None:
    if b & 1:
        await asyncio.wait_for(run(world, cursor, depth), seconds(a) + 0.001)
    else:
        async with asyncio.timeout(seconds(a)):
            await run(world, cursor, depth)


async def swallow(world: World, cursor: Cursor, depth: int, a: int, b: int) -> None:
    try:
        await run(world, cursor, depth)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except (Exception, asyncio.CancelledError) as exc:
        world.see(exc, "swallowed")
        if a & 4:
            world.keep("errors", exc)


async def cleanup(world: World, cursor: Cursor, depth: int, a: int, b: int) -> None:
    try:
        await run(world, cursor, depth)
    except Interrupt as exc:
        # A cancellation that comes during this takes its place, and a scope may catch that.
        world.interrupts_seen.add(exc.args[0])
        raise
    finally:
        world.hook(b)
        for _ in range(a % 3):
            await asyncio.sleep(0)
        if a & 8 and not world.over():
            await world.api.sleep(0.002)


async def repeat(world: World, cursor: Cursor, depth: int, a: int, b: int) -> None:
    cursor.back(a % 3)
    await run(world, cursor, depth)


def hold(world: World, a: int, b: int) -> Any:
    """Make a generator that holds something, and note since when."""
    made = yielding(world, a, b)
    world.made[id(made)] = world.number()
    return made


async def yielding(world: World, a: int, b: int) -> AsyncIterator[int]:
    """Hold a nursery, a group or a scope, and yield inside."""
    kind = a % 5
    if kind == 0:
        async with make_nursery(world, b, a) as held:
            held.start_soon(world.api.sleep_forever())
            del held
            for number in range(3):
                yield number
    elif kind == 1:
        async with make_nursery(world, b, a):
            for number in range(3):
                yield number
    elif kind == 2:
        async with world.api.TaskGroup() as held:
            held.create_task(asyncio.sleep(0.003))
            yield 1
            yield 2
    elif kind == 3:
        with make_scope(world, b, a):
            for number in range(3):
                await asyncio.sleep(0)
                yield number
    else:
        try:
            yield 1
            world.hook(b)
            yield 2
        except Interrupt as exc:
            # What ends the generator during this takes its place.
            world.interrupts_seen.add(exc.args[0])
            raise
        finally:
            world.hook(b)
            await asyncio.sleep(0)


async def generator(world: World, cursor: Cursor, depth: int, a: int, b: int) -> None:
    made = hold(world, a, b)
    if b & 4:
        world.keep("generators", made)
    async for _ in made:
        await run(world, cursor, depth)
        if b & 8 or world.over():
            break


BLOCK |= {
    "nursery": nursery,
    "group": group,
    "scope": scope,
    "timeout": timeout,
    "swallow": swallow,
    "finally": cleanup,
    "generator": generator,
    "repeat": repeat,
}
