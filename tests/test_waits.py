"""Our own waits as objects: awaited by several, handed round, cancelled, closed and thrown into."""

from __future__ import annotations

import asyncio
import gc
import math
import weakref

import pytest

import aionursery

from .helpers import turns
from .loop_kinds import KINDS


async def test_r23_a_wait_that_was_cancelled_before_it_began_takes_callbacks(world):
    wait = aionursery.sleep(1)
    assert wait.cancel()
    trace = []
    wait.add_done_callback(trace.append)
    assert trace == []
    await turns(2)
    assert trace == [wait] and wait.cancelled()
    assert wait.get_loop() is asyncio.get_running_loop()


SHORT = {
    "sleep(0)": lambda: aionursery.sleep(0, "slept"),
    "sleep": lambda: aionursery.sleep(0.001, "slept"),
    "checkpoint": aionursery.checkpoint,
    "checkpoint_if_cancelled": aionursery.checkpoint_if_cancelled,
    "sleep_until": lambda: aionursery.sleep_until(0),
}


async def as_completed(wait):
    return await next(iter(asyncio.as_completed([wait])))


async def waited(wait):
    done, _ = await asyncio.wait([asyncio.ensure_future(wait)])
    return done.pop().result()


async def gathered(wait):
    return (await asyncio.gather(wait))[0]


async def from_a_thread(wait):
    loop = asyncio.get_running_loop()
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(wait, loop))


@pytest.mark.parametrize("short", SHORT)
@pytest.mark.parametrize(
    "function",
    [
        as_completed,
        waited,
        gathered,
        from_a_thread,
        lambda wait: asyncio.wait_for(wait, 20),
        asyncio.shield,
        asyncio.ensure_future,
    ],
)
async def test_r23_asyncios_functions_await_what_nothing_has_awaited(world, short, function):
    async with asyncio.timeout(20):
        result = await function(SHORT[short]())
    assert result == ("slept" if short in ("sleep(0)", "sleep") else None)


@pytest.mark.parametrize("function", [asyncio.gather, asyncio.shield, asyncio.ensure_future])
async def test_r23_what_asyncios_functions_await_can_be_timed_out(world, function):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(function(aionursery.sleep_forever()), 0.01)


async def test_r17_a_limit_counts_a_sleep_that_a_child_is_made_of(world):
    running = []
    async with aionursery.Nursery(limit=1) as nursery:
        for _ in range(3):
            child = nursery.start_soon(aionursery.sleep(0.001))
            child.add_done_callback(running.append)
        await nursery.start_when_free(lambda: aionursery.sleep(0))
        assert len(running) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["cancel", "set_result"])
def test_r7_a_wait_that_ends_after_its_loop_was_closed_says_so_once(kind, how):
    loop = kind()
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    async def main():
        if how == "cancel":
            wait = aionursery.sleep(100)
        else:
            wait = aionursery._aionursery.loop_state(loop).create_future()
        wait.add_done_callback(print)
        return wait.cancel if how == "cancel" else lambda: wait.set_result(1)

    end = loop.run_until_complete(main())
    loop.close()
    assert end() in (True, None)
    (report,) = reports
    assert "could not be scheduled" in report["message"]
    assert "closed" in str(report["exception"])


MAKERS = {
    "asyncio": asyncio.Task,
    "ours": aionursery.Task,
}


def several(wait, *kinds):
    async def waiter():
        return await wait

    loop = asyncio.get_running_loop()
    return [MAKERS[kind](waiter(), loop=loop) for kind in kinds]


async def ends(*tasks):
    """The tasks' ends, which must come soon."""
    _done, pending = await asyncio.wait(tasks, timeout=5)
    assert not pending
    return [
        "cancelled" if task.cancelled() else repr(task.exception() or task.result())
        for task in tasks
    ]


def set_later(wait):
    """It ends without the clock."""
    asyncio.get_running_loop().call_soon(wait.set_result, "value")


def parked():
    return aionursery._aionursery.loop_state(asyncio.get_running_loop()).create_future()


