"""R1: a block is left after the done callbacks of its children, as asyncio's groups are, also where
the body goes on in the turn in which the last child ends."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

import aionursery
from aionursery import Nursery, TaskGroup, fail_after, move_on_after

from .helpers import turns


async def fires(event):
    event.set()


async def goes_on_with_an_event(start):
    event = asyncio.Event()
    start(fires(event))
    await event.wait()


async def goes_on_with_a_queue(start):
    queue = asyncio.Queue()
    for item in range(3):
        start(queue.put(item))
    for _ in range(3):
        await queue.get()


async def goes_on_after_a_turn(start):
    start(asyncio.sleep(0))
    start(asyncio.sleep(0))
    await turns(2)


async def goes_on_with_a_cancelled_child(start):
    task = start(asyncio.sleep(3600))
    await turns(1)
    task.cancel()
    await turns(1)


async def awaits_its_children(start):
    await asyncio.gather(*[start(asyncio.sleep(0)) for _ in range(3)])


BODIES = [
    goes_on_with_an_event,
    goes_on_with_a_queue,
    goes_on_after_a_turn,
    goes_on_with_a_cancelled_child,
    awaits_its_children,
]


class Started:
    """Starts children, and counts those of which a callback has told."""

    def __init__(self, start):
        self.start = start
        self.tasks = []
        self.told = []

    def __call__(self, coroutine):
        task = self.start(coroutine)
        task.add_done_callback(self.told.append)
        self.tasks.append(task)
        return task


@pytest.mark.parametrize("body", BODIES)
async def test_r1_a_nursery_is_left_after_the_callbacks_of_its_children(world, body):
    async with Nursery() as nursery:
        started = Started(nursery.start_soon)
        await body(started)
    assert started.tasks and started.told == started.tasks


@pytest.mark.parametrize("group", [TaskGroup, asyncio.TaskGroup])
@pytest.mark.parametrize("body", BODIES)
async def test_r1_a_task_group_is_left_after_the_callbacks_of_its_children(world, body, group):
    async with group() as tasks:
        started = Started(tasks.create_task)
        await body(started)
    assert started.tasks and started.told == started.tasks


async def test_r1_a_body_that_fails_waits_for_the_callbacks_too(world):
    event = asyncio.Event()
    with pytest.raises(ExceptionGroup):
        async with Nursery() as nursery:
            started = Started(nursery.start_soon)
            started(fires(event))
            await event.wait()
            raise ValueError
    assert len(started.told) == 1


async def test_r15_a_cancellation_in_the_turn_of_the_callbacks_is_not_lost(world):
    event = asyncio.Event()
    with move_on_after(3600) as scope:
        async with Nursery() as nursery:
            task = nursery.start_soon(fires(event))
            task.add_done_callback(lambda _: scope.cancel())
            await event.wait()
        await turns(1)
        pytest.fail("the scope was cancelled before this")
    assert scope.cancelled_caught


async def test_r14_a_cancel_from_outside_in_that_turn_leaves_the_block(world):
    event = asyncio.Event()

    async def host():
        async with Nursery() as nursery:
            task = nursery.start_soon(fires(event))
            task.add_done_callback(lambda _: hosted.cancel())
            await event.wait()

    hosted = asyncio.create_task(host())
    with fail_after(5):
        await asyncio.wait([hosted])
    assert hosted.cancelled()


async def test_r1_callbacks_that_were_called_before_hold_nothing_up(world):
    async with Nursery() as nursery:
        started = Started(nursery.start_soon)
        await asyncio.gather(started(asyncio.sleep(0)))
        called = []
        asyncio.get_running_loop().call_soon(called.append, None)
    assert not called and len(started.told) == 1


def test_r1_a_block_is_left_where_the_loop_refuses_the_call_behind_the_callbacks():
    refused = []

    class Refuses(asyncio.SelectorEventLoop):
        def call_soon(self, callback, *args, context=None):
            if getattr(callback, "__name__", None) == "called":
                refused.append(callback)
                raise RuntimeError("no more calls")
            return super().call_soon(callback, *args, context=context)

    async def main():
        event = asyncio.Event()
        async with Nursery() as nursery:
            task = nursery.start_soon(fires(event))
            task.add_done_callback(lambda _: None)
            await event.wait()

    aionursery.run(main(), loop_factory=Refuses)
    assert len(refused) == 1


async def test_nurseries_whose_children_have_callbacks_keep_no_result(world):
    class Value:
        pass

    async def gives():
        return Value()

    references = []

    def keep(task):
        references.append(weakref.ref(task.result()))

    async with Nursery() as around:
        for _ in range(200):
            event = asyncio.Event()
            async with Nursery() as nursery:
                nursery.start_soon(gives).add_done_callback(keep)
                nursery.start_soon(fires(event))
                await event.wait()
        around.start_soon(gives).add_done_callback(keep)
    del nursery, around, event
    await turns(2)
    gc.collect()
    assert len(references) == 201
    assert not [reference for reference in references if reference() is not None]
