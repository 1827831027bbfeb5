"""The steps that wait: for time, for what others do, for tasks, for the end of a nursery.

None of them may wait for what the end of the program does not wake: it cancels all tasks, resolves
all futures, sets all events.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .actor import WAIT, actor
from .blocks import make_nursery, seconds
from .objects import Thing, error
from .odd import awaitable, future
from .world import Interrupt, World


async def turn(world: World, a: int, b: int) -> None:
    for _ in range(a % 3 + 1):
        await asyncio.sleep(0)


async def sleep(world: World, a: int, b: int) -> None:
    kind, api = b % 7, world.api
    if kind == 0:
        await api.sleep_forever()
    elif kind == 1:
        await api.checkpoint()
    elif kind == 2:
        await api.checkpoint_if_cancelled()
    elif kind == 3:
        await api.sleep_until(world.loop.time() + seconds(a))
    elif kind == 4:
        await asyncio.sleep(seconds(a))
    else:
        await api.sleep(seconds(a), Thing()._teach(a, b))


def event_of(world: World, a: int) -> Any:
    """The event of this number, made at its first use."""
    kind = "Event" if a & 1 else None
    return world.shared(("event", a % 4), asyncio.Event if kind is None else world.api.Event)


async def event(world: World, a: int, b: int) -> None:
    await event_of(world, a).wait()


def queue_of(world: World, a: int) -> Any:
    """The queue of this number."""
    kinds = (world.api.Queue, asyncio.Queue, world.api.LifoQueue)
    return world.shared(("queue", a % 3), lambda: kinds[a % 3](2))


async def queue(world: World, a: int, b: int) -> None:
    if b & 1:
        await queue_of(world, a).get()
    else:
        await queue_of(world, a).put(Thing()._teach(a, b))


def lock_of(world: World, a: int) -> Any:
    """The lock or semaphore of this number."""
    api = world.api
    kinds = (api.Lock, asyncio.Lock, lambda: api.Semaphore(2), lambda: api.BoundedSemaphore(1))
    return world.shared(("lock", a % 4), kinds[a % 4])


async def lock(world: World, a: int, b: int) -> None:
    async with lock_of(world, a):
        await asyncio.sleep(0)
        world.hook(b)


def condition_of(world: World, a: int) -> Any:
    """The condition of this number."""
    return world.shared(("condition", a % 2), (world.api.Condition, asyncio.Condition)[a % 2])


async def condition(world: World, a: int, b: int) -> None:
    held = condition_of(world, a)
    try:
        async with held:
            if b & 1:
                held.notify_all()
            else:
                await held.wait()
    except RuntimeError as exc:
        # An interrupt in asyncio's own `Condition.wait`, between its release of the lock and its
        # `try`: the block releases a lock that is not held, and that error takes its place.
        if isinstance(exc.__context__, Interrupt):
            world.interrupts_seen.add(exc.__context__.args[0])
        raise


async def await_task(world: World, a: int, b: int) -> None:
    task = world.pick_task(a, asyncio.current_task())
    if task is not None:
        await (asyncio.shield(task) if b & 2 else task)


async def await_future(world: World, a: int, b: int) -> None:
    made = world.pick("futures", a) if b & 2 else world.keep("futures", future(world, a, b))
    if made is not None:
        await made


async def await_odd(world: World, a: int, b: int) -> None:
    made = awaitable(world, a, b)
    if made is not None:
        await made


async def await_wait(world: World, a: int, b: int) -> None:
    wait = world.pick("waits", a)
    if wait is not None:
        await wait


async def wait_many(world: World, a: int, b: int) -> None:
    me = asyncio.current_task()
    tasks = {world.pick_task(a, me), world.pick_task(b, me)} - {None, me}
    if not tasks:
        return
    kind = (a ^ b) % 4
    if kind == 0:
        await asyncio.wait(tasks, timeout=seconds(a))
    elif kind == 1:
        await asyncio.gather(*tasks, return_exceptions=bool(a & 8))
    elif kind == 2:
        await asyncio.wait_for(next(iter(tasks)), seconds(a))
    else:
        for one in asyncio.as_completed(tasks, timeout=seconds(a)):
            await one


async def ready(world: World, a: int, b: int, *, task_status: Any) -> Any:
    """Say when it is ready: before, after or never."""
    if b & 1:
        await asyncio.sleep(0)
    if b & 4:
        raise error(a, b)
    if b & 2:
        task_status.started(Thing()._teach(a, b))
        if b & 8:
            task_status.started()
    world.keep("statuses", task_status)
    await actor(world, a)


async def start(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a)
    if nursery is not None:
        await nursery.start(ready, world, b, a >> 2, name=Thing()._teach(a, b) if b & 16 else None)


async def cancel_and_wait(world: World, a: int, b: int) -> None:
    task = world.pick_task(a, asyncio.current_task())
    if isinstance(task, world.api.Task):
        await task.cancel_and_wait(Thing()._teach(a, b) if b & 2 else None)


async def open_by_hand(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a) if b & 2 else make_nursery(world, a, b)
    if nursery is not None:
        entering = nursery.__aenter__()
        await entering


async def leave_by_hand(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a)
    if nursery is None or not world.may_leave(nursery, asyncio.current_task()):
        return
    exc = world.pick("errors", b) if b & 2 else None
    leaving = nursery.__aexit__(type(exc) if exc is not None else None, exc, None)
    if b & 4:
        world.keep("coroutines", leaving)
    if b & 8:
        leaving.send(None)
    else:
        await leaving


async def generator_step(world: World, a: int, b: int) -> None:
    made = world.pick("generators", a)
    if made is not None and world.may_leave(made, asyncio.current_task()):
        await (made.athrow(error(a, b)) if b & 2 else made.asend(None))


async def generator_close(world: World, a: int, b: int) -> None:
    made = world.pick("generators", a)
    if made is not None and world.may_leave(made, asyncio.current_task()):
        await made.aclose()


WAIT |= {
    "turn": turn,
    "sleep": sleep,
    "event": event,
    "queue": queue,
    "lock": lock,
    "condition": condition,
    "await_task": await_task,
    "await_future": await_future,
    "await_odd": await_odd,
    "await_wait": await_wait,
    "wait_many": wait_many,
    "start": start,
    "cancel_and_wait": cancel_and_wait,
    "open_by_hand": open_by_hand,
    "leave_by_hand": leave_by_hand,
    "generator_step": generator_step,
    "generator_close": generator_close,
}
