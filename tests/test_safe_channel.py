"""`as_safe_channel`: async generators that open nurseries (PEP 789)."""

from __future__ import annotations

import asyncio

import pytest

import aionursery
from aionursery import MultiError, Nursery, as_safe_channel, move_on_after

from .helpers import fail, forever, note_cancellation, turns

trace = []


@pytest.fixture(autouse=True)
def _forget():
    trace.clear()


@as_safe_channel
async def numbers(count, *, fails=None):
    """Count in a nursery."""
    task = asyncio.current_task()
    try:
        async with Nursery() as nursery:
            nursery.start_soon(note_cancellation, trace, "child")
            for number in range(count):
                trace.append(number)
                yield number
            if fails is not None:
                raise fails
            nursery.cancel()
    finally:
        trace.append("left by itself" if asyncio.current_task() is task else "left by another")


async def test_a_generator_with_a_nursery_gives_its_items_and_ends(world):
    async with numbers(3) as channel:
        assert [number async for number in channel] == [0, 1, 2]
    assert trace == [0, 1, 2, "child", "left by itself"]
    assert numbers.__doc__ == "Count in a nursery."


async def test_it_goes_on_only_when_an_item_is_wanted(world):
    async with numbers(10) as channel:
        await turns(5)
        assert trace == []
        await channel.receive()
        await turns(5)
        assert trace == [0]
        assert await anext(channel) == 1
        await turns(5)
        assert trace == [0, 1]


async def test_r3_leaving_the_block_early_closes_it_in_its_own_task(world):
    async with numbers(10) as channel:
        async for number in channel:
            if number == 2:
                break
    assert trace == [0, 1, 2, "child", "left by itself"]


async def test_what_the_generator_raises_leaves_the_block_bare_and_the_iteration_does_not_end(
    world,
):
    found = []
    ended = False
    with pytest.raises(MultiError) as info:
        async with numbers(2, fails=LookupError("source")) as channel:
            async for number in channel:
                found.append(number)
            ended = True
    # It is the group that the generator's own nursery raises.
    assert [str(error) for error in info.value] == ["source"]
    assert (found, ended) == ([0, 1], False)


async def test_what_the_body_raises_leaves_the_block_bare(world):
    with pytest.raises(ValueError, match="body"):
        async with numbers(3) as channel:
            async for _ in channel:
                raise ValueError("body")
    assert trace[-1] == "left by itself"


async def test_r7_if_both_fail_both_are_raised(world):
    @as_safe_channel
    async def fails_at_the_end():
        try:
            yield 1
        finally:
            raise OSError("close")

    with pytest.raises(MultiError) as info:
        async with fails_at_the_end() as channel:
            await channel.receive()
            raise ValueError("body")
    assert [str(error) for error in info.value] == ["body", "close"]


async def test_a_timeout_inside_the_generator_stays_there(world):
    @as_safe_channel
    async def ticks():
        with move_on_after(0.001):
            yield 1
            await forever()
        yield "after the timeout"

    async with ticks() as channel:
        assert [item async for item in channel] == [1, "after the timeout"]


async def test_a_nursery_in_it_cannot_cancel_the_body(world):
    @as_safe_channel
    async def failing():
        try:
            async with Nursery() as nursery:
                nursery.start_soon(fail(ValueError("child"), after=2))
                yield 1
                await forever()
        except* ValueError:
            pass
        yield 2

    async with failing() as channel:
        assert await channel.receive() == 1
        await turns(6)
        assert await channel.receive() == 2


@pytest.mark.parametrize("when", range(10))
async def test_r3_it_can_be_cancelled_at_any_moment(world, when):
    before = asyncio.all_tasks()

    async def consume():
        async with numbers(100) as channel:
            async for _ in channel:
                await turns(1)

    async with Nursery() as nursery:
        task = nursery.start_soon(consume)
        await turns(when)
        task.cancel()
    assert task.cancelled()
    assert asyncio.all_tasks() == before
    assert "left by another" not in trace


async def test_a_deadline_in_it_that_passes_at_a_yield_is_caught_there(world):
    @as_safe_channel
    async def timed():
        with move_on_after(0.001) as scope:
            yield 1
            yield "never reached"
        yield scope.cancelled_caught

    async with timed() as channel:
        assert await channel.receive() == 1
        await aionursery.sleep(0.01)
        assert [item async for item in channel] == [True]


async def test_r18_a_generator_that_swallows_its_cancellation_is_closed_all_the_same(world):
    @as_safe_channel
    async def stubborn():
        while True:
            try:
                yield 1
            except asyncio.CancelledError:
                trace.append("swallowed")

    with aionursery.CancelScope() as scope:
        async with stubborn() as channel:
            await channel.receive()
            scope.cancel()
            await channel.receive()
    assert scope.cancelled_caught


@pytest.mark.parametrize("when", range(6))
async def test_a_cancelled_receive_loses_no_item(world, when):
    @as_safe_channel
    async def slow():
        for number in range(3):
            await turns(2)
            yield number

    async with slow() as channel, Nursery() as nursery:
        waiting = nursery.start_soon(channel.receive)
        await turns(when)
        waiting.cancel()
        await asyncio.wait([waiting])
        found = [] if waiting.cancelled() else [waiting.result()]
        found += [item async for item in channel]
    assert found == [0, 1, 2]


async def test_clones_share_the_items(world):
    async with numbers(20) as channel:

        async def take(end):
            with end:
                return [item async for item in end]

        async with Nursery() as nursery:
            tasks = [nursery.start_soon(take, channel.clone()) for _ in range(3)]
        assert sorted(item for task in tasks for item in task.result()) == list(range(20))


async def test_closing_the_channel_ends_the_generator(world):
    async with numbers(5) as channel:
        await channel.receive()
        channel.close()
        with pytest.raises(aionursery.ClosedResourceError):
            channel.clone()
    assert trace[-1] == "left by itself"
