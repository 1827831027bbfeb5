"""Owns the cases of groups that are handed coroutines: ours and `asyncio.TaskGroup`.

One text for all of them: a toolkit says how the group is opened and whose waits are used. The
timed loops must never go through the toolkit, only through what was taken out of it before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from contenders import children
from contenders.case import Case


class Stop(Exception):
    """Ends a group that knows no cancel()."""


@dataclass(frozen=True)
class Toolkit:
    open: Callable[[], Any]
    spawn: str
    sleep: Callable[[float], Any]
    event: Callable[[], Any]
    queue: Callable[[], Any]
    timeout: Callable[[float], Any]
    timeout_is_async: bool
    cancel: Callable[[Any], None]


async def at_once(kit: Toolkit, clock: Any, size: int) -> None:
    child = children.returns_at_once
    with clock:
        async with kit.open() as group:
            start = getattr(group, kit.spawn)
            for _ in range(size):
                start(child())


async def sleep0(kit: Toolkit, clock: Any, size: int) -> None:
    child = children.yields_once
    with clock:
        async with kit.open() as group:
            start = getattr(group, kit.spawn)
            for _ in range(size):
                start(child())


async def sleep(kit: Toolkit, clock: Any, size: int, seconds: float) -> None:
    child, own_sleep = children.sleeps, kit.sleep
    with clock:
        async with kit.open() as group:
            start = getattr(group, kit.spawn)
            for _ in range(size):
                start(child(own_sleep, seconds))


async def event(kit: Toolkit, clock: Any, size: int) -> None:
    child = children.waits
    with clock:
        happened = kit.event()
        async with kit.open() as group:
            start = getattr(group, kit.spawn)
            for _ in range(size):
                start(child(happened))
            await blocked()
            happened.set()


async def future(kit: Toolkit, clock: Any, size: int) -> None:
    """As a library has its users wait: each child for a future of its own, which is asyncio's."""
    child, new_future = children.awaits, asyncio.get_running_loop().create_future
    with clock:
        futures = []
        async with kit.open() as group:
            start = getattr(group, kit.spawn)
            for _ in range(size):
                futures.append(new_future())
                start(child(futures[-1]))
            await blocked()
            for one in futures:
                one.set_result(None)


async def queue(kit: Toolkit, clock: Any, size: int) -> None:
    child = children.takes
    with clock:
        items = kit.queue()
        put = items.put_nowait
        async with kit.open() as group:
            start = getattr(group, kit.spawn)
            for _ in range(size):
                start(child(items))
            await blocked()
            for number in range(size):
                put(number)


async def child(kit: Toolkit, clock: Any, size: int) -> None:
    waiting, waited_for = children.awaits, children.yields_once
    with clock:
        async with kit.open() as group:
            start = getattr(group, kit.spawn)
            for _ in range(size):
                start(waiting(start(waited_for())))


async def timeout(kit: Toolkit, clock: Any, size: int) -> None:
    async with kit.open() as group:
        getattr(group, kit.spawn)(timeout_host(kit, clock, size))


async def timeout_host(kit: Toolkit, clock: Any, size: int) -> None:
    limit = kit.timeout
    if kit.timeout_is_async:
        with clock:
            for _ in range(size):
                async with limit(60):
                    pass
    else:
        with clock:
            for _ in range(size):
                with limit(60):
                    pass


async def cancel(kit: Toolkit, clock: Any, size: int) -> None:
    child, never = children.waits, kit.event()
    try:
        async with kit.open() as group:
            start = getattr(group, kit.spawn)
            for _ in range(size):
                start(child(never))
            await blocked()
            clock.__enter__()
            kit.cancel(group)
    except* Stop:
        pass
    clock.__exit__()


async def empty(kit: Toolkit, clock: Any, size: int) -> None:
    opened = kit.open
    with clock:
        for _ in range(size):
            async with opened():
                pass


async def one_child(kit: Toolkit, clock: Any, size: int) -> None:
    opened, spawn, child = kit.open, kit.spawn, children.returns_at_once
    with clock:
        for _ in range(size):
            async with opened() as group:
                getattr(group, spawn)(child())


async def memory(kit: Toolkit, meter: Any, size: int, what: str) -> None:
    never = kit.event()
    try:
        async with kit.open() as group:
            start = getattr(group, kit.spawn)
            with meter:
                for _ in range(size):
                    if what == "event":
                        start(children.waits(never))
                    else:
                        start(children.sleeps(kit.sleep, 3600))
                await blocked()
            kit.cancel(group)
    except* Stop:
        pass


async def cleanup(kit: Toolkit, clock: Any, size: int, child: Callable[[], Any]) -> None:
    try:
        async with kit.open() as group:
            getattr(group, kit.spawn)(child())
            await blocked()
            clock.__enter__()
            kit.cancel(group)
    except* Stop:
        pass
    clock.__exit__()


async def echo(kit: Toolkit, clock: Any, size: int) -> None:
    from contenders.echo import echo_server, request

    async with echo_server() as (session, url):
        with clock:
            async with kit.open() as group:
                start = getattr(group, kit.spawn)
                for _ in range(size):
                    start(request(session, url))


async def blocked() -> None:
    """Two turns of the loop: every child has taken its first step and stands at its wait."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def cases(kit: Toolkit) -> dict[str, Case]:
    table: dict[str, Any] = {
        "at_once": at_once,
        "function": at_once,
        "drop_in": at_once,
        "sleep0": sleep0,
        "own_sleep0": partial(sleep, seconds=0),
        "sleep": partial(sleep, seconds=0.01),
        "event": event,
        "future": future,
        "queue": queue,
        "child": child,
        "timeout": timeout,
        "timeout_host": timeout_host,
        "cancel": cancel,
        "empty": empty,
        "one_child": one_child,
        "echo": echo,
        "cleanup_shield": partial(cleanup, child=children.cleans_up_behind_a_shield),
        "cleanup_native": partial(cleanup, child=children.cleans_up_in_a_native_task),
        "memory_event": partial(memory, what="event"),
        "memory_sleep": partial(memory, what="sleep"),
    }
    for size in (1000, 10_000, 100_000, 1_000_000):
        table[f"scale_{size}"] = table[f"uncollected_{size}"] = at_once
    return {row: partial(case, kit) for row, case in table.items()}
