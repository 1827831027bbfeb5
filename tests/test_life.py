"""R1 to R5: when a nursery is open, joining and closed, and which task lives how long."""

from __future__ import annotations

import asyncio
import gc
import warnings
import weakref

import pytest

from aionursery import CancelScope, MultiError, Nursery, NurseryClosed

from .helpers import Trace, fail, forever, turns


async def test_r1_it_is_open_in_the_body_joining_after_it_and_closed_at_the_end(world):
    seen = []

    async def child(nursery):
        seen.append(repr(nursery))
        await turns(3)
        seen.append(repr(nursery))

    async with Nursery() as nursery:
        assert "open" in repr(nursery)
        assert not nursery.closed
        nursery.start_soon(child(nursery))
        await turns(1)
    assert "open" in seen[0]
    assert "joining" in seen[1]
    assert nursery.closed
    assert "closed" in repr(nursery)


async def test_r1_the_body_is_the_first_child_so_its_error_cancels_the_others(world):
    ended = []

    async def child():
        try:
            await forever()
        finally:
            ended.append("child")

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(child())
            await turns(1)
            raise ValueError("body")
    assert [str(error) for error in info.value] == ["body"]
    assert ended == ["child"]


async def test_r2_children_are_started_while_it_is_open_and_while_it_joins(world):
    trace = Trace()

    async def starts_another(nursery):
        await turns(2)
        nursery.start_soon(trace.value("while joining"))

    async with Nursery() as nursery:
        nursery.start_soon(trace.value("open"))
        nursery.start_soon(starts_another(nursery))
    assert trace == ["open", "while joining"]


async def test_r2_before_entry_it_says_what_to_write(world):
    nursery = Nursery()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match=r"has not been entered.*async with"):
            nursery.start_soon(turns(1))
        gc.collect()


