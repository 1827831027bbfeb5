"""Children of anyio's task groups on a loop that has a task factory of the program's: it makes
their tasks, as with anyio's own backend, and they are the group's all the same.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys

import pytest

anyio = pytest.importorskip("anyio")

import aionursery  # noqa: E402
import aionursery.anyio as face  # noqa: E402

from .on_the_engine import KINDS, run  # noqa: E402


class Traced(asyncio.Task):
    """A task of the program's own."""


class Factory:
    """A task factory that keeps what it has made."""

    def __init__(self, make=Traced):
        self.make = make
        self.made = []

    def __call__(self, loop, coro, **options):
        if self.make is aionursery.task_factory:
            task = self.make(loop, coro, **options)
        else:
            task = self.make(coro, loop=loop, **options)
        self.made.append(task)
        return task


MADE = pytest.mark.parametrize("make", [Traced, aionursery.task_factory])
ON = pytest.mark.parametrize("on", [True, False])


def run_with(factory, main, kind, on=True):
    async def with_factory():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        try:
            return await main()
        finally:
            # CPython 3.13.0's eager factory refuses what uvloop gives it at the end of the loop.
            loop.set_task_factory(None)

    with face.installed(on):
        return run(with_factory, kind)


@KINDS
@MADE
@ON
def test_the_factory_makes_the_task_of_each_child(kind, make, on):
    async def child(value, *, task_status=anyio.TASK_STATUS_IGNORED):
        task_status.started(value)
        tasks.append(asyncio.current_task())
        await anyio.sleep(0)
        return value

    async def main():
        async with anyio.create_task_group() as group:
            handles = [
                group.start_soon(child, 1, name="first"),
                group.create_task(child(2), name="second"),
            ]
            started = await group.start(child, 3, name="third")
        assert sorted(map(id, tasks)) == sorted(map(id, factory.made))
        return started, [(handle.name, handle.return_value) for handle in handles]

    tasks, factory = [], Factory(make)
    assert run_with(factory, main, kind, on) == (3, [("first", 1), ("second", 2)])
    assert sorted(task.get_name() for task in tasks) == ["first", "second", "third"]


@KINDS
@ON
def test_a_childs_context_is_the_one_it_is_given(kind, on):
    variable = contextvars.ContextVar("variable", default="the caller's")

    async def child():
        return variable.get()

    async def main():
        context = contextvars.copy_context()
        context.run(variable.set, "its own")
        async with anyio.create_task_group() as group:
            handles = group.create_task(child()), group.create_task(child(), context=context)
        return [handle.return_value for handle in handles]

    assert run_with(Factory(), main, kind, on) == ["the caller's", "its own"]


@KINDS
@MADE
@ON
def test_a_child_that_fails_fails_its_group_and_its_siblings_are_cancelled(kind, make, on):
    async def fails():
        await anyio.sleep(0)
        raise ValueError("failed")

    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                sibling = group.start_soon(anyio.sleep_forever)
                group.start_soon(fails)
        assert sibling.status is anyio.TaskHandle.Status.CANCELLED
        return [str(error) for error in caught.value.exceptions]

    assert run_with(Factory(make), main, kind, on) == ["failed"]


@KINDS
@MADE
@ON
def test_a_groups_cancellation_is_thrown_at_each_await_of_a_child_up_to_its_shields(kind, make, on):
    async def child():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.001)
                order.append("shielded")
            try:
                await anyio.sleep_forever()
            finally:
                order.append("again")

    async def main():
        with anyio.move_on_after(0.01) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
        return scope.cancelled_caught

    order = []
    assert run_with(Factory(make), main, kind, on)
    assert order == ["shielded", "again"]


@KINDS
@MADE
@ON
def test_a_handle_cancels_its_child_and_no_sibling(kind, make, on):
    async def main():
        async with anyio.create_task_group() as group:
            handle = group.start_soon(anyio.sleep_forever)
            sibling = group.start_soon(anyio.sleep, 0.01)
            await anyio.sleep(0)
            handle.cancel()
        return handle.status, sibling.status

    status = anyio.TaskHandle.Status
    assert run_with(Factory(make), main, kind, on) == (status.CANCELLED, status.FINISHED)


@KINDS
@MADE
@ON
def test_a_child_that_is_cancelled_by_hand_cancels_its_group(kind, make, on):
    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            sibling = group.start_soon(anyio.sleep_forever)
            await anyio.sleep(0)
            factory.made[0].cancel()
        return sibling.status

    factory = Factory(make)
    assert run_with(factory, main, kind, on) is anyio.TaskHandle.Status.CANCELLED


@KINDS
@ON
def test_a_child_that_does_not_get_ready_is_the_callers(kind, on):
    async def child(*, task_status):
        raise ValueError("not ready")

    async def main():
        async with anyio.create_task_group() as group:
            with pytest.raises(ValueError, match="not ready"):
                await group.start(child)
            with anyio.move_on_after(0.01) as scope:
                await group.start(anyio_sleeps)
        return scope.cancelled_caught

    async def anyio_sleeps(*, task_status):
        await anyio.sleep_forever()

    assert run_with(Factory(), main, kind, on)


@KINDS
def test_what_the_factory_raises_is_the_callers_and_the_coroutine_is_closed(kind):
    async def child():
        await anyio.sleep(0)

    def function():
        made.append(child())
        return made[-1]

    def refuses(loop, coro, **options):
        raise LookupError("no task")

    async def main():
        loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as group:
            loop.set_task_factory(refuses)
            for start in group.start_soon, lambda function: group.create_task(function()):
                with pytest.raises(LookupError, match="no task"):
                    start(function)
            loop.set_task_factory(None)
        assert [inspect.getcoroutinestate(coro) for coro in made] == [inspect.CORO_CLOSED] * 2

    made = []
    with face.installed():
        run(main, kind)


@KINDS
def test_a_group_that_has_ended_asks_no_factory(kind):
    async def main():
        async with anyio.create_task_group() as group:
            pass
        for start in group.start_soon, lambda function: group.create_task(function()):
            with pytest.raises(RuntimeError, match="not active"):
                start(anyio.sleep_forever)
        return list(factory.made)

    factory = Factory()
    assert run_with(factory, main, kind) == []


@KINDS
def test_children_are_the_engines_own_where_the_loops_factory_is_asyncios_eager_one_or_ours(kind):
    async def child():
        return type(asyncio.current_task())

    async def main():
        async with anyio.create_task_group() as group:
            handles = group.start_soon(child), group.create_task(child())
        return {handle.return_value for handle in handles}

    factories = [None, aionursery.task_factory, aionursery.eager_task_factory]
    if sys.version_info >= (3, 12):
        factories.append(asyncio.eager_task_factory)
    for factory in factories:
        assert run_with(factory, main, kind) == {aionursery.Task}
