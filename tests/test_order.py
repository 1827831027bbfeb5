"""First in, first out: among children, and relative to `call_soon` on asyncio's own loop."""

from __future__ import annotations

import asyncio

import pytest

from aionursery import Nursery, sleep, task_factory

from .helpers import Trace, turns


async def test_r4_children_step_in_the_order_of_starting_turn_after_turn(world):
    trace = Trace()

    async def child(name):
        for step in range(3):
            trace.append((step, name))
            await asyncio.sleep(0)

    async with Nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(child, name)
    assert trace == [(step, name) for step in range(3) for name in "abcd"]


async def test_r4_our_own_turns_keep_the_order_too(world):
    trace = Trace()

    async def child(name, pause):
        for step in range(3):
            trace.append((step, name))
            await pause()

    async with Nursery() as nursery:
        for name, pause in zip(
            "abcd", [lambda: sleep(0), lambda: asyncio.sleep(0)] * 2, strict=True
        ):
            nursery.start_soon(child, name, pause)
    assert trace == [(step, name) for step in range(3) for name in "abcd"]


async def test_r4_children_of_two_nurseries_start_in_one_order(world):
    trace = Trace()
    async with Nursery() as first, Nursery() as second:
        for number in range(6):
            (first if number % 2 else second).start_soon(trace.value(number))
    assert trace == list(range(6))


async def test_r4_a_child_that_a_child_starts_comes_after_those_that_wait_already(world):
    trace = Trace()

    async def starts(nursery):
        trace.append("starts")
        nursery.start_soon(trace.value("started"))

    async with Nursery() as nursery:
        nursery.start_soon(starts, nursery)
        nursery.start_soon(trace.value("second"))
        nursery.start_soon(trace.value("third"))
    assert trace == ["starts", "second", "third", "started"]


async def test_r4_start_now_comes_before_all_that_wait(world):
    trace = Trace()
    async with Nursery() as nursery:
        nursery.start_soon(trace.value("soon"))
        nursery.start_now(trace.value("now"))
    assert trace == ["now", "soon"]


def on_asyncio(main, *, ours):
    with asyncio.Runner() as runner:
        if ours:
            runner.get_loop().set_task_factory(task_factory)
        return runner.run(main())


@pytest.mark.parametrize("ours", [False, True], ids=["asyncio", "ours"])
def test_r4_a_child_and_call_soon_run_in_the_order_in_which_they_were_asked_for(ours):
    async def main():
        trace = Trace()
        loop = asyncio.get_running_loop()
        async with Nursery() as nursery:
            loop.call_soon(trace.append, "callback 1")
            nursery.start_soon(trace.value("child 1"))
            nursery.start_soon(trace.value("child 2"))
            loop.call_soon(trace.append, "callback 2")
            nursery.start_soon(trace.value("child 3"))
            loop.call_soon(trace.append, "callback 3")
            await turns(2)
        return trace

    assert on_asyncio(main, ours=ours) == [
        *("callback 1", "child 1", "child 2", "callback 2", "child 3", "callback 3"),
    ]


@pytest.mark.parametrize("ours", [False, True], ids=["asyncio", "ours"])
def test_r4_asyncios_tasks_and_children_run_in_the_order_of_starting(ours):
    async def main():
        trace = Trace()
        async with Nursery() as nursery:
            tasks = []
            for number in range(8):
                if number % 2:
                    nursery.start_soon(trace.value(number))
                else:
                    tasks.append(asyncio.ensure_future(trace.value(number)))
            await turns(2)
        return trace

    assert on_asyncio(main, ours=ours) == list(range(8))


def test_r4_whom_an_event_wakes_goes_on_in_the_order_of_waiting():
    async def main():
        trace = Trace()
        event = asyncio.Event()

        async def waits(name):
            await event.wait()
            trace.append(name)

        async with Nursery() as nursery:
            for name in "abc":
                nursery.start_soon(waits, name)
            await turns(2)
            event.set()
        return trace

    assert on_asyncio(main, ours=True) == ["a", "b", "c"]
    assert on_asyncio(main, ours=False) == ["a", "b", "c"]


async def test_r4_what_awaits_a_task_goes_on_in_the_order_of_asking(world):
    trace = Trace()

    async def waits(task, name):
        await task
        trace.append(name)

    async with Nursery() as nursery:
        task = nursery.start_soon(turns(4))
        for name in range(6):
            nursery.start_soon(waits, task, name)
        task.add_done_callback(lambda _: trace.append("callback"))
    assert trace.index("callback") >= 0
    assert [name for name in trace if name != "callback"] == list(range(6))


async def test_r4_a_thousand_children_do_not_starve_the_loop(world):
    trace = Trace()
    loop = asyncio.get_running_loop()

    async def busy():
        await turns(3)

    loop.call_soon(trace.append, "first")
    async with Nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(busy())
        loop.call_soon(trace.append, "between")
        await turns(2)
        assert trace == ["first", "between"]
