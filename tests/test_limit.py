"""`Nursery(limit=)`: how many children run at once, and a start that waits for a place."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import sys
import weakref

import pytest

import aionursery
from aionursery import MultiError, Nursery, NurseryClosed

from .helpers import fail, forever, turns


class Interrupt(BaseException):
    """What a signal's handler raises, anywhere."""


@contextlib.contextmanager
def interrupt(number):
    """Raise an interrupt at the so many-th line that a start runs; yield whether it was."""
    left = number
    raised = []

    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_name not in ("start_when_free", "start_in_place"):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(before)
                raised.append(frame.f_lineno)
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield raised
    except Interrupt:
        pass
    finally:
        sys.settrace(before)


def near_the_limit(left, function):
    """Call a function where so many frames are left."""
    frame, depth = sys._getframe(), 0
    while frame:
        depth += 1
        frame = frame.f_back

    def descend(count):
        return descend(count - 1) if count else function()

    return descend(sys.getrecursionlimit() - depth - left)


class Count:
    """How many run, and how many did at most."""

    def __init__(self):
        self.running = self.most = self.ended = 0
        self.begun = []

    async def child(self, number=None, steps=3):
        self.begun.append(number)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await turns(steps)
        finally:
            self.running -= 1
            self.ended += 1
        return number


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_so_many_run_at_once_and_the_others_in_the_order_of_starting(world, limit):
    count = Count()
    async with Nursery(limit=limit) as nursery:
        tasks = [nursery.start_soon(count.child, number) for number in range(20)]
    assert count.begun == [task.result() for task in tasks] == list(range(20))
    assert count.most == min(limit, 20)


async def test_start_when_free_waits_until_there_is_a_place(world):
    count = Count()
    async with Nursery(limit=2) as nursery:
        tasks = [await nursery.start_when_free(count.child, number) for number in range(2)]
        assert count.begun == []
        third = await nursery.start_when_free(count.child(2))
        assert count.ended >= 1
        assert len(nursery.children) <= 2
    assert [task.result() for task in [*tasks, third]] == [0, 1, 2]
    assert count.most == 2


async def test_without_a_limit_there_is_always_a_place(world):
    async with Nursery() as nursery:
        task = await nursery.start_when_free(turns, 1, name="named")
        assert task.get_name() == "named"


async def test_r2_start_when_free_is_refused_before_entry_and_after_the_end(world):
    for limit in (None, 1):
        nursery = Nursery(limit=limit)
        with pytest.raises(RuntimeError, match="not been entered"):
            await nursery.start_when_free(turns(1))
        async with nursery:
            pass
        with pytest.raises(NurseryClosed):
            await nursery.start_when_free(turns(1))


async def test_a_place_goes_to_the_first_that_waits_however_it_waits(world):
    begun = []

    async def child(name):
        begun.append(name)
        await turns(1)

    async def feed(nursery):
        await nursery.start_when_free(child, "fed")

    async with Nursery() as outer, Nursery(limit=1) as nursery:
        nursery.start_soon(child, "first")
        nursery.start_soon(child, "second")
        outer.start_soon(feed, nursery)
        await turns(1)
        nursery.start_soon(child, "last")
    assert begun == ["first", "second", "fed", "last"]


async def test_r17_a_child_that_waits_for_its_place_was_not_accepted_and_is_closed(world):
    begun = []

    async def child(name):
        begun.append(name)
        await forever()

    async with Nursery(limit=1) as nursery:
        first = nursery.start_soon(child, "first")
        coroutine = child("second")
        second = nursery.start_soon(coroutine)
        third = nursery.start_soon(child, "third")
        await turns(2)
        nursery.cancel()
    assert begun == ["first"]
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert first.cancelled() and second.cancelled() and third.cancelled()


async def test_r16_a_waiting_child_that_is_cancelled_by_hand_leaves_the_line(world):
    count = Count()
    async with Nursery(limit=1) as nursery:
        nursery.start_soon(count.child, 0)
        never_begun = nursery.start_soon(count.child(1))
        waiting = nursery.start_soon(count.child(2))
        nursery.start_soon(count.child, 3)
        never_begun.cancel()
        await turns(1)
        waiting.cancel()
    assert count.begun == [0, 3]


@pytest.mark.parametrize("when", range(6))
async def test_a_cancelled_start_when_free_loses_no_place(world, when):
    count = Count()

    async def feed(nursery):
        await nursery.start_when_free(count.child("cancelled"))

    async with Nursery() as outer, Nursery(limit=1) as nursery:
        nursery.start_soon(count.child, "first")
        feeder = outer.start_soon(feed, nursery)
        await turns(when)
        feeder.cancel()
        await turns(6)
        assert count.running == 0
        with aionursery.fail_after(5):
            await nursery.start_when_free(count.child, "next")
    assert count.begun[-1] == "next"
    assert count.most == 1


async def start_soon(nursery):
    nursery.start_soon(turns, 1)


async def start_when_free(nursery):
    await nursery.start_when_free(turns, 1)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("start", [start_soon, start_when_free])
