"""R14: of which of several `Task.cancel(msg)` a task hears, as asyncio has it: of the first that
has ended what the task waits for; of the last before that."""

from __future__ import annotations

import asyncio

import pytest

import aionursery
from aionursery import TaskGroup

from .helpers import turns


async def waits_for_a_future():
    await asyncio.get_running_loop().create_future()


async def waits_for_a_task():
    await asyncio.create_task(waits_for_a_future())


async def joins():
    async with TaskGroup() as group:
        group.create_task(waits_for_a_future())


async def takes_turns():
    while True:
        await asyncio.sleep(0)


async def sleeps():
    await asyncio.sleep(3600)


def twice(coroutine, *, after, messages):
    """What a task is told that is cancelled with each message, so many turns after its start."""

    async def main():
        heard = []

        async def body():
            try:
                await coroutine()
            except asyncio.CancelledError as error:
                heard.append(error.args)

        task = asyncio.create_task(body())
        await turns(after)
        for message in messages:
            task.cancel(*message)
        await asyncio.wait([task])
        return heard, task.cancelling()

    return main()


@pytest.mark.parametrize("messages", [[("a",), ("b",)], [(), ("b",)], [("a",), ()]])
@pytest.mark.parametrize("after", [1, 2])
@pytest.mark.parametrize("coroutine", [waits_for_a_future, waits_for_a_task, joins, sleeps])
async def test_r14_the_first_message_that_has_ended_a_wait_arrives(
    world, coroutine, after, messages
):
    # What it awaits has not begun to wait itself, so nothing is ended before the second.
    begins = coroutine is waits_for_a_task and after == 1
    heard, asked = await twice(coroutine, after=after, messages=messages)
    assert asked == 2
    assert heard == [messages[-1 if begins else 0]]


async def waits_for_an_event():
    await aionursery.Event().wait()


async def sleeps_here():
    await aionursery.sleep(3600)


WAITS = [waits_for_a_future, joins, sleeps, waits_for_an_event, sleeps_here]


@pytest.mark.parametrize("messages", [[("a",), ("b",)], [(), ("b",)], [("a",), ()]])
@pytest.mark.parametrize("coroutine", WAITS)
async def test_r14_the_first_message_arrives_if_it_came_before_the_wait(world, coroutine, messages):
    async def body():
        first, second = messages
        task = asyncio.current_task()
        task.cancel(*first)
        # In the turn in which the wait ends.
        asyncio.get_running_loop().call_soon(task.cancel, *second)
        with pytest.raises(asyncio.CancelledError) as caught:
            await coroutine()
        assert caught.value.args == first
        assert task.cancelling() == 2

    await asyncio.create_task(body())


@pytest.mark.parametrize("messages", [[("a",), ("b",)], [(), ("b",)], [("a",), ()]])
async def test_r14_the_last_message_arrives_where_no_wait_was_ended(world, messages):
    heard, asked = await twice(takes_turns, after=3, messages=messages)
    assert (heard, asked) == ([messages[-1]], 2)
