"""What random programs have found, each as short as it could be made."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings

import pytest

from aionursery import (
    CancelScope,
    Nursery,
    checkpoint,
    checkpoint_if_cancelled,
    fail_after,
    move_on_after,
    shield,
    sleep,
)

from .virtual_clock import virtual


def now() -> float:
    return asyncio.get_running_loop().time()


async def is_cancelled_again(wait) -> bool:
    try:
        await wait
    except asyncio.CancelledError:
        return True
    return False


@virtual
async def test_r12_a_deadline_farther_out_ends_a_cleanup_that_hangs():
    began = now()
    with pytest.raises(TimeoutError):
        with fail_after(5):
            with move_on_after(1):
                try:
                    await sleep(100)
                finally:
                    await sleep(1000)
    assert round(now() - began, 3) == 5
    assert asyncio.current_task().cancelling() == 0


@virtual
async def test_r13_a_timeout_and_a_deadline_at_the_same_moment_are_both_honoured():
    loop = asyncio.get_running_loop()
    other = loop.create_task(asyncio.sleep(100))
    for wait in (
        loop.create_future,
        lambda: asyncio.sleep(100),
        lambda: sleep(100),
        lambda: asyncio.wait([other]),
    ):
        moment = now() + 2
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(moment):
                async with Nursery(deadline=moment):
                    await wait()
        assert asyncio.current_task().cancelling() == 0
    other.cancel()


@virtual
async def test_r17_a_sleep_that_is_cancelled_before_it_begins_is_not_one_that_was_forgotten():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Nursery() as nursery:
            nursery.cancel()
            nursery.start_soon(sleep, 1)
        gc.collect()


@virtual
async def test_r18_with_no_budget_an_await_after_a_shield_is_cancelled_again():
    loop = asyncio.get_running_loop()
    with CancelScope(cleanup=0) as scope:
        loop.call_later(1, scope.cancel)
        try:
            await sleep(10)
        finally:
            with shield():
                await sleep(1)
            again = [await is_cancelled_again(sleep(5)) for _ in range(3)]
    assert again == [True, True, True]


@virtual
async def test_r18_with_no_budget_every_checkpoint_if_cancelled_is_cancelled():
    with CancelScope(cleanup=0) as scope:
        scope.cancel()
        again = [
            await is_cancelled_again(wait())
            for wait in (checkpoint_if_cancelled, checkpoint_if_cancelled, checkpoint)
        ]
    assert again == [True, True, True]


@virtual
async def test_r18_an_asyncio_group_that_waits_again_and_again_does_not_keep_the_loop_busy():
    loop = asyncio.get_running_loop()

    async def slow():
        try:
            await sleep(10)
        finally:
            with shield():
                await sleep(1000)

    with CancelScope(cleanup=0) as scope:
        loop.call_later(1, scope.cancel)
        async with asyncio.TaskGroup() as group:
            group.create_task(slow())
            await sleep(0)
            before = loop.turns
    assert scope.cancelled_caught
    # A hundred times its wait is cancelled, and no more.
    assert loop.turns - before < 500


@virtual
async def test_r18_a_child_is_cancelled_again_although_its_host_leaves_meanwhile():
    again = []

    async def child(scope):
        scope.cancel()
        try:
            await sleep(1)
        finally:
            again.append(await is_cancelled_again(checkpoint()))

    with CancelScope(cleanup=0):
        with CancelScope() as scope:
            async with Nursery() as nursery:
                nursery.start_soon(child(scope))
                async with Nursery() as inner:
                    inner.start_soon(sleep(3))
                    await sleep(2)
    assert again == [True]


@virtual
async def test_r13_a_timeout_that_comes_while_a_cancelled_nursery_joins_is_a_timeout():
    async def child():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                async with Nursery(deadline=now() + 1) as nursery:
                    nursery.start_soon(sleep(3), shield=True)
                    await sleep(100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                with move_on_after(1):
                    try:
                        await sleep(100)
                    finally:
                        with shield():
                            await sleep(3)
                await sleep(1)
        return asyncio.current_task().cancelling()

    async with Nursery() as nursery:
        task = nursery.start_soon(child())
    assert task.result() == 0


@virtual
async def test_r20_a_timeout_inside_a_shield_is_a_timeout():
    began = now()
    with shield():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await sleep(100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                async with Nursery() as nursery:
                    nursery.start_soon(sleep(100))
    assert round(now() - began, 3) == 6
    assert asyncio.current_task().cancelling() == 0


@virtual
async def test_r20_a_timeout_inside_a_shield_is_one_however_it_was_entered():
    @contextlib.asynccontextmanager
    async def patient():
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(2))
            yield

    async def numbers():
        async with patient():
            yield 1
            await sleep(100)

    with shield():
        with pytest.raises(TimeoutError):
            async for _ in numbers():
                pass


@virtual
async def test_r20_what_is_asked_from_outside_is_not_lost_where_a_timeout_inside_a_shield_acts():
    reached = []

    async def child():
        with shield():
            asyncio.get_running_loop().call_later(1, asyncio.current_task().cancel)
            await sleep(2)
            reached.append("held back")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await sleep(100)
            await sleep(1)
            reached.append("held back still")
        await sleep(1)
        reached.append("lost")

    async with Nursery() as nursery:
        task = nursery.start_soon(child())
    assert task.cancelled()
    assert reached == ["held back", "held back still"]


@virtual
async def test_r20_an_asyncio_group_inside_a_shield_ends_its_body_when_a_child_fails():
    async def fails():
        await sleep(1)
        raise ValueError

    with shield():
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                await sleep(100)
    assert asyncio.current_task().cancelling() == 0
