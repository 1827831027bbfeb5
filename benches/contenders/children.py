"""Owns the coroutines that children of asyncio-like contenders run; must never start one.

Every contender on an asyncio loop runs these same coroutines, so that only the starting, waiting
and joining differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

CLEANUP_SECONDS = 1.0


async def returns_at_once() -> None:
    return


async def yields_once() -> None:
    await asyncio.sleep(0)


async def sleeps(sleep: Callable[[float], Awaitable[None]], seconds: float) -> None:
    await sleep(seconds)


async def waits(event: Any) -> None:
    await event.wait()


async def takes(queue: Any) -> None:
    await queue.get()


async def awaits(task: Awaitable[None]) -> None:
    await task


async def cleans_up_behind_a_shield() -> None:
    cleaning = asyncio.ensure_future(asyncio.sleep(CLEANUP_SECONDS))
    while not cleaning.done():
        try:
            await asyncio.shield(cleaning)
        except asyncio.CancelledError:
            continue


async def cleans_up_in_a_native_task() -> None:
    await asyncio.create_task(_cleans_up_when_cancelled())


async def _cleans_up_when_cancelled() -> None:
    loop = asyncio.get_running_loop()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        end = loop.time() + CLEANUP_SECONDS
        while (rest := end - loop.time()) > 0:
            try:
                await asyncio.sleep(rest)
            except asyncio.CancelledError:
                continue
