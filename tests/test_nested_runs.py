"""A step that runs the loop itself (nest_asyncio, a modal dialog) holds up no other task."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aionursery
from aionursery import Nursery

from .helpers import turns


def run_nested(loop: Any, until: Any, *, leave: bool = True, most: int = 200) -> None:
    """Run the loop inside a step, as nest_asyncio does; a modal dialog does not leave the task."""
    task = asyncio.current_task()
    if leave:
        asyncio.tasks._leave_task(loop, task)
    try:
        for _ in range(most):
            if until():
                return
            loop.call_soon(int)  # so that the loop does not wait for anything
            loop.run_a_turn()
        pytest.fail("what stands behind the step never ran")
    finally:
        if leave:
            asyncio.tasks._enter_task(loop, task)


class Nests(asyncio.SelectorEventLoop):
    """A loop of asyncio's whose turns go on when a nested one has taken what they counted."""

    def run_a_turn(self) -> None:
        self._run_once()
        while len(self._ready) < 50:
            self.call_soon(int)


class NestsBefore(Nests):
    """One that has a way of its own to run handles, as nest_asyncio gives it."""

    def _run_once(self) -> None:
        super()._run_once()


class AsksItself(Nests):
    """One with ways of its own to take handles and to run them."""

    def call_soon(self, callback, *args, context=None):
        return super().call_soon(callback, *args, context=context)

    def _run_once(self) -> None:
        super()._run_once()


class Hidden(asyncio.AbstractEventLoop):
    """A loop that shows nothing of what it has inside."""

    def __init__(self) -> None:
        self._inside = Nests()

    def __getattribute__(self, name: str) -> Any:
        if name in ("_inside", "__class__", "__dict__", "_aionursery"):
            return object.__getattribute__(self, name)
        if name in ("_ready", "_scheduled"):
            raise AttributeError(name)
        if name in ("run_forever", "create_future"):
            return object.__getattribute__(self, f"_{name}")
        return getattr(object.__getattribute__(self, "_inside"), name)

    def _create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def _run_forever(self) -> None:
        inside = object.__getattribute__(self, "_inside")
        # The running loop is this one, for all code that asks.
        real = asyncio._set_running_loop
        asyncio.events._set_running_loop = lambda it: real(it and self)
        try:
            inside.run_forever()
        finally:
            asyncio.events._set_running_loop = real


LOOPS = [Nests, NestsBefore, AsksItself, Hidden]


@pytest.fixture(params=LOOPS, ids=lambda kind: kind.__name__)
def loop(request):
    loop = request.param()
    yield loop
    loop.close()


def run(loop: Any, main: Any) -> list[dict[str, Any]]:
    """Run a task of ours to its end; give back what the loop's exception handler was told."""
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    task = aionursery.Task(main, loop=loop)
    task.add_done_callback(lambda _: loop.stop())
    watch = loop.call_later(20, loop.stop)
    loop.run_forever()
    watch.cancel()
    assert task.done(), "the program hangs"
    task.result()
    return reports


@pytest.mark.parametrize("leave", [True, False], ids=["nest_asyncio", "dialog"])
def test_what_stands_behind_a_step_runs_in_the_run_nested_in_it(loop, leave):
    trace: list[Any] = []

    async def nests() -> None:
        await turns(1)
        trace.append("begins")
        run_nested(loop, lambda: trace[-1] == 4, leave=leave)
        assert asyncio.current_task() is tasks[0]
        trace.append("ends")

    async def behind(number: int) -> None:
        await turns(1)
        assert asyncio.current_task() is tasks[number]
        trace.append(number)

    tasks: list[Any] = []

    async def main() -> None:
        async with Nursery() as nursery:
            tasks.append(nursery.start_soon(nests()))
            tasks.extend(nursery.start_soon(behind(number)) for number in range(1, 5))

    assert run(loop, main()) == []
    assert trace == ["begins", 1, 2, 3, 4, "ends"]


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_runs_nested_in_runs_hold_up_nobody(loop, depth):
    trace: list[Any] = []

    async def nests(level: int) -> None:
        await turns(1)
        trace.append(level)
        run_nested(loop, lambda: "last" in trace)
        trace.append(-level)

    async def last() -> None:
        await turns(1)
        trace.append("last")

    async def main() -> None:
        async with Nursery() as nursery:
            for level in range(1, depth + 1):
                nursery.start_soon(nests(level))
            nursery.start_soon(last())

    assert run(loop, main()) == []
    levels = list(range(1, depth + 1))
    assert trace == [*levels, "last", *[-level for level in reversed(levels)]]


