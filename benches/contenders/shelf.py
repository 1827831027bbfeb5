"""Owns how each library takes part in the rows of the shelf: channels, map, race, threads.

Each case is what the library's documentation recommends for that. Must never call one library's
function in another's case.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
from collections.abc import Awaitable, Callable
from typing import Any

from contenders.case import Case, Contender, Main, run_on_asyncio

SECTION = "shelf"
LIMIT = 100


def _nothing() -> None:
    pass


async def _yields(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def _never(event: Any) -> None:
    await event.wait()


def _channel(open_ends: Callable[[int], tuple[Any, Any]], open_group: Callable[[], Any]) -> Any:
    """One sends, one receives, by the ends of a channel."""

    async def case(clock: Any, size: int, places: int) -> None:
        async def send(end: Any) -> None:
            with end:
                for number in range(size):
                    await end.send(number)

        sending, receiving = open_ends(places)
        with clock:
            async with open_group() as group:
                group.start_soon(send, sending)
                with receiving:
                    async for _ in receiving:
                        pass

    return case


def _with_places(case: Any) -> dict[str, Case]:
    return {f"channel_{places}": functools.partial(case, places=places) for places in (0, 100)}


def _ours() -> dict[str, Case]:
    import aionursery
    from aionursery import Event, Nursery

    async def map_all(clock: Any, size: int) -> None:
        with clock:
            await aionursery.map(_yields, range(size), limit=LIMIT)

    async def race(clock: Any, size: int) -> None:
        never = Event()
        with clock:
            for _ in range(size):
                await aionursery.race(_never(never), _yields(1), _never(never))

    async def to_thread(clock: Any, size: int) -> None:
        with clock:
            for _ in range(size):
                await aionursery.to_thread(_nothing)

    table = _with_places(_channel(lambda places: aionursery.open_channel(places), Nursery))
    return table | {"map": map_all, "race": race, "to_thread": to_thread}


async def _asyncio_queue(clock: Any, size: int, places: int) -> None:
    # A queue of no places keeps everything, so one place is the nearest to none.
    async def send(queue: asyncio.Queue[int | None]) -> None:
        for number in range(size):
            await queue.put(number)
        await queue.put(None)

    queue: asyncio.Queue[int | None] = asyncio.Queue(places or 1)
    with clock:
        async with asyncio.TaskGroup() as group:
            group.create_task(send(queue))
            while await queue.get() is not None:
                pass


async def _asyncio_map(clock: Any, size: int) -> None:
    semaphore = asyncio.Semaphore(LIMIT)

    async def one(number: int) -> int:
        async with semaphore:
            return await _yields(number)

    with clock:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(size)]
        [task.result() for task in tasks]


async def _asyncio_race(clock: Any, size: int) -> None:
    never = asyncio.Event()
    with clock:
        for _ in range(size):
            running = [
                asyncio.create_task(target) for target in (_never(never), _yields(1), _never(never))
            ]
            done, left = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.wait(left)
            done.pop().result()


async def _asyncio_to_thread(clock: Any, size: int) -> None:
    with clock:
        for _ in range(size):
            await asyncio.to_thread(_nothing)


def _asyncio() -> dict[str, Case]:
    return _with_places(_asyncio_queue) | {
        "map": _asyncio_map,
        "race": _asyncio_race,
        "to_thread": _asyncio_to_thread,
    }


def _in_groups(
    open_group: Callable[[], Any],
    limiter: Callable[[float], Any],
    event: Callable[[], Any],
    sleep: Callable[[float], Awaitable[None]],
    to_thread: Callable[[Callable[[], None]], Awaitable[None]],
) -> dict[str, Case]:
    """Cases of trio and anyio, by hand: neither has a map or a race."""

    async def map_all(clock: Any, size: int) -> None:
        places = limiter(LIMIT)
        results: list[int | None] = [None] * size

        async def one(number: int) -> None:
            async with places:
                await sleep(0)
                results[number] = number

        with clock:
            async with open_group() as group:
                for number in range(size):
                    group.start_soon(one, number)

    async def race(clock: Any, size: int) -> None:
        never = event()
        results: list[int] = []

        async def one(group: Any) -> None:
            await sleep(0)
            results.append(1)
            group.cancel_scope.cancel()

        with clock:
            for _ in range(size):
                async with open_group() as group:
                    group.start_soon(_never, never)
                    group.start_soon(one, group)
                    group.start_soon(_never, never)

    async def in_threads(clock: Any, size: int) -> None:
        with clock:
            for _ in range(size):
                await to_thread(_nothing)

    return {"map": map_all, "race": race, "to_thread": in_threads}


def _anyio() -> dict[str, Case]:
    import anyio
    from anyio import to_thread

    open_group = anyio.create_task_group
    by_hand = _in_groups(
        open_group, anyio.CapacityLimiter, anyio.Event, anyio.sleep, to_thread.run_sync
    )
    streams: Any = anyio.create_memory_object_stream
    return by_hand | _with_places(_channel(lambda places: streams(places), open_group))


def _trio() -> dict[str, Case]:
    import trio

    by_hand = _in_groups(
        trio.open_nursery, trio.CapacityLimiter, trio.Event, trio.sleep, trio.to_thread.run_sync
    )
    channels: Any = trio.open_memory_channel
    return by_hand | _with_places(_channel(lambda places: channels(places), trio.open_nursery))


def _aiochannel() -> dict[str, Case]:
    import aiochannel

    async def case(clock: Any, size: int, places: int) -> None:
        # A channel of no places keeps everything, so one place is the nearest to none.
        channel: Any = aiochannel.Channel(places or 1)

        async def send() -> None:
            for number in range(size):
                await channel.put(number)
            channel.close()

        with clock:
            async with asyncio.TaskGroup() as group:
                group.create_task(send())
                async for _ in channel:
                    pass

    return _with_places(case)


def _aiometer() -> dict[str, Case]:
    import aiometer

    async def case(clock: Any, size: int) -> None:
        with clock:
            await aiometer.run_all(
                [functools.partial(_yields, number) for number in range(size)], max_at_once=LIMIT
            )

    return {"map": case}


def _run_trio(main: Main, loop: str) -> None:
    import trio

    trio.run(main)


def contenders() -> list[Contender]:
    peers = [
        ("shelf_ours", "ours", "aionursery", _ours, run_on_asyncio),
        ("shelf_asyncio", "asyncio", "asyncio", _asyncio, run_on_asyncio),
        ("shelf_anyio", "anyio", "anyio", _anyio, run_on_asyncio),
        ("shelf_trio", "trio (own loop)", "trio", _trio, _run_trio),
        ("shelf_aiochannel", "aiochannel", "aiochannel", _aiochannel, run_on_asyncio),
        ("shelf_aiometer", "aiometer", "aiometer", _aiometer, run_on_asyncio),
    ]
    return [
        Contender(key, title, run, cases(), section=SECTION, ours=key == "shelf_ours")
        for key, title, library, cases, run in peers
        if importlib.util.find_spec(library) is not None
    ]
