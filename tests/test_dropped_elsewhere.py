"""What is dropped without having been left goes, in another thread or while no loop runs, too (R3).

The collector runs in any thread, and takes a nursery that stands in a cycle there.
"""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from aionursery import CancelScope, Nursery, Task
from aionursery._aionursery import loop_state

from .helpers import forever, note_cancellation, turns
from .loop_kinds import KINDS

NEVER_LEFT = "A nursery was never left"


def drop_in_a_thread(box):
    def drop():
        box.clear()
        gc.collect()

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()


def size():
    return loop_state(asyncio.get_running_loop()).size()


@pytest.mark.reports
@pytest.mark.parametrize("children", [0, 2])
@pytest.mark.parametrize("in_a_cycle", [False, True])
async def test_r3_a_nursery_that_another_thread_drops_cancels_its_children(
    world, children, in_a_cycle
):
    async def host():
        nursery = Nursery()
        await nursery.__aenter__()
        for number in range(children):
            nursery.start_soon(note_cancellation(trace, number))
        await turns(2)
        box = [nursery]
        if in_a_cycle:
            box.append(box)
        del nursery
        drop_in_a_thread(box)
        await turns(4)
        assert trace == list(range(children))

    trace = []
    before = size()
    await asyncio.create_task(host())
    await turns(2)
    assert size() == before
    (report,) = world.reports
    assert report["message"].startswith(NEVER_LEFT)
    assert f"{children} of its children were cancelled" in report["message"]


@pytest.mark.reports
async def test_r3_in_a_child_too(world):
    async def host():
        nursery = Nursery()
        await nursery.__aenter__()
        nursery.start_soon(note_cancellation(trace, "child"))
        await turns(2)
        box = [nursery]
        del nursery
        drop_in_a_thread(box)
        await turns(4)

    trace = []
    before = size()
    async with Nursery() as around:
        around.start_soon(host)
    await turns(2)
    assert trace == ["child"] and size() == before
    (report,) = world.reports
    assert report["message"].startswith(NEVER_LEFT)


@pytest.mark.parametrize("make", [Task, asyncio.Task], ids=["ours", "asyncio's"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("child_ends", ["first", "last", "never started"])
def test_r3_a_nursery_that_is_dropped_while_no_loop_runs_goes_with_its_last_task(
    make, kind, child_ends
):
    async def host():
        nursery = Nursery()
        await nursery.__aenter__()
        if child_ends != "never started":
            nursery.start_soon(turns(1 if child_ends == "first" else 9))
        box.append(nursery)
        del nursery
        loop.stop()
        await turns(4)

    box = []
    loop = kind()
    task = make(host(), loop=loop)
    loop.run_forever()
    box.clear()
    gc.collect()
    loop.run_until_complete(turns(12))
    assert task.done()
    assert loop_state(loop).size() == (0, 0, 0)
    loop.close()


@pytest.mark.parametrize("make", [Task, asyncio.Task], ids=["ours", "asyncio's"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("child", [False, True])
def test_r3_a_nursery_that_outlives_its_host_leaves_nothing_either(make, kind, child):
    async def host():
        nursery = Nursery()
        await nursery.__aenter__()
        if child:
            nursery.start_soon(turns(2))
        box.append(nursery)

    async def enters():
        await make(host(), loop=loop)
        await turns(4)

    box = []
    loop = kind()
    loop.run_until_complete(enters())
    box.clear()
    gc.collect()
    loop.run_until_complete(turns(1))
    assert loop_state(loop).size() == (0, 0, 0)
    loop.close()


@pytest.mark.parametrize("make", [Task, asyncio.Task], ids=["ours", "asyncio's"])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_r3_a_scope_that_is_dropped_goes_with_its_host(world, make, elsewhere):
    async def host():
        scope = CancelScope()
        scope.__enter__()
        box = [scope]
        del scope
        if elsewhere:
            drop_in_a_thread(box)
        box.clear()
        await turns(1)

    before = size()
    task = make(host(), loop=asyncio.get_running_loop())
    await asyncio.wait([task])
    await turns(1)
    assert size() == before


async def test_r3_a_host_that_goes_on_is_told_as_ever_of_what_it_enters_next(world):
    """A scope was dropped in it, and does not take it out of the tree."""

    async def host():
        CancelScope().__enter__()
        await turns(1)
        with CancelScope() as scope:
            scope.cancel()
            await forever()
        return scope.cancelled_caught

    assert await asyncio.create_task(host())
