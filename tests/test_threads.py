"""A loop that runs is not for other threads: what changes its tasks, scopes or waits says so."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

import aionursery
from aionursery import CancelScope, Nursery

from .helpers import forever, turns
from .loop_kinds import KINDS


def in_a_thread(function):
    """Call it in another thread, and return or raise what it does."""
    outcome = []

    def run():
        try:
            outcome.append((function(), None))
        except BaseException as exc:
            outcome.append((None, exc))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    ((result, error),) = outcome
    if error is not None:
        raise error
    return result


def changes(nursery, scope, child):
    def put(name, value):
        return lambda: setattr(scope, name, value)

    return {
        "task.cancel": child.cancel,
        "nursery.cancel": nursery.cancel,
        "nursery.cancel_remaining": nursery.cancel_remaining,
        "nursery.start_soon": lambda: nursery.start_soon(forever),
        "nursery.start_now": lambda: nursery.start_now(forever),
        "scope.cancel": scope.cancel,
        "scope.deadline": put("deadline", 0.0),
        "scope.shield": put("shield", True),
        "scope.cleanup": put("cleanup", 1.0),
    }


@pytest.mark.parametrize("what", list(changes(*[Nursery()] * 2, CancelScope())))
@pytest.mark.parametrize("held", ["in a step", "in a thread of its own"])
async def test_r11_another_thread_that_changes_something_is_told_what_to_call(world, what, held):
    async with Nursery() as nursery:
        child = nursery.start_soon(forever)
        await turns(1)
        with CancelScope() as scope:
            change = changes(nursery, scope, child)[what]
            with pytest.raises(RuntimeError, match=r"another thread.*call_soon_threadsafe"):
                if held == "in a step":
                    in_a_thread(change)
                else:
                    await asyncio.to_thread(change)
            await turns(3)
            assert not child.done() and len(nursery.children) == 1
            assert not scope.cancel_called and not scope.shield
        asyncio.get_running_loop().call_soon_threadsafe(child.cancel)
        await asyncio.wait([child])
        assert child.cancelled()


@pytest.mark.parametrize("what", ["cancel", "set_result"])
async def test_r11_another_thread_that_ends_a_wait_is_told_what_to_call(world, what):
    event = aionursery.Event()
    async with Nursery() as nursery:
        nursery.start_soon(event.wait())
        await turns(2)
        change = event.set if what == "set_result" else event._waiters[0].cancel
        with pytest.raises(RuntimeError, match=r"another thread.*call_soon_threadsafe"):
            await asyncio.to_thread(change)
        asyncio.get_running_loop().call_soon_threadsafe(event._waiters[0].set_result, True)


async def test_r23_another_thread_may_cancel_what_has_ended(world):
    async with Nursery() as nursery:
        child = nursery.start_soon(turns(1))
        await child
        assert await asyncio.to_thread(child.cancel) is False


async def test_r23_what_another_thread_asks_the_loop_for_is_cancelled(world):
    loop = asyncio.get_running_loop()
    loop.set_task_factory(aionursery.task_factory)
    before = asyncio.all_tasks()
    future = await asyncio.to_thread(asyncio.run_coroutine_threadsafe, forever(), loop)
    await turns(3)
    assert len(asyncio.all_tasks()) == len(before) + 1
    assert await asyncio.to_thread(future.cancel)
    await turns(3)
    assert future.cancelled()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("make", KINDS)
def test_r23_any_thread_may_cancel_a_task_of_a_loop_that_does_not_run(make):
    loop = make()
    task = aionursery.Task(forever(), loop=loop)
    unstarted = aionursery.Task(forever(), loop=loop)
    assert in_a_thread(unstarted.cancel)
    loop.run_until_complete(turns(2))
    assert in_a_thread(task.cancel)
    loop.run_until_complete(turns(2))
    assert task.cancelled() and unstarted.cancelled()
    loop.close()


@pytest.mark.parametrize("make", KINDS)
def test_r23_a_loop_may_run_in_one_thread_after_another(make):
    loop = make()
    task = in_a_thread(lambda: loop.run_until_complete(enter()))
    assert task.cancel()
    loop.run_until_complete(turns(2))
    assert task.cancelled()
    loop.close()


def run_inside(outer, inner, what):
    """Run a loop in a step of another one."""
    asyncio._set_running_loop(None)
    try:
        inner.run_until_complete(what)
    finally:
        asyncio._set_running_loop(outer)


async def enter():
    task = aionursery.Task(forever(), loop=asyncio.get_running_loop())
    await turns(2)
    return task


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="asyncio's own task refuses a step inside another's there"
)
@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("ours", [True, False])
def test_r30_a_loop_that_runs_inside_another_cancels_the_outer_ones_tasks(make, ours):
    outer, inner = make(), asyncio.SelectorEventLoop()

    async def cancel(task):
        task.cancel()

    async def main():
        task = aionursery.Task(forever(), loop=outer)
        await turns(2)
        run_inside(outer, inner, cancel(task))
        await turns(2)
        assert task.cancelled()

    outer.run_until_complete(aionursery.Task(main(), loop=outer) if ours else main())
    outer.close()
    inner.close()


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="asyncio's own task refuses a step inside another's there"
)
@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("ours", [True, False])
def test_r30_a_loop_that_runs_inside_another_starts_nothing_in_the_outer_ones_nursery(make, ours):
    outer, inner = make(), asyncio.SelectorEventLoop()

    async def child(*, task_status):
        task_status.started()

    async def start(nursery):
        with pytest.raises(RuntimeError, match="another event loop"):
            await nursery.start(child)

    async def main():
        async with aionursery.Nursery() as nursery:
            nursery.start_soon(turns(1))
            run_inside(outer, inner, aionursery.Task(start(nursery), loop=inner))

    outer.run_until_complete(aionursery.Task(main(), loop=outer) if ours else main())
    outer.close()
    inner.close()
