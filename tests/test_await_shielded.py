"""Tasks that await what their cancellation cannot end are cancelled without it (R18, R19)."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

import aionursery
from aionursery import CancelScope, Event, Nursery

from .helpers import forever, turns

#: How a child is started that is shielded until it ends.
STARTS = {
    "child": lambda nursery, *run: nursery.start_soon(*run, shield=True),
    "service": lambda nursery, *run: nursery.start_service(*run),
}
#: Which task awaits it.
WAITERS = {"ours": aionursery.Task, "asyncio's": asyncio.Task}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("waiter", WAITERS)
@pytest.mark.parametrize("how", ["cancel", "scope", "timeout"])
async def test_r19_what_awaits_a_shielded_child_is_cancelled_without_it(world, start, waiter, how):
    async def waits():
        if how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await child
        else:
            with CancelScope() as scope:
                scopes.append(scope)
                await child
        ended.append("waiter")

    ended, scopes = [], []
    done = Event()
    async with Nursery() as nursery:
        child = STARTS[start](nursery, done.wait)
        task = WAITERS[waiter](waits())
        await turns(3)
        if how == "cancel":
            task.cancel()
        elif how == "scope":
            scopes[0].cancel()
        await asyncio.wait([task])
        assert ended == ([] if how == "cancel" else ["waiter"])
        assert task.cancelled() == (how == "cancel")
        await turns(3)
        assert not child.done() and not child.cancelling()
        done.set()
    assert child.result() is True


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("waiter", WAITERS)
async def test_r23_what_awaits_a_shielded_child_gets_its_result_or_its_error(world, start, waiter):
    async def succeeds():
        await turns(2)
        return "result"

    async def fails():
        await turns(2)
        raise ValueError("error")

    async def waits(child):
        return await child

    tasks = []
    with pytest.raises(aionursery.MultiError) as info:
        async with Nursery() as nursery:
            for run in (succeeds, fails):
                tasks.append(WAITERS[waiter](waits(STARTS[start](nursery, run))))
            await forever()
    assert [str(error) for error in info.value] == ["error"]
    await asyncio.wait(tasks)
    assert tasks[0].result() == "result"
    assert str(tasks[1].exception()) == "error"


@pytest.mark.parametrize("where", ["body", "child"])
async def test_r19a_a_service_that_is_awaited_does_not_hold_up_the_end_of_its_nursery(world, where):
    async def waits():
        await service

    async with Nursery() as nursery:
        service = nursery.start_service(forever)
        if where == "child":
            nursery.start_soon(waits)
        await turns(2)
        nursery.cancel()
        if where == "body":
            await service
    assert nursery.closed and service.cancelled()


@pytest.mark.parametrize("waiter", WAITERS)
async def test_r10_a_shielded_child_keeps_nothing_of_what_awaits_it_no_more(world, waiter):
    async def waits():
        await child

    async with Nursery() as nursery:
        child = nursery.start_service(forever)
        task = WAITERS[waiter](waits())
        await turns(3)
        task.cancel()
        await asyncio.wait([task])
        gone = weakref.ref(task)
        del task
        await turns(1)
        gc.collect()
        assert gone() is None


async def test_r23_a_shielded_child_cannot_be_awaited_in_another_loop(world):
    async def waits():
        await child

    async with Nursery() as nursery:
        child = nursery.start_service(forever)
        await turns(1)
        with pytest.raises(RuntimeError, match="different loop"):
            await asyncio.to_thread(asyncio.run, waits())


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("how", ["nursery", "host", "by hand"])
async def test_r18_a_task_that_awaits_what_joins_it_can_be_cancelled(world, depth, how):
    async def waits():
        children.append(asyncio.current_task())
        await host

    async def opens_another():
        async with Nursery() as inner:
            inner.start_soon(waits)

    async def main():
        nonlocal nursery
        async with Nursery() as nursery:
            nursery.start_soon(waits if depth == 1 else opens_another)

    children, nursery = [], None
    host = asyncio.ensure_future(main())
    await turns(5)
    {"nursery": nursery, "host": host, "by hand": children[0]}[how].cancel()
    await asyncio.wait([host])
    assert children[0].cancelled() and nursery.closed
    assert host.cancelled() == (how == "host")