async def test_r2_once_closed_it_refuses_children_and_closes_their_coroutines(world):
    async with Nursery() as nursery:
        pass
    coroutine = turns(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(NurseryClosed, match="closed"):
            nursery.start_soon(coroutine)
        assert coroutine.cr_frame is None
        del coroutine
        gc.collect()
    with pytest.raises(NurseryClosed, match="make a new one"):
        await nursery.__aenter__()
    assert issubclass(NurseryClosed, RuntimeError)


async def test_r2_entering_it_twice_is_refused_and_harms_nothing(world):
    async with Nursery() as nursery:
        with pytest.raises(RuntimeError, match="already entered"):
            await nursery.__aenter__()
        task = nursery.start_soon(turns(1))
    assert task.done()


async def test_r2_any_task_that_holds_it_can_start_children(world):
    done = []

    async def outsider(nursery, event):
        nursery.start_soon(Trace.value(done, 1))
        event.set()

    async with Nursery() as outer:
        event = asyncio.Event()
        async with Nursery() as inner:
            outer.start_soon(outsider(inner, event))
            await event.wait()
        assert done == [1]


async def test_r3_no_child_outlives_a_block_that_returns(world):
    async with Nursery() as nursery:
        tasks = [nursery.start_soon(turns(n)) for n in range(5)]
    assert all(task.done() for task in tasks)


async def test_r3_no_child_outlives_a_block_that_fails(world):
    async def slow_to_go():
        try:
            await forever()
        finally:
            await turns(5)

    tasks = []
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            tasks += [nursery.start_soon(slow_to_go()) for _ in range(3)]
            nursery.start_soon(fail(ValueError(), after=1))
    assert all(task.done() for task in tasks)


async def test_r3_no_child_outlives_a_block_that_is_cancelled_again_and_again_while_joining(world):
    release = asyncio.Event()

    async def stubborn():
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                cancelled.append(1)

    cancelled = []
    tasks = []

    async def host():
        async with Nursery() as nursery:
            tasks.append(nursery.start_soon(stubborn()))

    task = asyncio.ensure_future(host())
    await turns(3)
    for _ in range(5):
        task.cancel()
        await turns(3)
        assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tasks[0].done()
    assert cancelled == [1]


async def test_r3_no_child_outlives_a_timeout_around_the_block(world):
    tasks = []

    async def slow():
        try:
            await forever()
        finally:
            await turns(3)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            async with Nursery() as nursery:
                tasks.append(nursery.start_soon(slow()))
                await forever()
    assert tasks[0].done()
    assert asyncio.current_task().cancelling() == 0


async def test_r3_a_shielded_child_is_waited_for(world):
    release = asyncio.Event()
    done = []

    async def important():
        await release.wait()
        done.append(1)

    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(important(), shield=True)
            nursery.start_soon(fail(ValueError(), after=1))
            asyncio.get_running_loop().call_later(0.02, release.set)
    assert done == [1]


async def test_r3_a_grandchild_started_while_joining_is_waited_for(world):
    trace = Trace()

    async def generation(nursery, left):
        await turns(1)
        if left:
            nursery.start_soon(generation, nursery, left - 1)
        trace.append(left)

    async with Nursery() as nursery:
        nursery.start_soon(generation, nursery, 4)
    assert sorted(trace) == [0, 1, 2, 3, 4]


async def test_r3_an_eager_child_that_has_already_ended_holds_nothing_up(world):
    trace = Trace()
    async with Nursery() as nursery:
        task = nursery.start_now(trace.value(1))
        assert task.done()
        assert nursery.children == []
    assert trace == [1]


async def test_r3_an_async_generator_that_is_closed_joins_the_nursery_inside(world):
    ended = []

    async def child():
        try:
            await forever()
        finally:
            await turns(3)
            ended.append("child")

    async def generator():
        async with Nursery() as nursery:
            nursery.start_soon(child())
            yield 1

    values = generator()
    assert await anext(values) == 1
    await turns(2)
    await values.aclose()
    assert ended == ["child"]


async def test_r3_a_coroutine_that_is_closed_ends_the_children_that_can_end_at_once(world):
    ended = []

    async def child(name):
        try:
            await forever()
        finally:
            ended.append(name)

    async def parent():
        async with Nursery() as nursery:
            nursery.start_soon(child("grandchild"))

    async def host():
        async with Nursery() as nursery:
            nursery.start_soon(child("child"))
            nursery.start_soon(parent())
            await asyncio.sleep(0)

    coroutine = host()
    coroutine.send(None)
    await turns(3)
    coroutine.close()
    assert sorted(ended) == ["child", "grandchild"]


@pytest.mark.reports
async def test_r3_what_cannot_end_when_a_coroutine_is_closed_is_reported(world):
    release = asyncio.Event()

    async def child():
        try:
            await forever()
        finally:
            await release.wait()

    async def host():
        async with Nursery() as nursery:
            nursery.start_soon(child())
            await asyncio.sleep(0)

    coroutine = host()
    coroutine.send(None)
    await turns(3)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        coroutine.close()
    del coroutine
    gc.collect()
    assert "1 of its children still ran" in world.reports[0]["message"]
    release.set()
    await turns(3)


async def test_r4_start_soon_does_not_run_the_child_before_it_returns(world):
    trace = Trace()
    async with Nursery() as nursery:
        nursery.start_soon(trace.value("child"))
        trace.append("body")
    assert trace == ["body", "child"]


async def test_r4_first_steps_run_in_the_order_of_starting(world):
    trace = Trace()
    async with Nursery() as nursery:
        for number in range(50):
            nursery.start_soon(trace.value(number))
    assert trace == list(range(50))


async def test_r4_start_now_runs_the_first_step_at_once(world):
    trace = Trace()

    async def child():
        trace.append("first")
        assert nursery.children == [asyncio.current_task()]
        await turns(1)
        trace.append("second")

    async with Nursery() as nursery:
        nursery.start_now(child())
        trace.append("body")
    assert trace == ["first", "body", "second"]


async def test_r5_children_are_held_until_they_end(world):
    async with Nursery() as nursery:
        event = asyncio.Event()
        reference = weakref.ref(nursery.start_soon(event.wait()))
        await turns(2)
        gc.collect()
        assert reference() is not None
        event.set()
        await turns(3)
        assert nursery.children == []
        gc.collect()
        assert reference() is None


async def test_r5_nothing_is_kept_of_a_child_that_has_ended(world):
    class Result:
        pass

    async def child():
        return Result()

    async with Nursery() as nursery:
        task = nursery.start_soon(child())
        await turns(3)
        result = weakref.ref(task.result())
        assert result() is not None
        del task
        assert result() is None


async def test_children_is_a_snapshot_in_the_order_of_starting(world):
    async with Nursery() as nursery:
        event = asyncio.Event()
        tasks = [nursery.start_soon(event.wait()) for _ in range(3)]
        snapshot = nursery.children
        assert snapshot == tasks
        event.set()
        await turns(3)
        assert snapshot == tasks
        assert nursery.children == []


async def test_a_nursery_without_children_does_not_wait(world):
    trace = Trace()
    asyncio.get_running_loop().call_soon(trace.append, "turn")
    async with Nursery():
        pass
    assert trace == []


async def test_nurseries_nest_as_deep_as_a_program_likes(world):
    trace = Trace()

    async def level(depth):
        if depth == 0:
            trace.append("bottom")
            return
        async with Nursery() as nursery:
            nursery.start_soon(level, depth - 1)
            await turns(1)

    await level(60)
    assert trace == ["bottom"]


async def test_an_outer_scope_can_be_left_after_the_nursery_inside(world):
    with CancelScope() as scope:
        async with Nursery() as nursery:
            nursery.start_soon(turns(2))
    assert not scope.cancel_called
