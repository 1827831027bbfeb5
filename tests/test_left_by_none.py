"""Nurseries left by no task, or by one that they wait for: nothing hangs or is lost (R3, R7)."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest

from aionursery import MultiError, Nursery

from .helpers import forever, turns
from .loop_kinds import KINDS

INSIDE = "left by a task inside it, which would wait for itself"


@pytest.mark.parametrize("depth", [1, 2])
async def test_r3_a_task_cannot_leave_a_nursery_that_waits_for_it(world, depth):
    async def leaves(nursery):
        with pytest.raises(RuntimeError, match=INSIDE):
            await nursery.__aexit__(None, None, None)

    async def opens_another(nursery):
        async with Nursery() as inner:
            inner.start_soon(leaves, nursery)

    async with Nursery() as nursery:
        nursery.start_soon(leaves if depth == 1 else opens_another, nursery)
        await turns(3)
        left = nursery.start_soon(turns, 1)
    assert nursery.closed and left.done(), "its host leaves it as if nothing had been tried"


async def test_r3_two_tasks_cannot_leave_each_others_nursery(world):
    async def leaves(nursery):
        try:
            await nursery.__aexit__(None, None, None)
        except RuntimeError as error:
            told.append(str(error))

    async def host():
        nursery = Nursery()
        await nursery.__aenter__()
        nurseries.append(nursery)
        await forever()

    told, nurseries = [], []
    hosts = [asyncio.ensure_future(host()) for _ in range(2)]
    await turns(1)
    one, other = nurseries
    one.start_soon(leaves, other)
    other.start_soon(leaves, one)
    await turns(6)
    assert len(told) == 2
    assert [INSIDE in text for text in told].count(True) == 1
    assert ["another task than entered it" in text for text in told].count(True) == 1
    for task in hosts:
        task.cancel()
    await asyncio.wait(hosts)
    # One was left by another task; the other one never is.
    world.reports.clear()
    del nurseries[:], one, other
    gc.collect()
    world.reports.clear()


async def test_r24_a_start_that_is_never_resumed_does_not_hold_the_nursery_open(world):
    async def ready(*, task_status):
        await forever()

    async def drives_by_hand(nursery):
        starting.append(nursery.start(ready))
        starting[0].send(None)

    starting = []
    with pytest.raises(MultiError) as caught:
        async with Nursery() as nursery:
            nursery.start_soon(drives_by_hand, nursery)
    assert [type(error) for error in caught.value] == [RuntimeError]
    assert "without leaving a nursery" in str(caught.value.exceptions[0])
    assert nursery.closed
    starting[0].close()


async def test_r24_a_start_whose_caller_is_closed_does_not_hold_the_nursery_open(world):
    async def ready(*, task_status):
        task_status.started()
        await forever()

    async def starts(nursery):
        await nursery.start(ready)

    async with Nursery() as nursery:
        caller = starts(nursery)
        caller.send(None)
        caller.close()
        nursery.cancel()
    assert nursery.closed
    world.reports.clear()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("new_loop", KINDS)
def test_r7_an_error_in_a_nursery_never_left_comes_out_with_its_loop(monkeypatch, new_loop, error):
    async def fails(*, task_status):
        task_status.started()
        # By its traceback the error keeps the nursery, and the loop's tree keeps the error.
        raise error("kept")

    async def host():
        nursery = Nursery()
        await nursery.__aenter__()
        await nursery.start(fails)

    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: raised.append(args.exc_value))
    loop = new_loop()
    host_task = asyncio.Task(host(), loop=loop)
    loop.run_until_complete(host_task)
    loop.close()
    del host_task, loop
    gc.collect()
    assert [(type(one), one.args) for one in raised] == [(error, ("kept",))]