@pytest.mark.parametrize("first", MAKERS)
@pytest.mark.parametrize("second", MAKERS)
@pytest.mark.parametrize("third", MAKERS)
async def test_r23_each_of_several_that_wait_gets_the_value(world, first, second, third):
    wait = parked()
    tasks = several(wait, first, second, third)
    await turns(2)
    set_later(wait)
    assert await ends(*tasks) == ["'value'"] * 3
    sleep = aionursery.sleep(0.1, "slept")
    assert await ends(*several(sleep, first, second, third)) == ["'slept'"] * 3


@pytest.mark.parametrize("by", ["task", "scope"])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("last", MAKERS)
async def test_r16_one_of_several_that_wait_is_cancelled_alone(world, by, which, last):
    wait = parked()
    scopes = []

    async def waiter():
        scope = aionursery.CancelScope()
        scopes.append(scope)
        with scope:
            return await wait
        return "left"

    loop = asyncio.get_running_loop()
    tasks = [aionursery.Task(waiter(), loop=loop) for _ in range(3)]
    await turns(2)
    (other,) = several(wait, last)
    await turns(2)
    if by == "task":
        tasks[which].cancel()
    else:
        scopes[which].cancel()
    await turns(3)
    assert [task.done() for task in tasks] == [number == which for number in range(3)]
    set_later(wait)
    expected = ["'value'"] * 4
    expected[which] = "cancelled" if by == "task" else "'left'"
    assert await ends(*tasks, other) == expected


async def test_r16_all_that_wait_can_be_cancelled_one_after_another(world):
    wait = aionursery.sleep(3600)
    tasks = several(wait, "ours", "ours", "ours")
    await turns(2)
    for task in tasks:
        task.cancel()
        await turns(2)
        assert task.cancelled()
    assert wait.cancelled()
    wait = aionursery.sleep(3600)
    tasks = several(wait, "ours", "ours", "asyncio")
    await turns(2)
    for task in reversed(tasks):
        task.cancel()
    assert await ends(*tasks) == ["cancelled"] * 3


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("how", ["close", "throw"])
async def test_r23_a_wait_that_is_ended_from_outside_wakes_what_waits(world, kind, count, how):
    wait = aionursery.sleep(3600)
    tasks = several(wait, *[kind] * count)
    await turns(2)
    if how == "close":
        wait.close()
    else:
        with pytest.raises(ValueError):
            wait.throw(ValueError)
    for end in await ends(*tasks):
        if how == "throw":
            assert end == "cancelled"
        else:
            assert "cannot reuse already awaited" in end


@pytest.mark.parametrize("sleep", [aionursery.sleep, aionursery.sleep_until])
async def test_r23_a_task_that_sleeps_without_end_is_kept_by_its_loop(world, sleep):
    """As asyncio keeps it, and as it keeps one that sleeps for an hour."""

    async def sleeps():
        try:
            await sleep(math.inf)
        except asyncio.CancelledError:
            ended.append(True)
            raise

    ended = []
    found = weakref.ref(asyncio.create_task(sleeps()))
    await turns(1)
    gc.collect()
    found().cancel()
    await turns(2)
    assert ended == [True]
    gc.collect()
    assert found() is None


@pytest.mark.parametrize("kind", MAKERS)
async def test_r23_a_coroutine_that_is_closed_ends_only_its_own_wait(world, kind):
    wait = parked()
    tasks = several(wait, kind, "ours", kind)
    await turns(2)
    tasks[0].get_coro().close()
    tasks[1].get_coro().close()
    await turns(2)
    set_later(wait)
    assert await ends(tasks[2]) == ["'value'"]
    for task in tasks[:2]:
        task.cancel()
        task._log_destroy_pending = False
        await turns(2)


async def test_r23_a_cancelled_task_may_wait_for_the_same_again(world):
    wait = parked()

    async def stays():
        try:
            return await wait
        except asyncio.CancelledError:
            return "again", await wait

    loop = asyncio.get_running_loop()
    tasks = [aionursery.Task(stays(), loop=loop) for _ in range(2)]
    await turns(2)
    tasks[0].cancel()
    await turns(3)
    assert not tasks[0].done() and not tasks[1].done()
    set_later(wait)
    assert await ends(*tasks) == ["('again', 'value')", "'value'"]


