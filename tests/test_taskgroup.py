"""The drop-in `TaskGroup`: what `create_task` says, however it is called.

CPython's own tests of the class are run by tests/conformance.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect

import pytest

import aionursery
from aionursery import TaskGroup

from .helpers import Trace, forever, turns


async def answer(value):
    return value


#: The same child, asked for in the usual way and in others, which take another path.
CALLS = {
    "plain": lambda group, coro: group.create_task(coro),
    "with a name": lambda group, coro: group.create_task(coro, name="usual"),
    "with a context": lambda group, coro: group.create_task(
        coro, context=contextvars.copy_context()
    ),
    "with None for both": lambda group, coro: group.create_task(coro, name=None, context=None),
    "by keyword": lambda group, coro: group.create_task(coro=coro),
    "with eager_start": lambda group, coro: group.create_task(coro, eager_start=False),
    "with what a later asyncio may know": lambda group, coro: group.create_task(coro, later=1),
    "with a name put together": lambda group, coro: group.create_task(coro, **{"na" + "me": "x"}),
    "with a name that is no str": lambda group, coro: group.create_task(coro, name=5),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@every_call
async def test_r4_a_child_of_a_task_group_takes_its_first_step_after_create_task(world, call):
    trace = Trace()
    async with TaskGroup() as group:
        task = call(group, trace.value("child"))
        trace.append("body")
        assert isinstance(task, aionursery.Task)
        assert group.children == [task]
    assert trace == ["body", "child"]
    assert task.result() == "child"


async def test_a_name_and_a_context_reach_the_child(world):
    variable = contextvars.ContextVar("variable", default="outside")
    context = contextvars.copy_context()
    context.run(variable.set, "inside")

    async def look():
        return variable.get(), asyncio.current_task().get_name()

    async with TaskGroup() as group:
        tasks = [
            group.create_task(look(), name="usual", context=context),
            group.create_task(look(), name="unusual", context=context, eager_start=None),
        ]
    assert [task.result() for task in tasks] == [("inside", "usual"), ("inside", "unusual")]


@every_call
async def test_r2_a_group_that_is_not_entered_refuses(world, call):
    group, coro = TaskGroup(), answer(1)
    with pytest.raises(RuntimeError, match="has not been entered"):
        call(group, coro)
    coro.close()


@every_call
async def test_r3_a_group_that_has_ended_refuses(world, call):
    async with TaskGroup() as group:
        pass
    coro = answer(1)
    with pytest.raises(RuntimeError, match="is finished"):
        call(group, coro)
    coro.close()


@every_call
async def test_a_group_that_is_cancelled_refuses_and_says_that_it_shuts_down(world, call):
    async with TaskGroup() as group:
        group.cancel()
        coro = answer(1)
        with pytest.raises(RuntimeError, match="is shutting down"):
            call(group, coro)
        coro.close()


@every_call
async def test_a_child_can_start_siblings_while_the_group_is_left(world, call):
    started = []

    async def child(group):
        await turns(2)
        started.append(call(group, answer("sibling")))

    async with TaskGroup() as group:
        group.create_task(child(group))
    assert [task.result() for task in started] == ["sibling"]


async def test_r1_a_group_cannot_be_entered_where_no_task_runs_and_not_twice(world):
    loop, raised = asyncio.get_running_loop(), asyncio.Event()
    errors = []

    def callback():
        try:
            TaskGroup().__aenter__().send(None)
        except RuntimeError as error:
            errors.append(str(error))
        raised.set()

    loop.call_soon(callback)
    await raised.wait()
    assert errors == ["TaskGroup <TaskGroup> cannot determine the parent task"]
    async with TaskGroup() as group:
        with pytest.raises(RuntimeError, match="has already been entered"):
            await group.__aenter__()


@pytest.mark.parametrize(
    "thing", [answer, 5, None, asyncio.sleep], ids=["function", "int", "None", "asyncio.sleep"]
)
async def test_r2_what_is_no_coroutine_is_refused_in_asyncios_words(world, thing):
    async with TaskGroup() as group:
        with pytest.raises(TypeError, match="a coroutine was expected, got"):
            group.create_task(thing)


@pytest.mark.parametrize("name", ["eager_task_factory", "task_factory"])
async def test_a_group_starts_its_children_as_the_loops_factory_would(world, name):
    loop, trace = asyncio.get_running_loop(), Trace()
    before = loop.get_task_factory()
    loop.set_task_factory(getattr(aionursery, name))
    try:
        async with TaskGroup() as group:
            group.create_task(trace.value("child"))
            trace.append("body")
    finally:
        loop.set_task_factory(before)
    eager = name == "eager_task_factory"
    assert trace == (["child", "body"] if eager else ["body", "child"])


async def test_r12a_what_siblings_have_got_when_a_child_fails_is_theirs(world):
    loop = asyncio.get_running_loop()
    replies = [loop.create_future() for _ in range(3)]
    slot, closed = loop.create_future(), []

    async def request(reply):
        await reply

    async def use():
        connection = await slot
        group.create_task(answer(connection))
        try:
            await asyncio.sleep(10)
        finally:
            closed.append(connection)

    with pytest.raises(ExceptionGroup) as raised:
        async with TaskGroup() as group:
            for reply in replies:
                group.create_task(request(reply))
            group.create_task(use())
            await turns(2)
            for number, reply in enumerate(replies):
                reply.set_exception(ConnectionResetError(number))
            slot.set_result("connection")
    assert [error.args for error in raised.value.exceptions] == [(0,), (1,), (2,)]
    assert closed == ["connection"]


async def swallow():
    try:
        await forever()
    except asyncio.CancelledError:
        pass


async def fails_when_cancelled():
    try:
        await forever()
    except asyncio.CancelledError:
        raise ValueError from None


async def fails_in_its_cleanup(group):
    await fails_when_cancelled()


async def fails_beside_a_child(group):
    group.create_task(forever())
    await fails_when_cancelled()


async def fails_as_a_child_does(group):
    group.create_task(fails_when_cancelled())
    await fails_when_cancelled()


async def hears_and_goes_on(group):
    try:
        await forever()
    except asyncio.CancelledError:
        group.create_task(fails())


async def fails():
    raise ValueError


BODIES = [fails_in_its_cleanup, fails_beside_a_child, fails_as_a_child_does, hears_and_goes_on]
every_body = pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)


@every_body
async def test_r13_a_cancellation_that_the_body_has_heard_acts_after_the_groups_error(world, body):
    """CPython 3.13's class does that, and ours on every version."""
    trace = Trace()

    async def serve():
        while True:
            try:
                async with TaskGroup() as group:
                    await body(group)
            except* ValueError:
                trace.append(asyncio.current_task().cancelling())
            await turns(2)
            trace.append("goes on")

    task = asyncio.ensure_future(serve())
    await turns(3)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert trace == [1]


