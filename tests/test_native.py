"""R13, R23: native coroutines, `async fn` of PyO3's, are children and are awaited as Python's are.

They yield a future itself, and end only by what the task throws into them.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap

import pytest

import aionursery
from aionursery import CancelScope, Nursery

from . import native
from .helpers import turns


@pytest.fixture(scope="module")
def coroutines():
    return native.load()


async def awaits(coroutine):
    """Await it in a coroutine of Python's, which hands on what is thrown into it."""
    return await coroutine


async def itself(coroutine):
    """Start it as it is."""
    return await aionursery.Task(coroutine, loop=asyncio.get_running_loop())


def in_time(function, *args):
    """Call it when what is awaited next has taken its first step; before, it would never run."""

    async def later():
        await turns(3)
        function(*args)

    return asyncio.ensure_future(later())


AWAITED = [awaits, itself]


def child(nursery, coroutine, wrapped):
    return nursery.start_soon(awaits(coroutine) if wrapped else coroutine)


@pytest.mark.parametrize("wrapped", [True, False], ids=["awaited", "itself"])
async def test_r23_a_native_coroutine_is_a_child(world, coroutines, wrapped):
    value = object()
    async with Nursery() as nursery:
        counted = child(nursery, coroutines.turns(5), wrapped)
        sent = child(nursery, coroutines.from_a_thread(value), wrapped)
    assert counted.result() == 5 and sent.result() is value


@pytest.mark.parametrize("wrapped", [True, False], ids=["awaited", "itself"])
async def test_r6_a_native_coroutine_that_fails_cancels_one_that_waits(world, coroutines, wrapped):
    drops = coroutines.Drops()
    with pytest.raises(aionursery.MultiError) as info:
        async with Nursery() as nursery:
            waits = child(nursery, coroutines.never(drops), wrapped)
            await turns(2)
            child(nursery, coroutines.fails(), wrapped)
    (error,) = info.value
    assert type(error) is ValueError and error.args == ("native",)
    assert waits.cancelled() and drops.count == 1


@pytest.mark.parametrize("wrapped", [True, False], ids=["awaited", "itself"])
@pytest.mark.parametrize("how", ["task", "nursery", "deadline", "host"])
async def test_r13_a_cancellation_is_thrown_into_a_native_coroutine(
    world, coroutines, wrapped, how
):
    drops = coroutines.Drops()
    tasks = []

    async def host():
        async with Nursery() as nursery:
            tasks.append(child(nursery, coroutines.never(drops), wrapped))
            await turns(3)
            if how == "task":
                tasks[0].cancel()
            elif how == "nursery":
                nursery.cancel()
            elif how == "deadline":
                nursery.cancel_scope.deadline = 0

    task = asyncio.ensure_future(host())
    if how == "host":
        await turns(6)
        task.cancel()
    _, pending = await asyncio.wait([task], timeout=10)
    assert not pending and task.cancelled() is (how == "host")
    assert tasks[0].cancelled() and drops.count == 1


@pytest.mark.parametrize("how", ["task", "nursery"])
async def test_r13_a_native_coroutine_gets_the_cancellation_itself(world, coroutines, how):
    async with Nursery() as nursery:
        task = nursery.start_soon(awaits(coroutines.caught()))
        await turns(3)
        if how == "task":
            task.cancel("by hand")
        else:
            nursery.cancel("no longer wanted")
    caught = task.result()
    if how == "task":
        assert type(caught) is asyncio.CancelledError and caught.args == ("by hand",)
    else:
        assert type(caught) is aionursery.Cancelled and caught.reason == "no longer wanted"


@pytest.mark.parametrize("await_", AWAITED)
async def test_r22_asyncio_timeout_ends_a_native_coroutine(world, coroutines, await_):
    drops = coroutines.Drops()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as timeout:
            reschedules = in_time(timeout.reschedule, 0)
            await await_(coroutines.never(drops))
    assert drops.count == 1 and asyncio.current_task().cancelling() == 0
    await reschedules
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(await_(coroutines.never(drops)), 0.001)


@pytest.mark.parametrize("await_", AWAITED)
async def test_r13_a_scope_takes_back_what_it_threw_into_a_native_coroutine(
    world, coroutines, await_
):
    drops = coroutines.Drops()
    with CancelScope() as timed:
        sets = in_time(setattr, timed, "deadline", 0.0)
        await await_(coroutines.never(drops))
    with CancelScope() as scope:
        cancels = in_time(scope.cancel)
        await await_(coroutines.never(drops))
    assert timed.cancelled_caught and scope.cancelled_caught and drops.count == 2
    assert asyncio.current_task().cancelling() == 0
    await asyncio.wait([sets, cancels])


async def test_r20_a_shield_keeps_the_cancellation_from_a_native_coroutine(world, coroutines):
    async with Nursery() as nursery:
        shielded = nursery.start_soon(awaits(coroutines.turns(20)), shield=True)
        native_itself = nursery.start_soon(coroutines.turns(20), shield=True)
        await turns(3)
        nursery.cancel()
    assert shielded.result() == native_itself.result() == 20


@pytest.mark.parametrize("by", ["throw", "close"])
async def test_r31_a_native_coroutine_that_is_ended_by_another_ends_its_task(world, coroutines, by):
    drops = coroutines.Drops()
    coroutine = coroutines.never(drops)
    task = aionursery.Task(awaits(coroutine), loop=asyncio.get_running_loop())
    await turns(2)
    if by == "throw":
        with pytest.raises(ValueError):
            coroutine.throw(ValueError())
    else:
        coroutine.close()
    assert drops.count == 1
    task.cancel()
    _, pending = await asyncio.wait([task], timeout=10)
    assert not pending and (task.cancelled() or task.exception() is not None)


async def test_r10_native_coroutines_go_with_their_tasks(world, coroutines):
    drops = coroutines.Drops()
    for wrapped in (True, False):
        async with Nursery() as nursery:
            for _ in range(10):
                child(nursery, coroutines.never(drops), wrapped)
            await turns(2)
            nursery.cancel()
    del nursery
    gc.collect()
    assert drops.count == 20
    assert aionursery._aionursery.loop_state(asyncio.get_running_loop()).size() == (0, 0, 0)


PROGRAM = """
import asyncio, sys
import aionursery, uvloop
from tests import native

coroutines = native.load()
drops = coroutines.Drops()

async def user():
    await coroutines.never(drops)

async def main():
    global tasks
    tasks = [asyncio.create_task(user()) for _ in range(3)]
    await asyncio.sleep(0.001)

aionursery.run(main(), loop_factory={loop})
print([task.cancelled() for task in tasks], drops.count)
"""


@pytest.mark.parametrize("loop", ["asyncio.SelectorEventLoop", "uvloop.new_event_loop"])
def test_r13_run_returns_although_native_coroutines_still_wait(coroutines, loop):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM).format(loop=loop)],
        cwd=native.HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "[True, True, True] 3\n"), done.stderr
