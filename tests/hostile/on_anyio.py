"""The steps at anyio's objects, on our engine; the control has anyio's own.

Where anyio is missing, the steps do nothing. None of them may wait for what a cancellation of all
tasks does not end.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from .actor import BLOCK, WAIT, Cursor, actor, run
from .blocks import seconds
from .objects import Thing
from .odd import new_target
from .steps import step
from .waiting import ready
from .world import World

try:
    import anyio
except ImportError:
    anyio = None  # type: ignore[assignment]


def _new_scope(world: World, a: int, b: int) -> Any:
    kind = b % 4
    if kind == 0:
        scope = anyio.CancelScope(deadline=world.loop.time() + seconds(a), shield=bool(a & 8))
    elif kind == 1:
        scope = anyio.move_on_after(seconds(a), shield=bool(a & 8))
    elif kind == 2:
        scope = anyio.fail_after(seconds(a), shield=bool(a & 8))
    else:
        scope = anyio.CancelScope(shield=bool(a & 8))
    return scope


async def any_group(world: World, cursor: Cursor, depth: int, a: int, b: int) -> None:
    if anyio is None:
        await run(world, cursor, depth)
        return
    async with anyio.create_task_group() as group:
        world.keep("any_groups", group)
        world.made[id(group)] = world.number()
        del group
        await run(world, cursor, depth)


async def any_scope(world: World, cursor: Cursor, depth: int, a: int, b: int) -> None:
    if anyio is None:
        await run(world, cursor, depth)
        return
    with _new_scope(world, a, b) as scope:
        world.keep("any_scopes", scope)
        del scope
        await run(world, cursor, depth)


def event_of(world: World, a: int) -> Any:
    """The event of this number."""
    return world.shared(("any_event", a % 3), anyio.Event)


def stream_of(world: World, a: int) -> Any:
    """The two ends of the stream of this number, which may be closed."""
    return world.shared(
        ("any_stream", a % 4),
        lambda: anyio.create_memory_object_stream((0, 1, 3, math.inf)[a % 4]),
    )


def lock_of(world: World, a: int) -> Any:
    """The lock, semaphore or limiter of this number."""
    kinds = (anyio.Lock, lambda: anyio.Semaphore(1), lambda: anyio.CapacityLimiter(1))
    return world.shared(("any_lock", a % 3), kinds[a % 3])


async def any_wait(world: World, a: int, b: int) -> None:
    if anyio is None:
        return
    kind = b % 8
    if kind == 0:
        await event_of(world, a).wait()
    elif kind == 1:
        await stream_of(world, a)[0].send(Thing()._teach(a, b))
    elif kind == 2:
        await stream_of(world, a)[1].receive()
    elif kind == 3:
        async with lock_of(world, a):
            world.hook(b)
            await anyio.sleep(0)
    elif kind == 4:
        await anyio.lowlevel.checkpoint()
    elif kind == 5:
        await anyio.lowlevel.cancel_shielded_checkpoint()
    elif kind == 6:
        await anyio.sleep(seconds(a))
    else:
        await anyio.sleep_forever()


async def any_start(world: World, a: int, b: int) -> None:
    group = world.pick("any_groups", a)
    if group is not None:
        await group.start(ready, world, b, a >> 2)


@step
def any_start_soon(world: World, a: int, b: int) -> None:
    group = world.pick("any_groups", a)
    if group is None:
        return
    if b & 1:
        group.start_soon(actor, world, a, name=Thing()._teach(a, b) if b & 2 else None)
        return
    with new_target(world, a, b) as (made, args):
        group.start_soon(made, *args)


@step
def any_cancel(world: World, a: int, b: int) -> None:
    group, scope = world.pick("any_groups", a), world.pick("any_scopes", a)
    if b & 1 and group is not None:
        group.cancel_scope.cancel()
    elif scope is not None:
        scope.cancel()


@step
def any_settings(world: World, a: int, b: int) -> None:
    scope = world.pick("any_scopes", a)
    if scope is None:
        return
    if b & 1:
        scope.shield = bool(b & 2)
    else:
        scope.deadline = (math.inf, -math.inf, world.loop.time() + seconds(a))[a % 3]
    _ = scope.cancel_called, scope.cancelled_caught, scope.deadline, scope.shield


@step
def any_set(world: World, a: int, b: int) -> None:
    if anyio is None:
        return
    kind = b % 6
    if kind == 0:
        event_of(world, a).set()
    elif kind == 1:
        stream_of(world, a)[0].send_nowait(Thing()._teach(a, b))
    elif kind == 2:
        stream_of(world, a)[1].receive_nowait()
    elif kind == 3:
        stream_of(world, a)[b >> 3 & 1].close()
    elif kind == 4:
        anyio.current_effective_deadline()
    else:
        for task in anyio.get_running_tasks():
            repr(task)


@step
def any_leave(world: World, a: int, b: int) -> None:
    """Leave a scope that may be another's, or enter one and forget it."""
    scope = world.pick("any_scopes", a)
    if anyio is None or asyncio.current_task() is None:
        return
    if b & 3 == 0 and scope is not None:
        scope.__exit__(None, None, None)
    elif b & 3 == 1:
        made = anyio.CancelScope(deadline=world.loop.time() + seconds(a), shield=bool(a & 8))
        world.keep("any_scopes", made).__enter__()


BLOCK |= {"any_group": any_group, "any_scope": any_scope}
WAIT |= {"any_wait": any_wait, "any_start": any_start}