@every_body
async def test_r14_one_that_was_a_timeouts_is_taken_back_by_it(world, body):
    async def serve():
        with pytest.raises(ExceptionGroup):
            async with asyncio.timeout(0), TaskGroup() as group:
                await body(group)
        await turns(3)
        return asyncio.current_task().cancelling()

    assert await asyncio.ensure_future(serve()) == 0


async def test_r13_a_group_that_is_left_by_no_error_asks_for_nothing(world):
    async def serve():
        await swallow()
        async with TaskGroup() as group:
            group.create_task(answer(1))
        await turns(2)
        return asyncio.current_task().cancelling()

    task = asyncio.ensure_future(serve())
    await turns(2)
    task.cancel()
    assert await task == 1


async def test_r13_a_cancellation_from_before_a_group_acts_after_its_error_too(world):
    async def serve():
        await swallow()
        try:
            async with TaskGroup() as group:
                group.create_task(fails())
        except* ValueError:
            pass
        await turns(2)

    task = asyncio.ensure_future(serve())
    await turns(2)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("inner", [TaskGroup, aionursery.Nursery], ids=lambda it: it.__name__)
@pytest.mark.parametrize("end", ["failure", "cancel", "outside"])
async def test_r15_a_group_cancels_a_host_that_joins_as_by_hand(world, inner, end):
    """It is raised once the block inside has been left, though no child ended by it."""
    trace = Trace()

    async def host():
        async with inner() as block:
            block.start_soon(swallow())
        trace.append("goes on")

    async def serve():
        with contextlib.suppress(ExceptionGroup):
            async with TaskGroup() as group:
                task = group.create_task(host())
                await turns(3)
                if end == "failure":
                    group.create_task(fails())
                elif end == "cancel":
                    group.cancel()
                else:
                    outside.cancel()
                await forever()
        return task

    outside = asyncio.ensure_future(serve())
    await asyncio.wait([outside])
    assert outside.cancelled() == (end == "outside")
    if not outside.cancelled():
        assert outside.result().cancelled()
    assert trace == []


async def test_r15_nor_does_a_body_go_on_behind_a_block_in_it(world):
    trace = Trace()
    with contextlib.suppress(ExceptionGroup):
        async with TaskGroup() as group:
            async with TaskGroup() as inside:
                inside.create_task(swallow())
                group.create_task(fails())
            trace.append("goes on")
    assert trace == []


async def test_r13a_a_host_that_joins_nothing_hears_of_its_group_at_the_next_await(world):
    trace = Trace()
    async with TaskGroup() as group:

        async def host():
            group.cancel()
            async with TaskGroup():
                pass
            trace.append("goes on")
            await forever()
            trace.append("too far")

        group.create_task(host())
    assert trace == ["goes on"]


def test_create_task_shows_its_signature_and_what_it_does():
    signature = inspect.signature(TaskGroup.create_task)
    expected = "(self, /, coro, *, name=None, context=None, eager_start=None, **_)"
    assert str(signature) == expected
    assert "Raises RuntimeError" in TaskGroup.create_task.__doc__
