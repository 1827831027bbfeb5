"""Owns the fixed script whose instructions are counted: `python hot_paths.py NAME=COUNT ...`.

Always the same work in the same order, and nothing that depends on time: no clock is read but by
what is counted, and the garbage collector is off, because *when* it runs depends on everything
else in the process. Must never count anything itself.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable

import aionursery

BATCH = 100  # children a nursery


async def _returns() -> None:
    return


async def _yields() -> None:
    await asyncio.sleep(0)


async def _waits(event: aionursery.Event) -> None:
    await event.wait()


async def _awaits(task: aionursery.Task) -> None:
    await task


async def child_returns_at_once(count: int) -> None:
    for _ in range(count // BATCH):
        async with aionursery.Nursery() as nursery:
            for _ in range(BATCH):
                nursery.start_soon(_returns())


async def child_of_a_function(count: int) -> None:
    for _ in range(count // BATCH):
        async with aionursery.Nursery() as nursery:
            for _ in range(BATCH):
                nursery.start_soon(_returns)


async def child_of_a_taskgroup(count: int) -> None:
    for _ in range(count // BATCH):
        async with aionursery.TaskGroup() as group:
            for _ in range(BATCH):
                group.create_task(_returns())


async def child_yields_once(count: int) -> None:
    for _ in range(count // BATCH):
        async with aionursery.Nursery() as nursery:
            for _ in range(BATCH):
                nursery.start_soon(_yields())


async def child_waits_for_an_event(count: int) -> None:
    for _ in range(count // BATCH):
        event = aionursery.Event()
        async with aionursery.Nursery() as nursery:
            for _ in range(BATCH):
                nursery.start_soon(_waits(event))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            event.set()


async def fail_after_entered_and_left(count: int) -> None:
    for _ in range(count):
        with aionursery.fail_after(3600):
            pass


async def child_awaits_a_child(count: int) -> None:
    for _ in range(count // BATCH):
        async with aionursery.Nursery() as nursery:
            for _ in range(BATCH):
                nursery.start_soon(_awaits(nursery.start_soon(_yields())))


async def child_awaits_futures(count: int) -> None:
    """A turn of the loop each, which shows as well whether the loop itself has become slower."""

    async def child() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

    async with aionursery.Nursery() as nursery:
        nursery.start_soon(child)


async def _pass_items(count: int, places: int) -> None:
    send, receive = aionursery.open_channel(places)

    async def produce() -> None:
        with send:
            for number in range(count):
                await send.send(number)

    async with aionursery.Nursery() as nursery:
        nursery.start_soon(produce)
        async for _ in receive:
            pass


async def channel_item_is_waited_for(count: int) -> None:
    await _pass_items(count, 0)


async def channel_item_needs_no_wait(count: int) -> None:
    """Nearly: one wait of each side for as many items as the channel has places."""
    await _pass_items(count, 100)


async def nested_nursery_is_cancelled(count: int) -> None:
    """Each is a child of the one outside it, and must not cost more for how many there are."""

    async def open_another(levels: int, innermost: aionursery.Event) -> None:
        async with aionursery.Nursery() as nursery:
            if levels > 1:
                nursery.start_soon(open_another, levels - 1, innermost)
            else:
                innermost.set()
            await asyncio.Event().wait()

    for _ in range(count // BATCH):
        innermost = aionursery.Event()
        async with aionursery.Nursery() as nursery:
            nursery.start_soon(open_another, BATCH, innermost)
            await innermost.wait()
            nursery.cancel()


PATHS: dict[str, tuple[Callable[[int], Awaitable[None]], tuple[str, ...]]] = {
    "child_returns_at_once": (child_returns_at_once, ("Nursery",)),
    "child_of_a_function": (child_of_a_function, ("Nursery",)),
    "child_of_a_taskgroup": (child_of_a_taskgroup, ("TaskGroup",)),
    "child_yields_once": (child_yields_once, ("Nursery",)),
    "child_waits_for_an_event": (child_waits_for_an_event, ("Nursery", "Event")),
    "fail_after_entered_and_left": (fail_after_entered_and_left, ("fail_after",)),
    "child_awaits_a_child": (child_awaits_a_child, ("Nursery",)),
    "child_awaits_futures": (child_awaits_futures, ("Nursery",)),
    "channel_item_is_waited_for": (channel_item_is_waited_for, ("open_channel",)),
    "channel_item_needs_no_wait": (channel_item_needs_no_wait, ("open_channel",)),
    "nested_nursery_is_cancelled": (nested_nursery_is_cancelled, ("Nursery", "Event")),
}


async def main(counts: dict[str, int]) -> None:
    for name, count in counts.items():
        await PATHS[name][0](count)


if __name__ == "__main__":
    if sys.argv[1:] == ["--available"]:
        for name, (_, needs) in PATHS.items():
            if all(hasattr(aionursery, attribute) for attribute in needs):
                print(name)
    else:
        gc.disable()
        asyncio.run(
            main({name: int(count) for name, count in (word.split("=") for word in sys.argv[1:])})
        )
