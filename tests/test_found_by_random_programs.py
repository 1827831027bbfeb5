"""What random programs have found, each as short as it could be made."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import warnings

import pytest

from aionursery import (
    CancelScope,
    MultiError,
    Nursery,
    checkpoint,
    checkpoint_if_cancelled,
    fail_after,
    move_on_after,
    shield,
    sleep,
)

from .helpers import turns
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


async def test_r20_an_asyncio_group_that_is_left_inside_a_shield_is_inside_it(world):
    async def child(other):
        await turns(2)
        if not other:
            raise ValueError

    with shield():
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(child(True))
                group.create_task(child(False))
    await turns(2)


async def test_r20_a_shield_raised_after_a_wait_was_cut_short_catches_the_cancellation(world):
    async def sleeps():
        async with Nursery(cleanup=0) as nursery:
            raised.append(nursery.cancel_scope)
            await sleep(0.001)
        ended.append(nursery.cancel_scope.cancelled_caught)

    async def raises_the_shield():
        raised[0].shield = True

    raised, ended = [], []
    async with Nursery(cleanup=0, deadline=now() - 1) as outer:
        outer.start_soon(sleeps)
        outer.start_soon(raises_the_shield)
    assert ended == [True] and not outer.cancel_scope.cancelled_caught


@pytest.mark.parametrize("also_by_hand", [False, True])
async def test_r13_a_timeout_that_an_error_has_overtaken_is_thrown_only_while_it_is_asked_for(
    world, also_by_hand
):
    async def child():
        with shield():
            timeout.reschedule(now())
            while not task.cancelling():
                await asyncio.sleep(0)
            if also_by_hand:
                task.cancel()
                await turns(2)
            raise ValueError

    async def host():
        nonlocal timeout
        async with asyncio.timeout(None) as timeout:
            with pytest.raises(MultiError):
                async with Nursery() as nursery:
                    nursery.start_soon(child)
        assert task.cancelling() == also_by_hand
        await turns(3)

    timeout = None
    task = asyncio.ensure_future(host())
    await asyncio.wait([task])
    assert task.cancelled() == also_by_hand
    if not also_by_hand:
        task.result()


async def raise_in_a_group(*beside):
    """Waits to be cancelled, and raises that as a member of a group."""
    try:
        await sleep(math.inf)
    except asyncio.CancelledError as error:
        raise BaseExceptionGroup("", [BaseExceptionGroup("", [error]), *beside]) from None


@pytest.mark.parametrize("in_body", [False, True])
async def test_r13a_errors_leave_without_the_cancellation_that_is_in_a_group_with_them(
    world, in_body
):
    with CancelScope(cleanup=0) as outer:
        with pytest.raises(MultiError) as caught:
            async with Nursery() as nursery:
                asyncio.get_running_loop().call_soon(outer.cancel)
                trouble = raise_in_a_group(ValueError("trouble"))
                if in_body:
                    await trouble
                else:
                    nursery.start_soon(trouble)
        (group,) = caught.value
        assert [repr(error) for error in group.exceptions] == ["ValueError('trouble')"]
        await checkpoint()
    assert outer.cancelled_caught


@pytest.mark.parametrize("in_body", [False, True])
async def test_r13a_a_group_of_nothing_but_cancellations_leaves_as_one_that_is_bare(world, in_body):
    with CancelScope(cleanup=0) as outer:
        with pytest.raises(asyncio.CancelledError):
            async with Nursery() as nursery:
                asyncio.get_running_loop().call_soon(outer.cancel)
                if in_body:
                    await raise_in_a_group()
                else:
                    child = nursery.start_soon(raise_in_a_group())
        if not in_body:
            # As asyncio has it, it is no cancellation to code that asks the task.
            assert isinstance(child.exception(), BaseExceptionGroup)
        await checkpoint()
    assert outer.cancelled_caught


@pytest.mark.reports
async def test_r9_what_is_reported_beside_an_exit_has_no_cancellation_in_it(world):
    with pytest.raises(SystemExit):
        async with Nursery() as nursery:
            nursery.start_soon(raise_in_a_group(ValueError("trouble")))
            nursery.start_soon(raise_in_a_group())
            await checkpoint()
            raise SystemExit
    (report,) = world.reports
    assert [repr(error) for error in report["exception"].exceptions] == ["ValueError('trouble')"]


async def test_r13a_a_child_that_heard_and_closed_a_generator_ended_as_cancelled(world):
    async def generator():
        async with Nursery() as nursery:
            nursery.start_soon(sleep(math.inf))
            yield

    async def child():
        async with contextlib.aclosing(generator()) as steps:
            await anext(steps)
            await sleep(math.inf)

    with CancelScope(cleanup=0) as outer:
        with pytest.raises(asyncio.CancelledError):
            async with Nursery() as nursery:
                nursery.start_soon(child())
                await turns(3)
                outer.cancel()


async def test_r13a_a_body_is_left_as_its_shield_says_when_it_is_left(world):
    async def raise_the_shield(nursery):
        nursery.cancel_scope.shield = True

    with CancelScope(cleanup=0) as outer:
        outer.cancel()
        async with Nursery() as nursery:
            nursery.start_soon(raise_the_shield(nursery))
            await sleep(math.inf)
        # Half-done work looks finished only where no cancellation is to be seen.
        assert nursery.cancel_scope.cancelled_caught
        with pytest.raises(asyncio.CancelledError):
            await checkpoint()
