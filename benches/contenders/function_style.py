"""Owns the cases of groups that are handed a function: anyio's and trio's.

One text for both, told apart by a toolkit, which the timed loops must never go through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from contenders import children
from contenders.case import Case


@dataclass(frozen=True)
class Toolkit:
    open: Callable[[], Any]
    sleep: Callable[[float], Any]
    event: Callable[[], Any]
    channel: Callable[[float], tuple[Any, Any]]
    timeout: Callable[[float], Any]


async def _group(kit: Toolkit, clock: Any, size: int, child: Any, *args: Any) -> None:
    with clock:
        async with kit.open() as group:
            start = group.start_soon
            for _ in range(size):
                start(child, *args)


async def own_sleep(kit: Toolkit, clock: Any, size: int, seconds: float) -> None:
    await _group(kit, clock, size, children.sleeps, kit.sleep, seconds)


async def at_once(kit: Toolkit, clock: Any, size: int) -> None:
    await _group(kit, clock, size, children.returns_at_once)


async def event(kit: Toolkit, clock: Any, size: int) -> None:
    child = children.waits
    with clock:
        happened = kit.event()
        async with kit.open() as group:
            start = group.start_soon
            for _ in range(size):
                start(child, happened)
            await blocked(kit)
            happened.set()


async def _receives(channel: Any) -> None:
    await channel.receive()


async def queue(kit: Toolkit, clock: Any, size: int) -> None:
    child = _receives
    with clock:
        sending, receiving = kit.channel(float("inf"))
        put = sending.send_nowait
        with sending, receiving:
            async with kit.open() as group:
                start = group.start_soon
                for _ in range(size):
                    start(child, receiving)
                await blocked(kit)
                for number in range(size):
                    put(number)


async def timeout(kit: Toolkit, clock: Any, size: int) -> None:
    async with kit.open() as group:
        group.start_soon(timeout_host, kit, clock, size)


async def timeout_host(kit: Toolkit, clock: Any, size: int) -> None:
    limit = kit.timeout
    with clock:
        for _ in range(size):
            with limit(60):
                pass


async def cancel(kit: Toolkit, clock: Any, size: int) -> None:
    child, never = children.waits, kit.event()
    async with kit.open() as group:
        start = group.start_soon
        for _ in range(size):
            start(child, never)
        await blocked(kit)
        clock.__enter__()
        group.cancel_scope.cancel()
    clock.__exit__()


async def empty(kit: Toolkit, clock: Any, size: int) -> None:
    opened = kit.open
    with clock:
        for _ in range(size):
            async with opened():
                pass


async def one_child(kit: Toolkit, clock: Any, size: int) -> None:
    opened, child = kit.open, children.returns_at_once
    with clock:
        for _ in range(size):
            async with opened() as group:
                group.start_soon(child)


async def memory(kit: Toolkit, meter: Any, size: int, what: str) -> None:
    never = kit.event()
    async with kit.open() as group:
        start = group.start_soon
        with meter:
            for _ in range(size):
                if what == "event":
                    start(children.waits, never)
                else:
                    start(children.sleeps, kit.sleep, 3600)
            await blocked(kit)
        group.cancel_scope.cancel()


async def blocked(kit: Toolkit) -> None:
    """Two turns of the loop: every child has taken its first step and stands at its wait."""
    await kit.sleep(0)
    await kit.sleep(0)


def cases(kit: Toolkit) -> dict[str, Case]:
    table: dict[str, Any] = {
        "at_once": at_once,
        "function": at_once,
        "own_sleep0": partial(own_sleep, seconds=0),
        "sleep": partial(own_sleep, seconds=0.01),
        "event": event,
        "queue": queue,
        "timeout": timeout,
        "timeout_host": timeout_host,
        "cancel": cancel,
        "empty": empty,
        "one_child": one_child,
        "memory_event": partial(memory, what="event"),
        "memory_sleep": partial(memory, what="sleep"),
        "scale_1000": at_once,
        "scale_10000": at_once,
        "scale_100000": at_once,
    }
    return {row: partial(case, kit) for row, case in table.items()}