async def test_r3_a_start_that_is_interrupted_anywhere_loses_no_place(world, start, waits):
    number = 0
    interrupted = True
    while interrupted:
        number += 1
        with aionursery.fail_after(5):
            async with Nursery(limit=1) as nursery:
                if waits:
                    nursery.start_soon(turns, 2)
                with interrupt(number) as interrupted:
                    await start(nursery)
                await nursery.start_when_free(turns, 1)
    assert number > 5


async def test_r3_a_start_that_is_refused_for_want_of_frames_loses_no_place(world):
    refused = 0
    for left in range(1, 30):
        with aionursery.fail_after(5):
            async with Nursery(limit=1) as nursery:
                try:
                    near_the_limit(left, lambda nursery=nursery: nursery.start_soon(turns, 1))
                except RecursionError:
                    refused += 1
                await nursery.start_when_free(turns, 1)
    assert 0 < refused < 29


@pytest.mark.parametrize("when", range(6))
async def test_a_start_when_free_whose_scope_is_cancelled_loses_no_place(world, when):
    count = Count()

    async def feed(nursery, scope):
        with scope:
            await nursery.start_when_free(count.child("cancelled"))

    async with Nursery() as outer, Nursery(limit=1) as nursery:
        nursery.start_soon(count.child, "first")
        scope = aionursery.CancelScope()
        outer.start_soon(feed, nursery, scope)
        await turns(when)
        scope.cancel()
        await turns(6)
        with aionursery.fail_after(5):
            await nursery.start_when_free(count.child, "next")
    assert count.begun[-1] == "next"
    assert count.most == 1


async def test_a_start_under_way_keeps_the_nursery_joining(world):
    count = Count()
    nursery = Nursery(limit=1)

    async def feed():
        return await nursery.start_when_free(count.child, "fed")

    async with Nursery() as outer:
        async with nursery:
            nursery.start_soon(count.child, "first")
            feeder = outer.start_soon(feed)
            await turns(1)
        assert count.begun == ["first", "fed"]
        assert (await feeder).done()


async def test_r6_a_failure_frees_the_place_and_cancels_the_rest(world):
    begun = []

    async def child():
        begun.append(1)

    with pytest.raises(MultiError) as info:
        async with Nursery(limit=1) as nursery:
            nursery.start_soon(fail, ValueError("first"))
            nursery.start_soon(child)
            await nursery.start_when_free(child)
            await forever()
    assert [str(error) for error in info.value] == ["first"]
    assert not begun


async def test_r6_with_collect_all_of_many_errors_are_raised_and_the_places_go_on(world):
    with pytest.raises(MultiError) as info:
        async with Nursery(limit=2, on_error="collect") as nursery:
            for number in range(7):
                await nursery.start_when_free(fail, ValueError(number), name=f"n{number}")
    assert [error.args[0] for error in info.value] == list(range(7))
    assert info.value.names == tuple(f"n{number}" for number in range(7))


async def test_start_now_needs_a_free_place(world):
    count = Count()
    async with Nursery(limit=1) as nursery:
        nursery.start_now(count.child, "first")
        assert count.begun == ["first"]
        with pytest.raises(RuntimeError, match="no free place"):
            nursery.start_now(count.child("second"))


async def test_a_future_runs_already_and_takes_no_place(world):
    future = asyncio.get_running_loop().create_future()
    async with Nursery(limit=1) as nursery:
        nursery.start_soon(turns, 3)
        nursery.start_soon(future)
        task = await nursery.start_when_free(future)
        future.set_result("set")
        assert await task == "set"


async def test_what_cannot_be_started_is_refused_in_the_usual_words(world):
    async with Nursery(limit=1) as nursery:
        for _ in range(2):
            with pytest.raises(TypeError, match="needs a coroutine"):
                nursery.start_soon(7)
            with pytest.raises(TypeError, match="takes no arguments beside"):
                nursery.start_soon(turns(1), 1)
            with pytest.raises(TypeError, match="missing 'async'"):
                await nursery.start_when_free(lambda: 7)
            # No place was lost by it.
            await nursery.start_when_free(turns, 1)


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError)])
def test_a_limit_is_a_number_from_one_on(limit, error):
    with pytest.raises(error, match="limit must be"):
        Nursery(limit=limit)


async def test_r5_a_limited_nursery_keeps_nothing_of_children_that_have_ended(world):
    async with Nursery(limit=2) as nursery:
        tasks = [nursery.start_soon(turns, 1) for _ in range(5)]
        references = [weakref.ref(task) for task in tasks]
        await asyncio.wait(tasks)
        await turns(2)
        del tasks
        gc.collect()
        assert [reference() for reference in references] == [None] * 5


async def test_r10_a_limited_nursery_is_in_no_reference_cycle(world):
    gc.disable()
    try:
        async with Nursery(limit=1) as nursery:
            nursery.start_soon(turns, 1)
            nursery.start_soon(turns, 1)
        await turns(3)
        reference = weakref.ref(nursery)
        del nursery
        assert reference() is None
    finally:
        gc.enable()


async def test_many_children_pass_through_a_limited_nursery_with_flat_memory(world):
    most = 0
    ended = 0

    async def child():
        nonlocal ended
        ended += 1

    async with Nursery(limit=100) as nursery:
        for number in range(10_000):
            await nursery.start_when_free(child)
            if number % 500 == 0:
                most = max(most, len(nursery.children))
    assert ended == 10_000
    assert 0 < most <= 100
