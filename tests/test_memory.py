"""R5 and R10 in the long run: nurseries that come and go leave nothing behind, and warn of nothing.

AIONURSERY_MEMORY_ROUNDS sets how many nurseries are opened; 100000 is the full number.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap

import pytest

import aionursery
from aionursery import CancelScope, MultiError, Nursery, Task
from aionursery._aionursery import loop_state

from .helpers import fail, forever, turns

ROUNDS = int(os.environ.get("AIONURSERY_MEMORY_ROUNDS", "4000"))

PROGRAM = """
import asyncio, gc, os, sys

import aionursery

ROUNDS = {rounds}


async def fails():
    raise ValueError("on purpose")


async def stays():
    await asyncio.get_running_loop().create_future()


async def one(how):
    try:
        async with aionursery.Nursery() as nursery:
            nursery.start_soon(asyncio.sleep(0))
            if how == 0:
                nursery.start_soon(fails())
                nursery.start_soon(stays())
            elif how == 1:
                nursery.start_soon(stays())
                nursery.cancel("enough")
            elif how == 2:
                with aionursery.move_on_after(0):
                    await stays()
    except aionursery.MultiError as group:
        assert len(group) == 1


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def main():
    # In development mode asyncio warns of each step that takes longer. How long one takes is the
    # machine's business and not a matter of what is left behind.
    asyncio.get_running_loop().slow_callback_duration = float("inf")
    for number in range(ROUNDS // 4):
        await one(number % 4)
    gc.collect()
    before = resident()
    for number in range(ROUNDS):
        await one(number % 4)
    gc.collect()
    grown = resident() - before
    kinds = (aionursery.Nursery, aionursery.CancelScope, aionursery.Task)
    left = [thing for thing in gc.get_objects() if isinstance(thing, kinds)]
    left = [thing for thing in left if thing is not asyncio.current_task()]
    assert not left, left
    print(grown)


{run}(main())
"""


def run_alone(run, *options):
    program = textwrap.dedent(PROGRAM).format(rounds=ROUNDS, run=run)
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return int(done.stdout)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.parametrize("run", ["asyncio.run", "aionursery.run"])
def test_r5_resident_memory_is_flat_and_nothing_of_ours_is_left(run):
    # What an allocator keeps for itself does not depend on the number of rounds, unless it is
    # AddressSanitizer's, which keeps what is freed.
    assert run_alone(run) < 1_000_000 or "asan" in os.environ.get("LD_PRELOAD", "")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.parametrize("run", ["asyncio.run", "aionursery.run"])
def test_r5_in_development_mode_there_is_no_warning(run):
    run_alone(run, "-X", "dev")


def ours_in_memory():
    kinds = (Nursery, CancelScope, Task, MultiError)
    return {id(thing) for thing in gc.get_objects() if isinstance(thing, kinds)}


async def returns(nursery):
    nursery.start_soon(turns(1))


async def fails(nursery):
    nursery.start_soon(fail(ValueError()))
    await forever()


async def cancels(nursery):
    nursery.start_soon(forever())
    await turns(1)
    nursery.cancel("enough")


async def nests(nursery):
    async with Nursery() as inner:
        inner.start_soon(fail(ValueError()), shield=True)
        nursery.start_soon(asyncio.shield(turns(3)))


async def cancels_by_hand(nursery):
    task = nursery.start_soon(forever())
    await turns(1)
    await task.cancel_and_wait()


async def times_out(nursery):
    nursery.cancel_scope.deadline = 0
    await forever()


BODIES = [returns, fails, cancels, nests, cancels_by_hand, times_out]


@pytest.mark.parametrize("body", BODIES)
async def test_r5_no_object_of_ours_is_left_and_the_tree_is_empty(world, body):
    async def one():
        try:
            async with Nursery() as nursery:
                await body(nursery)
        except MultiError:
            pass

    await one()
    gc.collect()
    before = ours_in_memory()
    for _ in range(50):
        await one()
    await turns(3)
    gc.collect()
    assert ours_in_memory() - before == set()
    assert loop_state(asyncio.get_running_loop()).size() == (0, 0, 0)


async def test_r5_a_host_that_is_cancelled_leaves_nothing(world):
    async def host():
        async with Nursery() as nursery:
            nursery.start_soon(forever())
            with CancelScope():
                await forever()

    await turns(1)
    gc.collect()
    before = ours_in_memory()
    for number in range(20):
        task = asyncio.ensure_future(host())
        await turns(number % 4)
        task.cancel()
        await asyncio.wait([task])
    del task
    await turns(3)
    gc.collect()
    assert ours_in_memory() - before == set()
    assert loop_state(asyncio.get_running_loop()).size() == (0, 0, 0)


@pytest.mark.reports
async def test_r5_a_nursery_that_is_never_left_leaves_nothing_and_is_reported(world):
    cancelled = []

    async def child():
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def host():
        nursery = Nursery()
        await nursery.__aenter__()
        nursery.start_soon(child())
        nursery.start_soon(fail(ValueError("not lost"), after=3))
        await turns(2)

    await asyncio.ensure_future(host())
    await turns(5)
    gc.collect()
    assert cancelled == [1]
    assert any("never left" in report["message"] for report in world.reports)
    assert loop_state(asyncio.get_running_loop()).size() == (0, 0, 0)


@pytest.mark.reports
@pytest.mark.parametrize("leaves", [False, True])
async def test_r3_a_nursery_never_left_that_is_in_a_cycle_is_closed_by_the_collector(world, leaves):
    async def host():
        nursery = Nursery()
        nursery.stopping.nursery = nursery
        await nursery.__aenter__()
        children.append(nursery.start_soon(forever()))
        nursery.start_soon(fail(ValueError("not lost")))
        if leaves:
            nursery.stopping.leaving = nursery.__aexit__(None, None, None)
            nursery.stopping.leaving.send(None)
        del nursery
        gc.collect()
        await turns(2)

    children = []
    await asyncio.wait([asyncio.ensure_future(host())])
    await turns(3)
    assert children[0].cancelled()
    errors = [report["exception"] for report in world.reports if "exception" in report]
    assert [str(error) for error in errors] == ["not lost"]
    never_left = [report for report in world.reports if "never left" in report["message"]]
    assert len(never_left) == (not leaves)
    assert loop_state(asyncio.get_running_loop()).size() == (0, 0, 0)


async def test_r5_a_scope_never_left_that_is_in_a_cycle_goes_with_its_host(world):
    async def host():
        scope = CancelScope()
        scope.__enter__()
        cycle = [scope]
        cycle.append(cycle)
        del scope, cycle
        gc.collect()

    await asyncio.ensure_future(aionursery.Task(host()))
    assert loop_state(asyncio.get_running_loop()).size() == (0, 0, 0)


def test_r5_loops_that_come_and_go_leave_nothing(world):
    async def main():
        async with Nursery() as nursery:
            nursery.start_soon(turns(2))

    def states():
        gc.collect()
        kind = aionursery._aionursery.LoopState
        return sum(isinstance(thing, kind) for thing in gc.get_objects())

    world.run(main())
    before = states()
    for _ in range(10):
        world.run(main())
    assert states() <= before + 1