async def test_r10_several_that_wait_are_let_go_with_the_wait(world):
    class Value:
        pass

    wait = parked()
    tasks = several(wait, "ours", "ours", "asyncio")
    await turns(2)
    value = Value()
    wait.set_result(value)
    await turns(3)
    gone = weakref.ref(value)
    del value, wait, tasks
    gc.collect()
    assert gone() is None


class RefusesTimers(asyncio.SelectorEventLoop):
    """A loop whose `call_at` raises, as it does where the stack is used up."""

    refuses = False

    def call_at(self, when, callback, *args, context=None):
        if self.refuses:
            raise OSError("no timer")
        return super().call_at(when, callback, *args, context=context)


@pytest.mark.parametrize("task_class", [asyncio.Task, aionursery.Task])
def test_r31_a_sleep_that_the_loop_refuses_to_time_raises_and_loses_no_other(task_class):
    async def main(loop):
        other = task_class(aionursery.sleep(0.02, "other"), loop=loop)
        await asyncio.sleep(0)
        loop.refuses = True
        with pytest.raises(OSError, match="no timer"):
            await aionursery.sleep(0.001)
        loop.refuses = False
        await aionursery.sleep(0.001)
        return await asyncio.wait_for(other, 20)

    loop, reports = RefusesTimers(), []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    assert loop.run_until_complete(task_class(main(loop), loop=loop)) == "other"
    assert reports == []
    loop.close()


@pytest.mark.parametrize("task_class", [asyncio.Task, aionursery.Task])
def test_r21_a_deadline_that_the_loop_refuses_to_time_raises_and_nothing_is_entered(task_class):
    async def main(loop):
        loop.refuses = True
        with pytest.raises(OSError, match="no timer"):
            with aionursery.move_on_after(5):
                pytest.fail("entered")
        with pytest.raises(OSError, match="no timer"):
            async with aionursery.Nursery(relative_deadline=5):
                pytest.fail("entered")
        with aionursery.CancelScope() as scope:
            with pytest.raises(OSError, match="no timer"):
                scope.deadline = loop.time() + 5
            with pytest.raises(OSError, match="no timer"):
                scope.cancel_after(5)
            assert scope.deadline == math.inf
        loop.refuses = False
        with aionursery.move_on_after(0.001) as scope:
            await aionursery.sleep_forever()
        return scope.cancelled_caught

    loop, reports = RefusesTimers(), []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    assert loop.run_until_complete(task_class(main(loop), loop=loop))
    assert reports == []
    loop.close()


class CallsFirst(asyncio.SelectorEventLoop):
    """A loop whose clock, once, calls something before it says what time it is."""

    call_first = None

    def time(self):
        call, self.call_first = self.call_first, None
        if call is not None:
            call()
        return super().time()


@pytest.mark.parametrize("task_class", [asyncio.Task, aionursery.Task])
def test_r3_what_the_loops_clock_enters_is_not_entered_again(task_class):
    async def main(loop):
        scope = aionursery.move_on_after(5)
        loop.call_first = scope.__enter__
        with pytest.raises(RuntimeError, match="already entered"):
            scope.__enter__()
        scope.__exit__(None, None, None)
        nursery = aionursery.Nursery(relative_deadline=5)
        loop.call_first = nursery.__aenter__
        with pytest.raises(RuntimeError, match="already entered"):
            nursery.__aenter__()
        await nursery.__aexit__(None, None, None)
        return aionursery.current_effective_deadline()

    loop = CallsFirst()
    assert loop.run_until_complete(task_class(main(loop), loop=loop)) == math.inf
    loop.close()


@pytest.mark.parametrize("task_class", [asyncio.Task, aionursery.Task])
def test_r21_a_scope_that_the_loops_clock_leaves_says_whether_it_was_cancelled(task_class):
    async def main(loop):
        scope = aionursery.move_on_after(5)
        scope.__enter__()
        loop.call_first = lambda: scope.__exit__(None, None, None)
        return scope.cancel_called

    loop = CallsFirst()
    assert loop.run_until_complete(task_class(main(loop), loop=loop)) is False
    loop.close()
