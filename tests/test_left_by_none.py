"""Nurseries left by no task, or by one that they wait for: nothing hangs or is lost (R3, R7)."""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import suppress

import pytest

import aionursery
from aionursery import CancelScope, MultiError, Nursery, Task, fail_after, shield
from aionursery._aionursery import loop_state

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


@pytest.mark.parametrize("further_in", [False, True])
async def test_r24_a_child_that_leaves_the_nursery_itself_stays_the_callers(world, further_in):
    async def opens_another():
        async with Nursery() as inner:
            nurseries.append(inner)
            await forever()

    async def leaves(nursery, goal, *, task_status):
        leaving.append(nursery.__aexit__(None, None, None))
        leaving[0].send(None)
        task_status.started("started")
        with suppress(asyncio.CancelledError):
            await turns(1)
        # Each nursery above is looked at by this.
        await goal.start(says_so)

    async def says_so(*, task_status):
        task_status.started()

    nurseries, leaving = [], []
    nursery = Nursery()
    await nursery.__aenter__()
    kept = nursery.start_soon(opens_another)
    with shield():
        await turns(1)
        goal = nurseries[0] if further_in else nursery
        with suppress(RuntimeError):
            assert await goal.start(leaves, nursery, goal) == "started"
            await turns(4)
    kept.cancel()
    leaving[0].close()
    await turns(4)
    assert nursery.closed
    world.reports.clear()


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


@pytest.mark.reports
@pytest.mark.parametrize("by", ["another task", "a callback"])
async def test_r31_a_coroutine_closed_in_a_scope_leaves_that_without_an_error(world, by):
    async def host():
        async with Nursery() as nursery:
            nursery.start_soon(forever())
            with fail_after(100), CancelScope() as scope:
                scopes.append(scope)
                await forever()

    scopes = []
    coroutine = host()
    task = asyncio.ensure_future(coroutine)
    await turns(3)
    if by == "a callback":
        loop = asyncio.get_running_loop()
        closed = loop.create_future()
        loop.call_soon(lambda: closed.set_result(coroutine.close()))
        await closed
    else:
        coroutine.close()
    assert repr(scopes[0]) == "<CancelScope left>"
    task.cancel()
    await asyncio.wait([task])
    assert not any("CancelScope" in str(report) for report in world.reports)
    assert loop_state(asyncio.get_running_loop()).size() == (0, 0, 0)


@pytest.mark.parametrize("new_loop", KINDS)
@pytest.mark.parametrize("kind", [asyncio.Task, Task])
def test_r31_a_coroutine_that_its_loop_leaves_in_a_scope_says_nothing_of_that(
    monkeypatch, new_loop, kind
):
    async def host():
        with fail_after(100):
            await forever()

    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: raised.append(args.exc_value))
    loop = new_loop()
    loop.set_exception_handler(lambda *_: None)
    task = kind(host(), loop=loop)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    del task, loop
    gc.collect()
    assert raised == []


@pytest.mark.reports
async def test_r12_a_host_that_leaves_its_join_to_itself_hears_of_cancellations(world):
    async def main():
        async with Nursery() as outer:
            inner = Nursery()
            await inner.__aenter__()
            inner.start_soon(forever())
            leaving = inner.__aexit__(None, None, None)
            leaving.send(None)
            outer.start_soon(turns, 3)
            asyncio.get_running_loop().call_soon(outer.cancel)
            try:
                await forever()
            finally:
                heard.append(True)
                leaving.close()

    heard = []
    with suppress(asyncio.CancelledError):
        await main()
    assert heard == [True]


@pytest.mark.parametrize("start", ["start_service", "start_soon"])
@pytest.mark.parametrize("entered", ["by hand", "in a generator"])
def test_r3_a_program_ends_whose_main_function_has_left_a_shielded_child_behind(start, entered):
    kept, ended = [], []

    async def lives():
        try:
            await forever()
        finally:
            ended.append(True)

    def begin(nursery):
        if start == "start_service":
            nursery.start_service(lives)
        else:
            nursery.start_soon(lives, shield=True)

    async def steps():
        async with Nursery() as nursery:
            begin(nursery)
            yield

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: None)
        # A program that hangs is stopped, with an error.
        loop.call_later(10, loop.stop)
        if entered == "by hand":
            kept.append(Nursery())
            begin(await kept[0].__aenter__())
        else:
            kept.append(steps())
            await anext(kept[0])
        await turns(2)

    aionursery.run(main())
    assert ended == [True]
    kept.clear()
    gc.collect()
