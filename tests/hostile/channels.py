"""The steps at channels: items that bite, ends that are items, transfers driven by hand.

What waits at a channel is woken by no end of the program, but is cancelled then, as any task is.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from typing import Any

from .actor import WAIT
from .objects import Thing, error
from .steps import step
from .world import World


def ends_of(world: World, a: int) -> tuple[Any, Any]:
    """The two ends of the channel of this number, which may be closed."""
    capacity = (0, 1, 3, math.inf)[a % 4]
    ends: tuple[Any, Any] = world.shared(
        ("channel", a % 8), lambda: world.api.open_channel(capacity)
    )
    return ends


def item(world: World, a: int, b: int) -> Any:
    """What is sent: mostly what bites, else what the channel itself hangs on."""
    kind = b % 8
    if kind == 0:
        return ends_of(world, a)[b >> 3 & 1]
    if kind == 1:
        return world.pick("transfers", a)
    if kind == 2:
        return asyncio.current_task() if a & 1 else world.pick("tasks", a)
    return Thing()._teach(a, b)


def transfer(world: World, a: int, b: int) -> Any:
    """Make what a task awaits at an end, not awaited yet."""
    send, receive = world.pick("ends", b) if b & 4 else None, None
    if send is None:
        send, receive = ends_of(world, a)
    elif hasattr(send, "receive"):
        send, receive = None, send
    kind = b % 7
    if kind < 3 and send is not None:
        return send.send(item(world, b, a))
    if kind == 3 and send is not None:
        return send.aclose()
    if receive is None:
        return None
    return receive.__anext__() if kind == 4 else receive.receive()


@step
def channel_nowait(world: World, a: int, b: int) -> None:
    send, receive = ends_of(world, a)
    if b & 1:
        send.send_nowait(item(world, a, b))
    else:
        receive.receive_nowait()


@step
def channel_end(world: World, a: int, b: int) -> None:
    end = world.pick("ends", a >> 1) if b & 8 else ends_of(world, a)[b >> 4 & 1]
    if end is None:
        return
    kind = b % 8
    if kind < 3:
        world.keep("ends", end.clone())
    elif kind == 3:
        end.close()
    elif kind == 4:
        with end:
            world.hook(a)
    elif kind == 5:
        world.keep("weak", weakref.ref(end, Thing()._teach(a, b)))
    else:
        end.statistics()


@step
def channel_open(world: World, a: int, b: int) -> None:
    ends = world.api.open_channel(Thing()._teach(a, b) if b & 7 == 7 else b % 3)
    for end in ends:
        world.keep("ends", end)
    if a & 1:
        world.things[("channel", a % 8)] = ends


@step
def channel_transfer(world: World, a: int, b: int) -> None:
    made = world.pick("transfers", a) if b & 8 else None
    if made is None:
        made = world.keep("transfers", transfer(world, a, b))
    if made is None:
        return
    kind = b >> 4 & 7
    if kind == 0:
        made.close()
    elif kind == 1:
        # No exit: what a hook raises of those is another step's to try.
        made.throw(error(a & 254, b))
    elif kind == 2:
        made.send(None)
    elif kind == 3:
        world.keep("coroutines", made)
    elif kind == 4:
        world.keep("waits", made.send(None))
    elif kind == 5:
        repr(made)


async def channel(world: World, a: int, b: int) -> None:
    made = transfer(world, a, b)
    if made is not None:
        await made


async def channel_held(world: World, a: int, b: int) -> None:
    made = world.pick("transfers", a)
    if made is not None:
        await (asyncio.wait_for(made, 0.004) if b & 2 else made)


async def channel_items(world: World, a: int, b: int) -> None:
    _, receive = ends_of(world, a)
    async for _ in receive:
        world.hook(b)
        if world.over() or b & 1:
            break


WAIT |= {"channel": channel, "channel_held": channel_held, "channel_items": channel_items}
