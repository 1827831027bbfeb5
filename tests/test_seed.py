"""The library that this one comes from: its fourteen behaviours, as its text has them."""

from __future__ import annotations

import asyncio

import async_timeout
import pytest

import aionursery
from aionursery import MultiError, Nursery, NurseryClosed

from .helpers import Trace, fail, forever, note_cancellation, turns


async def test_seed_1_two_children_run_concurrently(world):
    trace = Trace()

    async def child(name):
        trace.append((name, 1))
        await asyncio.sleep(0)
        trace.append((name, 2))

    async with aionursery.Nursery() as nursery:
        nursery.start_soon(child("a"))
        nursery.start_soon(child("b"))
    assert trace == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


async def test_seed_2_the_body_is_a_task_that_runs_beside_the_children(world):
    trace = Trace()
    async with Nursery() as nursery:
        nursery.start_soon(trace.value("child"))
        trace.append("body")
        await turns(1)
        trace.append("body again")
    assert trace == ["body", "child", "body again"]


async def test_seed_3_the_block_does_not_exit_until_all_tasks_have_completed(world):
    trace = Trace()

    async def child():
        await turns(10)
        trace.append("child")

    async with Nursery() as nursery:
        nursery.start_soon(child())
        trace.append("end of body")
    trace.append("after the block")
    assert trace == ["end of body", "child", "after the block"]


async def test_seed_4_a_failing_child_cancels_all_the_tasks_inside(world):
    trace = Trace()
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(note_cancellation(trace, "child"))
            nursery.start_soon(fail(RuntimeError(), after=1))
            await note_cancellation(trace, "body")
    assert sorted(trace) == ["body", "child"]


async def test_seed_5_a_failing_body_cancels_all_the_children(world):
    trace = Trace()
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(note_cancellation(trace, "child"))
            await turns(1)
            raise RuntimeError
    assert trace == ["child"]


async def test_seed_6_unhandled_exceptions_are_raised_again_in_the_parent(world):
    error = RuntimeError("unhandled")

    async def parent():
        async with Nursery() as nursery:
            nursery.start_soon(fail(error))

    with pytest.raises(MultiError) as info:
        await parent()
    assert info.value[0] is error


async def test_seed_7_several_are_collected_into_one_multi_error(world):
    async def fails_too():
        try:
            await forever()
        finally:
            raise KeyError("second")

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(fails_too())
            nursery.start_soon(fail(RuntimeError("first"), after=1))
    assert [type(error) for error in info.value] == [RuntimeError, KeyError]
    text = str(info.value)
    assert "Details of embedded exception 0:" in text
    assert "Details of embedded exception 1:" in text
    assert "RuntimeError: first" in text and "KeyError: 'second'" in text


async def test_seed_8_once_all_tasks_have_finished_it_is_closed(world):
    async with Nursery() as nursery:
        nursery.start_soon(turns(1))
        assert not nursery.closed
    assert nursery.closed
    with pytest.raises(NurseryClosed):
        nursery.start_soon(turns(1))


async def test_seed_9_it_cannot_be_opened_again(world):
    nursery = Nursery()
    async with nursery:
        pass
    with pytest.raises(NurseryClosed):
        async with nursery:
            pytest.fail("opened again")


async def test_seed_10_a_shielded_payment_is_done_although_the_sms_fails(world):
    trace = Trace()

    async def perform_payment():
        await turns(5)
        trace.append("paid")

    async def send_sms():
        await turns(1)
        raise ConnectionError("no network")

    async def parent():
        async with Nursery() as nursery:
            nursery.start_soon(asyncio.shield(perform_payment()))
            nursery.start_soon(send_sms())

    with pytest.raises(MultiError) as info:
        await parent()
    # Done when the block ends, not some time later.
    assert trace == ["paid"]
    assert [type(error) for error in info.value] == [ConnectionError]


async def test_seed_11_results_come_by_asyncio_wait(world):
    async def foo():
        await turns(2)
        return "foo"

    async def bar():
        return "bar"

    async with Nursery() as nursery:
        task_foo = nursery.start_soon(foo())
        task_bar = nursery.start_soon(bar())
        done, pending = await asyncio.wait([task_foo, task_bar])
    assert (done, pending) == ({task_foo, task_bar}, set())
    assert (task_foo.result(), task_bar.result()) == ("foo", "bar")


async def test_seed_12_a_long_lived_child_passes_objects_by_a_queue(world):
    async def child(queue):
        number = 0
        while True:
            await turns(1)
            await queue.put(number)
            number += 1

    received = []
    queue = asyncio.Queue(2)
    async with Nursery() as nursery:
        task = nursery.start_soon(child(queue))
        while len(received) < 5:
            received.append(await queue.get())
        nursery.cancel_remaining()
    assert received == [0, 1, 2, 3, 4]
    assert task.cancelled()


async def test_seed_13_a_timeout_around_it_cancels_the_whole_nursery(world):
    trace = Trace()

    async def parent():
        async with async_timeout.timeout(0.01):
            async with Nursery() as nursery:
                nursery.start_soon(note_cancellation(trace, "child"))
                await note_cancellation(trace, "body")

    with pytest.raises(TimeoutError):
        await parent()
    assert sorted(trace) == ["body", "child"]
    assert asyncio.current_task().cancelling() == 0


async def test_seed_14_a_parent_that_is_cancelled_ends_after_all_below_it(world):
    trace = Trace()

    async def grandchild():
        try:
            await forever()
        finally:
            await turns(3)
            trace.append("grandchild")

    async def child():
        async with Nursery() as nursery:
            nursery.start_soon(grandchild())
        trace.append("not reached")

    async def parent():
        try:
            async with Nursery() as nursery:
                nursery.start_soon(child())
        finally:
            trace.append("parent")

    task = asyncio.ensure_future(parent())
    await turns(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trace == ["grandchild", "parent"]
