"""A timeout around a nursery cancels all of it: the body, the children, and what they wait for."""

import asyncio

import loops
from async_timeout import timeout

from aionursery import Nursery


async def child() -> None:
    try:
        await asyncio.sleep(1000 * 1000)
    finally:
        print("child: cancelled")


async def parent() -> None:
    try:
        async with timeout(0.1):
            async with Nursery() as nursery:
                nursery.start_soon(child())
                await asyncio.sleep(1000 * 1000)
    except TimeoutError:
        print("parent: timed out, and nothing is left")


loops.run(parent)
