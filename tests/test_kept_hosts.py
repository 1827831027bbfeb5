"""R10: the loop keeps a host that nothing refers to while a child or a deadline may wake it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import weakref

import pytest

import aionursery
from aionursery import Nursery

from .helpers import turns
from .loop_kinds import KINDS


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("in_body", [True, False])
async def test_r10_a_host_that_nothing_refers_to_is_kept_by_a_child_that_runs(
    world, at_once, in_body
):
    """As asyncio keeps it: the child's end, or its failure, wakes the host."""

    async def child():
        if not at_once:
            await turns(2)
        gc.collect()

    async def host():
        async with Nursery() as nursery:
            nursery.start_soon(child)
            if in_body:
                await turns(4)
        ended.append(True)

    ended = []
    found = weakref.ref(asyncio.create_task(host()))
    await turns(10)
    gc.collect()
    assert ended == [True] and found() is None


async def test_r10_a_host_is_kept_by_a_child_that_is_to_become_its_own(world):
    async def child(*, task_status):
        await turns(2)
        gc.collect()
        task_status.started()
        await turns(2)
        gc.collect()

    async def caller(nursery):
        await nursery.start(child)

    async def host():
        async with Nursery() as nursery:
            callers.append(asyncio.create_task(caller(nursery)))
            await turns(1)
        ended.append(True)

    ended, callers = [], []
    found = weakref.ref(asyncio.create_task(host()))
    await turns(15)
    gc.collect()
    assert ended == [True] and found() is None


def deadline_from_the_beginning():
    return aionursery.move_on_after(0.01)


def deadline_of_a_nursery():
    return Nursery(deadline=aionursery.current_time() + 0.01)


def deadline_that_is_set():
    return aionursery.CancelScope()


@pytest.mark.parametrize(
    "make", [deadline_from_the_beginning, deadline_of_a_nursery, deadline_that_is_set]
)
async def test_r10_a_host_that_nothing_refers_to_is_kept_by_its_deadline(world, make):
    """As asyncio's timeout keeps it."""

    async def host():
        block = make()
        if isinstance(block, Nursery):
            async with block:
                await nothing()
        else:
            with block as scope:
                if scope.deadline == math.inf:
                    scope.deadline = aionursery.current_time() + 0.01
                await nothing()
        ended.set()

    async def nothing():
        await asyncio.get_running_loop().create_future()

    ended = asyncio.Event()
    found = weakref.ref(asyncio.create_task(host()))
    await turns(2)
    gc.collect()
    await asyncio.wait_for(ended.wait(), 20)
    await turns(2)
    gc.collect()
    assert found() is None


@pytest.mark.reports
@pytest.mark.parametrize("make", KINDS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_r10_a_host_goes_with_its_loop(make):
    async def host():
        with aionursery.move_on_after(60):
            await asyncio.get_running_loop().create_future()

    async def main():
        return weakref.ref(asyncio.create_task(host()))

    loop = make()
    loop.set_task_factory(aionursery.task_factory)
    found = loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    gc.collect()
    assert found() is not None
    loop.close()
    del loop
    asyncio.set_event_loop(None)
    gc.collect()
    assert found() is None


def left_by_another(loop):
    """Stop a loop in which another task leaves a nursery and sets its deadline; return the host."""

    async def refuses():
        for _ in range(10):
            with contextlib.suppress(asyncio.CancelledError):
                await loop.create_future()

    async def host():
        nursery = Nursery()
        await nursery.__aenter__()
        nursery.start_soon(refuses)
        nurseries.append(nursery)
        del nursery
        await refuses()

    async def leaves():
        await turns(1)
        nursery = nurseries.pop()
        leaving = nursery.__aexit__(None, None, None)
        leaving.send(None)
        nursery.cancel_scope.deadline = loop.time() + 3600
        loop.stop()
        await refuses()

    nurseries = []
    loop.set_exception_handler(lambda *_: None)
    tasks = [aionursery.Task(coroutine(), loop=loop) for coroutine in (host, leaves)]
    for task in tasks:
        task._log_destroy_pending = False
    loop.run_forever()
    loop.close()
    return weakref.ref(tasks[0])


@pytest.mark.parametrize("kind", KINDS)
def test_r10_a_host_whose_nursery_another_task_leaves_is_not_kept_by_its_deadline(kind):
    gone = left_by_another(kind())
    for _ in range(3):
        gc.collect()
    assert gone() is None
