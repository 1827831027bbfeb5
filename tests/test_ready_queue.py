"""The ready queue and the loop beneath it: what a program may do to a loop must not lose a task."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import gc
import sys
import types
import weakref

import pytest

import aionursery
from aionursery import Nursery

from .helpers import turns
from .loop_kinds import KINDS, LOOPS

pytestmark = pytest.mark.skipif(
    sys.flags.dev_mode, reason="in debug mode each step is a call of the loop's own"
)


class Watched(asyncio.SelectorEventLoop):
    """A loop that has its own way with call_soon."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def call_soon(self, callback, *args, context=None):
        self.asked.append(callback)
        return super().call_soon(callback, *args, context=context)


def counting(kind):
    """A loop of this kind that counts the turns that it is asked for, and is not in debug mode."""

    class Counting(kind):
        asked = 0

        def __init__(self):
            super().__init__()
            self.set_debug(False)

        def call_soon(self, callback, *args, context=None):
            self.asked += getattr(callback, "__name__", "") == "run_ready_tasks"
            return super().call_soon(callback, *args, context=context)

    return Counting


def nothing():
    """What the loop may run at any time."""


def run(main, loop_factory=asyncio.SelectorEventLoop):
    """Run on a loop of asyncio's; give back what its exception handler was told."""
    reports = []

    async def bounded():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        async with asyncio.timeout(20):
            await main()

    aionursery.run(bounded(), loop_factory=loop_factory)
    return reports


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_step_that_runs_the_loop_itself_loses_no_task(depth):
    """As nest_asyncio does it, any number of times inside each other."""
    seen = []

    async def child(name):
        for turn in range(3):
            await asyncio.sleep(0)
            seen.append((name, turn))

    async def runs_the_loop(nursery, level):
        for name in range(3):
            nursery.start_soon(child(f"{level}.{name}"))
        if level < depth:
            nursery.start_soon(runs_the_loop(nursery, level + 1))
        loop = asyncio.get_running_loop()
        for _ in range(5):
            loop.call_soon(nothing)  # so that the loop does not wait for anything
            loop._run_once()
        for _ in range(20):
            loop.call_soon(nothing)  # the turn around this one has still to run what it counted

    async def main():
        async with Nursery() as nursery:
            nursery.start_soon(runs_the_loop(nursery, 1))

    assert run(main) == []
    expected = [
        (f"{level + 1}.{name}", turn)
        for level in range(depth)
        for name in range(3)
        for turn in range(3)
    ]
    assert sorted(seen) == sorted(expected)


def test_a_loop_with_a_call_soon_of_its_own_is_asked_for_every_turn():
    async def main():
        loop = asyncio.get_running_loop()
        async with Nursery() as nursery:
            nursery.start_soon(turns(3))
            loop.asked.clear()
            await turns(3)
        names = [getattr(callback, "__name__", "") for callback in loop.asked]
        assert names.count("run_ready_tasks") >= 3

    assert run(main, Watched) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_for_the_last_end_in_a_turn_is_stepped_in_that_turn(kind):
    async def middle():
        await asyncio.get_running_loop().create_task(turns(1))

    async def main():
        loop = asyncio.get_running_loop()
        await turns(1)
        loop.asked = 0
        for _ in range(10):
            await loop.create_task(turns(1))
        assert loop.asked == 20
        await loop.create_task(middle())
        assert loop.asked == 23
        async with Nursery() as nursery:
            nursery.start_soon(turns(1))
        assert loop.asked == 25

    assert run(main, counting(kind)) == []


def wrapping(kind):
    """A loop that gives something else for a call than what stands in its queue."""

    class Wrapping(kind):
        def call_soon(self, callback, *args, context=None):
            handle = super().call_soon(callback, *args, context=context)
            return types.SimpleNamespace(cancel=handle.cancel, cancelled=handle.cancelled)

    return Wrapping


def showing_another(kind):
    """A loop that shows the collector one more queue, which has nothing in it."""

    class ShowingAnother(kind):
        __slots__ = ("another",)

        def __init__(self):
            super().__init__()
            self.another = collections.deque()

    return ShowingAnother


