"""What children return: tasks work with everything that asyncio has for tasks."""

import asyncio

import loops

from aionursery import Nursery


async def foo() -> str:
    await asyncio.sleep(0.02)
    return "foo's result"


async def bar() -> str:
    await asyncio.sleep(0.01)
    return "bar's result"


async def parent() -> None:
    async with Nursery() as nursery:
        task_foo = nursery.start_soon(foo())
        task_bar = nursery.start_soon(bar())
        done, pending = await asyncio.wait([task_foo, task_bar])
        print(f"done: {len(done)}, pending: {len(pending)}")
    print(task_foo.result())
    print(task_bar.result())


loops.run(parent)
