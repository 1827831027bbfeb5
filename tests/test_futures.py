"""R23: what a task awaits need not be asyncio's own; whatever calls back wakes the task, once."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

import aionursery
from aionursery import CancelScope, Nursery

from .helpers import Noted, fail_noted, forever, turns


class Like:
    """A future by its protocol alone."""

    _asyncio_future_blocking = False

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.callbacks = []
        self.outcome = None

    def get_loop(self):
        return self.loop

    def done(self):
        return self.outcome is not None

    def cancelled(self):
        return isinstance(self.outcome, asyncio.CancelledError)

    def result(self):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def cancel(self, msg=None):
        return False

    def add_done_callback(self, callback, *, context=None):
        self.callbacks.append(callback)

    def __await__(self):
        if not self.done():
            self._asyncio_future_blocking = True
            yield self
        return self.result()


class Proxy(Like):
    """Hands its callbacks to the future inside, which calls back with itself."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __getattribute__(self, name):
        if name in ("done", "cancelled", "result", "cancel", "add_done_callback"):
            return getattr(object.__getattribute__(self, "inner"), name)
        return object.__getattribute__(self, name)


class AtOnce(Like):
    """Calls back while the callback is added."""

    def __init__(self, outcome, times=1):
        super().__init__()
        self.after, self.times = outcome, times

    def add_done_callback(self, callback, *, context=None):
        self.outcome = self.after
        for _ in range(self.times):
            callback(self)


def start(coro):
    return aionursery.Task(coro, loop=asyncio.get_running_loop())


async def end(task):
    _, pending = await asyncio.wait([task], timeout=5)
    assert not pending
    return "cancelled" if task.cancelled() else task.exception() or task.result()


async def value_of(future):
    return await future


@pytest.mark.parametrize("how", ["result", "error", "cancel", "cancel the task"])
@pytest.mark.parametrize("inner", ["future", "task", "wait"])
async def test_r23_a_proxy_wakes_the_task_by_the_future_inside(world, how, inner):
    loop = asyncio.get_running_loop()
    error = ValueError("inside")
    gate = loop.create_future()
    if inner == "future":
        future = gate
    elif inner == "task":
        future = start(value_of(gate))
    else:
        future = aionursery._aionursery.loop_state(loop).create_future()
        if how == "error":
            return
    task = start(value_of(Proxy(future)))
    await turns(3)
    settable = future if inner == "wait" else gate
    if how == "result":
        settable.set_result("value")
    elif how == "error":
        settable.set_exception(error)
    elif how == "cancel":
        future.cancel()
    else:
        task.cancel()
    expected = {"result": "value", "error": error}.get(how, "cancelled")
    assert await end(task) == expected


@pytest.mark.parametrize("times", [1, 2])
async def test_r23_a_future_that_calls_back_at_once_wakes_the_task(world, times):
    error = ValueError()
    trace = []

    async def awaits():
        trace.append(await AtOnce("value", times))
        with pytest.raises(ValueError):
            await AtOnce(error, times)
        trace.append("error")
        await turns(2)
        return "end"

    assert await end(start(awaits())) == "end"
    assert trace == ["value", "error"]


async def test_r13_a_cancellation_that_came_before_is_not_lost_by_what_calls_back_at_once(world):
    async def awaits():
        asyncio.current_task().cancel()
        await AtOnce("value")
        await forever()

    assert await end(start(awaits())) == "cancelled"

    async def scoped():
        with CancelScope() as scope:
            scope.cancel()
            await AtOnce("value")
            await forever()
        return scope.cancelled_caught

    assert await end(start(scoped())) is True


async def test_r23_a_future_that_calls_back_twice_steps_no_task_that_waits_for_something_else(
    world,
):
    loop = asyncio.get_running_loop()
    like = Like()
    later = loop.create_future()
    trace = []

    async def awaits():
        trace.append(await like)
        trace.append(await later)
        trace.append(await Proxy(last))

    last = loop.create_future()
    task = start(awaits())
    await turns(2)
    like.outcome = "first"
    for _ in range(3):
        loop.call_soon(like.callbacks[0], like)
    await turns(3)
    assert trace == ["first"]
    like.callbacks[0](like)
    later.set_result("second")
    await turns(3)
    like.callbacks[0](like)
    await turns(3)
    assert trace == ["first", "second"]
    last.set_result("third")
    await end(task)
    like.callbacks[0](like)
    assert trace == ["first", "second", "third"]


async def test_r23_a_future_that_calls_back_in_anothers_step_wakes_the_task_after_it(world):
    like = Like()
    trace = []

    async def awaits():
        trace.append(await like)

    async def ends():
        like.outcome = "value"
        like.callbacks[0](like)
        like.callbacks[0](like)
        trace.append("other")

    task = start(awaits())
    await turns(2)
    assert like.callbacks[0].__self__ is task
    start(ends())
    await end(task)
    assert trace == ["other", "value"]


@pytest.mark.reports
async def test_r10_a_task_and_what_it_awaits_are_collected(world):
    class Awaited(Like):
        pass

    like = Awaited()
    task = start(value_of(like))
    task._log_destroy_pending = False
    await turns(2)
    gone = weakref.ref(like), weakref.ref(task)
    del like, task
    gc.collect()
    assert [it() for it in gone] == [None, None]
    assert not any(type(it) is Awaited for it in gc.get_objects())


async def fails_before(references, task_status):
    await fail_noted(references)


async def fails_in_the_same_step(references, task_status):
    task_status.started()
    await fail_noted(references)


async def fails_later(references, task_status):
    task_status.started()
    await turns(1)
    await fail_noted(references)


@pytest.mark.parametrize(
    "run",
    [
        lambda it, _: fail_noted(it),
        lambda it, _: asyncio.ensure_future(fail_noted(it)),
        fails_before,
        fails_in_the_same_step,
        fails_later,
    ],
)
async def test_r10_what_a_child_of_start_fails_with_goes_with_its_last_user(world, run):
    references = []

    def child(*, task_status):
        return run(references, task_status)

    gc.disable()
    try:
        try:
            async with Nursery() as nursery:
                await nursery.start(child)
        except* Noted:
            pass
        await turns(2)
        assert [reference() for reference in references] == [None]
    finally:
        gc.enable()