@pytest.mark.skipif("uvloop" not in LOOPS, reason="uvloop is not here")
@pytest.mark.parametrize("doubtful", [wrapping, showing_another])
def test_a_queue_that_may_not_be_the_loop_s_is_not_believed(doubtful):
    async def main():
        loop = asyncio.get_running_loop()
        await turns(1)
        loop.asked = 0
        for _ in range(10):
            await loop.create_task(turns(1))
        assert loop.asked == 30

    assert run(main, doubtful(counting(LOOPS["uvloop"]))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_for_an_end_has_a_turn_of_its_own_behind_what_was_queued_before(kind):
    seen = []

    async def asks(loop):
        loop.call_soon(seen.append, "asked")

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(3):
            await loop.create_task(asks(loop))
            seen.append("awaited")
        async with Nursery() as nursery:
            nursery.start_soon(asks(loop))
        seen.append("joined")
        assert seen == ["asked", "awaited"] * 3 + ["asked", "joined"]

    assert run(main, kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_for_an_end_goes_on_in_a_loop_that_was_told_to_stop_as_asyncio_s_tasks_do(kind):
    async def stops():
        asyncio.get_running_loop().stop()

    async def awaits(seen):
        await asyncio.get_running_loop().create_task(stops())
        seen.append("awaited")

    async def joins(seen):
        async with Nursery() as nursery:
            nursery.start_soon(stops())
        seen.append("joined")

    def steps_before_the_stop(function, factory):
        seen = []
        loop = kind()
        try:
            loop.set_task_factory(factory)
            task = loop.create_task(function(seen))
            loop.run_forever()
            before = list(seen)
            loop.run_until_complete(task)
        finally:
            loop.close()
        return before, seen

    awaited = steps_before_the_stop(awaits, None)
    assert steps_before_the_stop(awaits, aionursery.task_factory) == awaited
    before, seen = steps_before_the_stop(joins, aionursery.task_factory)
    assert (len(before), seen) == (len(awaited[0]), ["joined"])


@pytest.mark.parametrize("kind", KINDS)
def test_in_debug_mode_what_waits_for_an_end_is_shown_to_the_loop_like_every_step(kind):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        await loop.create_task(turns(1))
        steps = loop.steps
        await loop.create_task(turns(1))
        assert loop.steps - steps == 3

    class Stepwise(counting(kind)):
        steps = 0

        def call_soon(self, callback, *args, context=None):
            self.steps += 1
            return super().call_soon(callback, *args, context=context)

    assert run(main, Stepwise) == []


def test_a_closed_loop_refuses_tasks_in_its_own_words():
    loop = asyncio.SelectorEventLoop()
    loop.set_task_factory(aionursery.task_factory)
    loop.run_until_complete(turns(2))
    loop.close()
    coroutine = turns(1)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_debug_mode_switched_on_in_between_shows_each_step_to_the_loop():
    async def main():
        loop = asyncio.get_running_loop()
        async with Nursery() as nursery:
            nursery.start_soon(turns(2))
        loop.set_debug(True)
        await turns(1)  # debug mode is noticed when the next turn is asked for
        async with Nursery() as nursery:
            task = nursery.start_soon(turns(1))
            callbacks = [handle._callback for handle in loop._ready]
            assert task in [getattr(callback, "__self__", None) for callback in callbacks]
        loop.set_debug(False)

    assert run(main) == []


def test_a_turn_keeps_nothing_of_the_context_in_which_it_was_asked_for():
    """A handle that is used again must not hold on to the first caller's variables."""
    variable = contextvars.ContextVar("variable")

    class Payload:
        pass

    async def main():
        gone = []

        async def sets():
            payload = Payload()
            gone.append(weakref.ref(payload))
            variable.set(payload)
            await turns(2)

        async with Nursery() as nursery:
            nursery.start_soon(sets(), context=contextvars.copy_context())
        await turns(3)
        gc.collect()
        assert [reference() for reference in gone] == [None]

    assert run(main) == []


def clear(ready):
    """What stood in the loop's queue is lost."""
    ready.clear()


def cancel(ready):
    """What stands in the loop's queue is not run."""
    for handle in list(ready):
        handle.cancel()


def cancel_and_clear(ready):
    """Both."""
    cancel(ready)
    ready.clear()


@pytest.mark.parametrize("by", ["task", "nursery"])
@pytest.mark.parametrize("lose", [clear, cancel, cancel_and_clear])
def test_r31_a_cancellation_wakes_a_task_whose_call_the_loop_has_lost(lose, by):
    async def main():
        nursery = Nursery()
        await nursery.__aenter__()
        child = nursery.start_soon(turns(5))
        lose(asyncio.get_running_loop()._ready)
        (child if by == "task" else nursery).cancel()
        await nursery.__aexit__(None, None, None)
        assert child.cancelled()

    assert run(main) == []


def turn_round(ready):
    """What stands in the loop's queue is run in the reverse order."""
    ready.reverse()


def put_back(ready):
    """What stood in the loop's queue comes back, in a later turn."""
    handles = list(ready)
    ready.clear()
    asyncio.get_running_loop().call_soon(ready.extend, handles)
    asyncio.get_running_loop().call_later(0.01, ready.extend, handles)


@pytest.mark.parametrize("spoil", [clear, cancel, cancel_and_clear, turn_round, put_back])
@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, Watched])
def test_what_a_program_does_to_the_loops_queue_costs_no_later_task(kind, spoil):
    """Of asyncio's tasks those that stood there are lost, and only those."""
    loop = kind()
    ran = []

    async def child(number):
        await turns(2)
        ran.append(number)

    async def spoils(number):
        started = [aionursery.Task(child(number), loop=loop) for _ in range(2)]
        loop.call_soon(nothing)
        started.append(aionursery.Task(child(number), loop=loop))
        spoil(loop._ready)
        return started

    def turn_the_loop(task):
        task.add_done_callback(lambda _: loop.stop())
        handle = loop.call_later(5, loop.stop)
        loop.run_forever()
        handle.cancel()
        assert task.done(), "a later task was never run"
        return task.result()

    started = []
    for number in range(6):
        started += turn_the_loop(aionursery.Task(spoils(number), loop=loop))
        later = [aionursery.Task(child(-number), loop=loop) for _ in range(3)]
        turn_the_loop(aionursery.Task(turns(20), loop=loop))
        assert all(task.done() for task in later)
        assert ran.count(-number) >= 3
    turn_the_loop(aionursery.Task(asyncio.sleep(0.03), loop=loop))
    for task in started:
        task._log_destroy_pending = False
    assert all(ran.count(number) <= 3 for number in range(1, 6))
    loop.close()


def test_tasks_and_call_soon_keep_their_order_when_a_turn_before_was_lost():
    loop = asyncio.SelectorEventLoop()
    trace = []

    async def child(name):
        trace.append(name)

    def task(name):
        aionursery.Task(child(name), loop=loop)

    task("lost")
    loop._ready.clear()
    loop.call_soon(trace.append, 0)
    task(1)
    task(2)
    loop.call_soon(trace.append, 3)
    task(4)
    loop.call_soon(trace.append, 5)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert trace == [0, "lost", 1, 2, 3, 4, 5]
    loop.close()
