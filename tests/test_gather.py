"""`gather`, `map` and `as_completed`: many at once, and what they give."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import weakref

import pytest

import aionursery
from aionursery import MultiError, Nursery, as_completed, gather, move_on_after

from .helpers import fail, fail_noted, forever, note_cancellation, turns, value


class Closed:
    """An awaitable that is not a coroutine."""

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return "awaitable"


async def test_gather_returns_the_results_in_the_order_given(world):
    future = asyncio.get_running_loop().create_future()
    future.set_result("future")

    async def function():
        return "function"

    given = await gather(value(1, after=3), function, Closed(), future, lambda: value("lambda"))
    assert given == (1, "function", "awaitable", "future", "lambda")


async def test_gather_takes_an_iterable_and_gives_a_list(world):
    assert await gather(value(n, after=5 - n) for n in range(5)) == [0, 1, 2, 3, 4]
    assert await gather([]) == []
    assert await gather() == ()


async def test_r6_the_first_failure_of_gather_cancels_the_others(world):
    trace = []
    with pytest.raises(MultiError) as info:
        await gather(note_cancellation(trace, "other"), fail(ValueError("one"), after=1))
    assert [str(error) for error in info.value] == ["one"]
    assert trace == ["other"]


async def test_r7_gather_raises_all_errors(world):
    with pytest.raises(MultiError) as info:
        await gather(fail(ValueError(n)) for n in range(3))
    assert [error.args[0] for error in info.value] == [0, 1, 2]


@pytest.mark.parametrize("wrong", [7, None, "text"])
async def test_gather_refuses_before_anything_runs_and_closes_what_it_was_given(world, wrong):
    begun = []

    async def child():
        begun.append(1)

    with pytest.raises(TypeError, match="takes awaitables and async functions"):
        await gather(child(), wrong)
    with pytest.raises(TypeError, match="takes awaitables and async functions"):
        await gather(iter([child(), wrong]))
    await turns(2)
    assert not begun


async def test_gather_of_an_iterable_that_fails_closes_what_it_gave(world):
    def children():
        yield value(1)
        raise LookupError("source")

    with pytest.raises(LookupError, match="source"):
        await gather(children())


async def test_a_function_that_is_not_async_is_one_error_and_the_rest_is_closed(world):
    with pytest.raises(MultiError) as info:
        await gather(lambda: 7, value(1))
    assert [type(error) for error in info.value] == [TypeError]


async def test_r16_a_target_of_gather_that_is_cancelled_by_hand_is_a_cancelled_error(world):
    task = asyncio.ensure_future(forever())
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await gather(task, value(1))


@pytest.mark.parametrize("when", range(8))
async def test_r3_gather_that_is_cancelled_at_any_moment_leaves_nothing(world, when):
    before = asyncio.all_tasks()
    trace = []
    with move_on_after(5) as scope:
        async with Nursery() as nursery:
            children = [functools.partial(note_cancellation, trace, n) for n in range(3)]
            gathered = nursery.start_soon(gather, children)
            await turns(when)
            gathered.cancel()
    assert not scope.cancelled_caught
    assert gathered.cancelled()
    assert asyncio.all_tasks() == before
    assert trace in ([], [0, 1, 2])


async def test_a_deadline_cancels_gather(world):
    trace = []
    with move_on_after(0.001) as scope:
        await gather(note_cancellation(trace, n) for n in range(3))
    assert scope.cancelled_caught
    assert trace == [0, 1, 2]


async def test_r10_gather_leaves_no_reference_cycle(world):
    class Result:
        pass

    gc.disable()
    try:
        result = Result()
        reference = weakref.ref(result)
        await gather(value(result), value(1))
        del result
        await turns(1)
        assert reference() is None
        references = []
        try:
            await gather(fail_noted(references), forever())
        except MultiError:
            pass
        await turns(1)
        assert references[0]() is None
    finally:
        gc.enable()


# map


async def test_map_keeps_the_order_whatever_ends_first(world):
    async def child(number):
        await turns(10 - number)
        return number * number

    assert await aionursery.map(child, range(10)) == [n * n for n in range(10)]
    assert await aionursery.map(child, range(10), limit=3) == [n * n for n in range(10)]
    assert await aionursery.map(child, []) == []


@pytest.mark.parametrize("limit", [1, 4])
async def test_map_takes_an_item_only_when_there_is_a_place(world, limit):
    taken = running = most = 0

    def items():
        nonlocal taken
        for number in range(20):
            taken += 1
            yield number

    async def child(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        assert taken <= number + limit
        await turns(2)
        running -= 1
        return number

    assert await aionursery.map(child, items(), limit=limit) == list(range(20))
    assert most == limit


async def test_map_takes_from_an_asynchronous_source(world):
    async def items():
        for number in range(5):
            await turns(1)
            yield number

    async def child(number):
        return -number

    assert await aionursery.map(child, items(), limit=2) == [0, -1, -2, -3, -4]


async def test_r6_the_first_failure_ends_map_and_takes_no_further_item(world):
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    async def child(number):
        await turns(1)
        if number == 3:
            raise ValueError("three")

    with pytest.raises(MultiError) as info:
        await aionursery.map(child, items(), limit=2)
    assert [str(error) for error in info.value] == ["three"]
    assert len(taken) < 10


@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("source", ["plain", "asynchronous"])
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_r6_map_takes_nothing_in_the_turn_of_a_failure(world, limit, source, after):
    trace, begun = [], []

    def items():
        for number in range(6):
            trace.append(number)
            yield number

    async def asynchronous_items():
        for number in items():
            yield number

    async def child(number):
        begun.append(number)
        if number == 1:
            await turns(2)
            trace.append("failed")
            raise ValueError
        await turns(after)

    with pytest.raises(MultiError):
        await aionursery.map(
            child, items() if source == "plain" else asynchronous_items(), limit=limit
        )
    assert trace[-1] == "failed"
    assert begun == trace[:-1]


@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("limit", [None, 1, 2])
async def test_r12a_map_loses_no_item_that_a_source_gives_in_the_turn_of_a_failure(
    world, limit, after
):
    taken, begun = [], []

    async def items():
        for number in range(6):
            await turns(number and after)
            taken.append(number)
            yield number

    async def child(number):
        begun.append(number)
        await turns(2)
        raise ValueError

    with pytest.raises(MultiError):
        await aionursery.map(child, items(), limit=limit)
    assert begun == taken


async def test_r10_a_failed_task_that_map_awaits_is_in_no_reference_cycle(world):
    references = []

    def start(_):
        return asyncio.ensure_future(fail_noted(references))

    gc.disable()
    try:
        try:
            await aionursery.map(start, range(2))
        except MultiError:
            pass
        await turns(2)
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()


async def test_an_error_of_the_source_cancels_what_runs_and_is_raised(world):
    trace = []

    def items():
        yield 1
        yield 2
        raise LookupError("source")

    async def child(number):
        await note_cancellation(trace, number)

    with pytest.raises(MultiError) as info:
        await aionursery.map(child, items())
    assert [str(error) for error in info.value] == ["source"]
    assert trace == [1, 2]


@pytest.mark.parametrize("when", range(8))
async def test_r3_map_that_is_cancelled_at_any_moment_leaves_nothing(world, when):
    before = asyncio.all_tasks()
    running = 0

    async def child(_):
        nonlocal running
        running += 1
        try:
            await turns(2)
        finally:
            running -= 1

    async with Nursery() as nursery:
        mapped = nursery.start_soon(lambda: aionursery.map(child, range(100), limit=3))
        await turns(when)
        mapped.cancel()
    assert mapped.cancelled()
    assert running == 0
    assert asyncio.all_tasks() == before


async def test_map_refuses_a_limit_below_one(world):
    with pytest.raises(ValueError, match="at least 1"):
        await aionursery.map(value, [1], limit=0)


# as_completed


async def test_as_completed_gives_tasks_in_the_order_in_which_they_end(world):
    async with Nursery() as nursery:
        tasks = [nursery.start_soon(value(n, after=after)) for n, after in enumerate((5, 1, 3))]
        found = [task async for task in as_completed(tasks)]
    assert [task.result() for task in found] == [1, 2, 0]
    assert found == [tasks[1], tasks[2], tasks[0]]


async def test_as_completed_gives_what_has_ended_before_and_ends(world):
    async with Nursery() as nursery:
        tasks = [nursery.start_soon(value(n)) for n in range(3)]
    completed = as_completed(tasks)
    assert len(completed) == 3
    assert [task.result() async for task in completed] == [0, 1, 2]
    assert len(completed) == 0
    assert [task async for task in completed] == []
    assert [task async for task in as_completed([])] == []


async def test_push_adds_tasks_while_others_are_waited_for(world):
    async with Nursery() as nursery:
        completed = as_completed([nursery.start_soon(value(0))])
        found = []
        async for task in completed:
            found.append(task.result())
            if found[-1] < 3:
                completed.push(nursery.start_soon(value(found[-1] + 1, after=1)))
    assert found == [0, 1, 2, 3]


async def test_as_completed_gives_failed_tasks_too(world):
    found = []
    with pytest.raises(MultiError):
        async with Nursery(on_error="collect") as nursery:
            tasks = [nursery.start_soon(fail(ValueError("failed"))), nursery.start_soon(value(1))]
            async for task in as_completed(tasks):
                found.append(type(task.exception()))
    assert found == [ValueError, type(None)]


@pytest.mark.parametrize("when", range(5))
@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_step_that_is_cancelled_loses_no_task(world, when, how):
    async with Nursery() as nursery:
        completed = as_completed([nursery.start_soon(value("kept", after=2))])
        scope = aionursery.CancelScope()

        async def step():
            with scope:
                return await completed.__anext__()

        stepping = nursery.start_soon(step())
        await turns(when)
        if how == "task":
            stepping.cancel()
        else:
            scope.cancel()
        await asyncio.wait([stepping])
        got = None if stepping.cancelled() else stepping.result()
        if got is None:
            got = await completed.__anext__()
        assert await got == "kept"


async def test_many_can_iterate_over_one_as_completed(world):
    async with Nursery() as nursery:
        completed = as_completed([nursery.start_soon(value(n, after=n % 4)) for n in range(20)])

        async def take():
            return [task.result() async for task in completed]

        takers = [nursery.start_soon(take) for _ in range(3)]
    assert sorted(itertools.chain(*(taker.result() for taker in takers))) == list(range(20))
