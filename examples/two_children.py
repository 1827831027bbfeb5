"""Two calls at once; the block ends when both have."""

import asyncio

import loops

from aionursery import Nursery


async def child(name: str) -> None:
    print(f"{name}: started")
    await asyncio.sleep(0.05)
    print(f"{name}: done")


async def parent() -> None:
    async with Nursery() as nursery:
        nursery.start_soon(child("first"))
        nursery.start_soon(child("second"))
        print("parent: both are started")
    print("parent: both are done")


loops.run(parent)