@pytest.mark.parametrize("how", ["a future", "a task of asyncio's"])
def test_a_nursery_that_a_callback_of_a_nested_run_closes_is_left_there(how):
    """The last step of a batch runs the loop; what closes there is no part of the batch."""
    trace: list[str] = []
    loop = asyncio.SelectorEventLoop()

    async def waits(future: asyncio.Future[None]) -> None:
        await future

    async def host(future: asyncio.Future[None]) -> None:
        async with Nursery() as nursery:
            nursery.start_soon(waits(future))
        trace.append("left")

    async def nests(future: asyncio.Future[None]) -> None:
        await turns(3)
        loop.call_soon(future.set_result, None)
        task = asyncio.current_task()
        asyncio.tasks._leave_task(loop, task)
        end = loop.time() + 5
        while "left" not in trace and loop.time() < end:
            loop.call_later(0.001, int)  # nothing but this wakes the loop
            loop._run_once()
        asyncio.tasks._enter_task(loop, task)
        trace.append("ends")

    async def main() -> None:
        future: asyncio.Future[None] = loop.create_future()
        kind: Any = aionursery.Task if how == "a future" else asyncio.Task
        hosting = kind(host(future), loop=loop)
        await aionursery.Task(nests(future), loop=loop)
        await hosting

    assert run(loop, main()) == []
    assert trace == ["left", "ends"]
    loop.close()


def test_what_leaves_a_nested_run_leaves_the_rest_in_order(loop):
    trace: list[Any] = []

    async def nests() -> None:
        await turns(1)
        with pytest.raises(KeyboardInterrupt):
            run_nested(loop, lambda: False)
        trace.append("ends")

    async def interrupts() -> None:
        await turns(1)
        trace.append("interrupts")
        raise KeyboardInterrupt

    async def behind(number: int) -> None:
        await turns(1)
        trace.append(number)

    async def main() -> None:
        tasks = [nests(), interrupts(), *map(behind, range(5))]
        made = [aionursery.Task(task, loop=loop) for task in tasks]
        for task in made:
            try:
                await task
            except KeyboardInterrupt:
                pass

    assert run(loop, main()) == []
    assert trace == ["interrupts", "ends", 0, 1, 2, 3, 4]


def test_what_leaves_the_loop_leaves_the_rest_of_its_batch_in_order(loop):
    trace: list[Any] = []

    async def interrupts() -> None:
        raise KeyboardInterrupt

    async def behind(number: int) -> None:
        trace.append(number)

    tasks = [aionursery.Task(interrupts(), loop=loop)]
    tasks += [aionursery.Task(behind(number), loop=loop) for number in range(4)]
    loop.call_soon(trace.append, "called")
    tasks += [aionursery.Task(behind(number), loop=loop) for number in range(4, 6)]
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert tasks[0].exception() is not None
    assert run(loop, turns(2)) == []
    if isinstance(loop, (Nests, NestsBefore)) and not isinstance(loop, AsksItself):
        assert trace == [0, 1, 2, 3, "called", 4, 5]
    assert sorted(trace, key=str) == [0, 1, 2, 3, 4, 5, "called"]


def test_r18_a_cleanup_that_begins_while_a_cancellation_is_under_way_is_let_go_on(loop):
    """What one task awaits runs the loop when it is cancelled; the next task hears in that run."""
    trace: list[Any] = []

    class RunsTheLoop(asyncio.Future[None]):
        def cancel(self, msg: Any = None) -> bool:
            run_nested(loop, lambda: "cleans up" in trace)
            return super().cancel(msg)

    async def waits(future: asyncio.Future[None]) -> None:
        await future

    async def cleans_up(future: asyncio.Future[None]) -> None:
        try:
            while True:
                await asyncio.sleep(0)
        finally:
            trace.append("cleans up")
            await future
            trace.append("has cleaned up")

    async def main() -> None:
        needed: asyncio.Future[None] = asyncio.Future(loop=loop)
        async with Nursery() as nursery:
            nursery.start_soon(waits(RunsTheLoop(loop=loop)))
            nursery.start_soon(cleans_up(needed))
            await turns(2)
            nursery.cancel()
            assert trace == ["cleans up"] and not needed.done()
            loop.call_soon(needed.set_result, None)

    assert run(loop, main()) == []
    assert trace == ["cleans up", "has cleaned up"]
