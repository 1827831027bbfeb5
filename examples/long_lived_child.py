"""A child that lives as long as its parent wants, and hands over what it finds by a queue."""

import asyncio

import loops

from aionursery import Nursery


async def from_external_system(number: int) -> str:
    await asyncio.sleep(0.01)
    return f"reading {number}"


async def child(queue: asyncio.Queue[str]) -> None:
    number = 0
    while True:
        number += 1
        await queue.put(await from_external_system(number))


async def parent() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    async with Nursery() as nursery:
        nursery.start_soon(child(queue))
        for _ in range(3):
            print(await queue.get())
        nursery.cancel_remaining()
    print("the child is gone")


loops.run(parent)
