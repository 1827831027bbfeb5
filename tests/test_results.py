"""R23 and R24: what start_soon gives back, and children that say when they are ready."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import weakref

import pytest

from aionursery import MultiError, Nursery, NurseryClosed, Task, sleep

from .helpers import fail, forever, note_cancellation, turns, value


async def test_r23_it_is_a_task_and_a_future_of_asyncio(world):
    async with Nursery() as nursery:
        task = nursery.start_soon(value(1))
        assert type(task) is Task
        assert isinstance(task, asyncio.Task) and isinstance(task, asyncio.Future)
        assert asyncio.isfuture(task)
        assert task.get_loop() is asyncio.get_running_loop()


async def test_r23_it_can_be_awaited_again_and_again(world):
    async with Nursery() as nursery:
        task = nursery.start_soon(value("result", after=2))
        assert [await task, await task] == ["result", "result"]
    assert await task == "result"
    assert task.result() == "result"


async def test_r23_many_can_await_it(world):
    async with Nursery() as nursery:
        task = nursery.start_soon(value("result", after=3))

        async def awaits():
            return await task

        tasks = [nursery.start_soon(awaits) for _ in range(5)]
        tasks.append(asyncio.ensure_future(awaits()))
        await asyncio.wait(tasks)
    assert {other.result() for other in tasks} == {"result"}


@pytest.mark.parametrize("use", ["wait", "gather", "wait_for", "shield", "as_completed"])
async def test_r23_what_asyncio_has_for_tasks_takes_it(world, use):
    async with Nursery() as nursery:
        tasks = [nursery.start_soon(value(number, after=number)) for number in range(3)]
        if use == "wait":
            done, pending = await asyncio.wait(tasks)
            assert done == set(tasks) and not pending
        elif use == "gather":
            assert await asyncio.gather(*tasks) == [0, 1, 2]
        elif use == "wait_for":
            assert [await asyncio.wait_for(task, 5) for task in tasks] == [0, 1, 2]
        elif use == "shield":
            assert [await asyncio.shield(task) for task in tasks] == [0, 1, 2]
        else:
            assert [await each for each in asyncio.as_completed(tasks)] == [0, 1, 2]


async def test_r23_wait_for_that_runs_out_cancels_that_child_alone(world):
    async with Nursery() as nursery:
        slow = nursery.start_soon(forever())
        sibling = nursery.start_soon(turns(5))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow, 0.001)
    assert slow.cancelled()
    assert not sibling.cancelled()


async def test_r23_current_task_and_all_tasks_know_it(world):
    seen = []

    async def child():
        seen.append(asyncio.current_task())
        await turns(1)

    async with Nursery() as nursery:
        task = nursery.start_soon(child())
        host = asyncio.current_task()
        await turns(1)
        assert {task, host} <= asyncio.all_tasks()
        await turns(2)
        assert task not in asyncio.all_tasks()
        assert asyncio.current_task() is host
    assert seen == [task]


async def test_r23_callbacks_are_called_in_their_context_when_it_is_done(world):
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    def called(task):
        seen.append((task.result(), variable.get()))

    def never(task):
        seen.append("removed")

    async with Nursery() as nursery:
        task = nursery.start_soon(value("result"))
        context = contextvars.copy_context()
        context.run(variable.set, "inside")
        task.add_done_callback(called)
        task.add_done_callback(called, context=context)
        task.add_done_callback(never)
        assert task.remove_done_callback(never) == 1
    await turns(1)
    assert seen == [("result", "outside"), ("result", "inside")]


async def test_r23_it_takes_weak_references_and_attributes(world):
    async with Nursery() as nursery:
        task = nursery.start_soon(turns(2))
        task.colour = "red"
        assert weakref.ref(task)() is task
        assert task.colour == "red"


async def test_r23_it_has_a_name(world):
    async with Nursery() as nursery:
        named = nursery.start_soon(turns(1), name="a-name")
        number = nursery.start_soon(turns(1), name=7)
        other = nursery.start_soon(turns(1))
        assert (named.get_name(), number.get_name()) == ("a-name", "7")
        assert other.get_name().startswith("Task-")
        other.set_name("later")
        assert "later" in repr(other)


async def test_r23_it_runs_in_a_copy_of_the_context_or_in_the_one_it_is_given(world):
    variable = contextvars.ContextVar("variable", default="default")

    async def child():
        before = variable.get()
        variable.set("child's")
        return before

    variable.set("host's")
    context = contextvars.Context()
    async with Nursery() as nursery:
        copied = nursery.start_soon(child())
        given = nursery.start_soon(child(), context=context)
        assert given.get_context() is context
    assert (copied.result(), given.result()) == ("host's", "default")
    assert variable.get() == "host's"
    assert context[variable] == "child's"


async def test_r23_result_and_exception_before_the_end_say_so(world):
    async with Nursery() as nursery:
        task = nursery.start_soon(turns(2))
        with pytest.raises(asyncio.InvalidStateError):
            task.result()
        with pytest.raises(asyncio.InvalidStateError):
            task.exception()
        with pytest.raises(RuntimeError):
            task.set_result(1)


async def test_r23_a_failed_child_keeps_its_error(world):
    error = ValueError("kept")
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            task = nursery.start_soon(fail(error))
    assert task.exception() is error
    with pytest.raises(ValueError, match="kept"):
        task.result()
    with pytest.raises(ValueError, match="kept"):
        await task


async def test_r23_any_way_of_saying_it_starts_a_child(world):
    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "awaitable"

    class Callable:
        async def __call__(self, result):
            return result

    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, "future")
    async with Nursery() as nursery:
        tasks = [
            nursery.start_soon(value("coroutine")),
            nursery.start_soon(value, "function"),
            nursery.start_soon(functools.partial(value, "partial", after=1)),
            nursery.start_soon(Callable(), "callable"),
            nursery.start_soon(lambda: value("lambda")),
            nursery.start_soon(Awaitable()),
            nursery.start_soon(future),
            nursery.start_soon(asyncio.ensure_future(value("task"))),
            nursery.start_soon(asyncio.gather(value(1), value(2))),
            nursery.start_soon(sleep(0, "our own")),
            nursery.start_soon(asyncio.to_thread(lambda: "thread")),
        ]
    assert [task.result() for task in tasks] == [
        *("coroutine", "function", "partial", "callable", "lambda"),
        *("awaitable", "future", "task", [1, 2], "our own", "thread"),
    ]


async def test_r23_a_future_that_fails_fails_the_nursery(world):
    future = asyncio.get_running_loop().create_future()
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(future)
            future.set_exception(ValueError("future"))
    assert [str(error) for error in info.value] == ["future"]


async def test_r23_a_future_is_cancelled_with_its_child(world):
    future = asyncio.get_running_loop().create_future()
    async with Nursery() as nursery:
        nursery.start_soon(future)
        await turns(2)
        nursery.cancel()
    assert future.cancelled()


async def test_r23_a_child_that_awaits_itself_fails(world):
    tasks = []

    async def child():
        await tasks[0]

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            tasks.append(nursery.start_soon(child()))
    assert "await on itself" in str(info.value[0])
    tasks.clear()


async def ready_after(count, result=None, *, task_status, then=0, trace=None):
    await turns(count)
    task_status.started(result)
    await turns(then)
    if trace is not None:
        trace.append("ended")
    return "returned"


async def test_r24_start_returns_what_the_child_hands_to_started(world):
    trace = []
    async with Nursery() as nursery:
        child = functools.partial(ready_after, then=3, trace=trace)
        assert await nursery.start(child, 2, "port 80") == "port 80"
        assert trace == []
        assert len(nursery.children) == 1
    assert trace == ["ended"]


async def test_r24_without_a_value_it_is_none(world):
    async def child(task_status):
        task_status.started()

    async with Nursery() as nursery:
        assert await nursery.start(child) is None


async def test_r24_a_failure_before_it_is_raised_in_the_caller_and_not_in_the_nursery(world):
    async def child(*, task_status):
        await turns(1)
        raise ValueError("not ready")

    async with Nursery() as nursery:
        sibling = nursery.start_soon(turns(6))
        with pytest.raises(ValueError, match="not ready"):
            await nursery.start(child)
        assert not nursery.cancel_scope.cancel_called
    assert not sibling.cancelled()


async def test_r24_a_failure_after_it_is_the_nurserys(world):
    async def child(*, task_status):
        task_status.started()
        await turns(1)
        raise ValueError("later")

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            await nursery.start(child)
            await forever()
    assert [str(error) for error in info.value] == ["later"]


async def test_r24_a_child_that_returns_without_it_is_named(world):
    async def forgets(*, task_status):
        await turns(1)

    async with Nursery() as nursery:
        with pytest.raises(RuntimeError, match=r"forgets.*without calling task_status\.started"):
            await nursery.start(forgets)


async def test_r24_calling_it_twice_is_an_error(world):
    async def child(*, task_status):
        task_status.started(1)
        with pytest.raises(RuntimeError, match="twice"):
            task_status.started(2)

    async with Nursery() as nursery:
        assert await nursery.start(child) == 1


async def test_r24_a_caller_that_is_cancelled_takes_the_child_with_it(world):
    trace = []

    async def child(*, task_status):
        await note_cancellation(trace, "child")

    async with Nursery() as nursery:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await nursery.start(child)
        assert trace == ["child"]
        assert nursery.children == []


async def test_r24_the_child_has_the_functions_name_or_the_one_given(world):
    names = []

    async def child(*, task_status):
        names.append(asyncio.current_task().get_name())
        task_status.started()

    async with Nursery() as nursery:
        await nursery.start(child)
        await nursery.start(child, name="given")
    assert names[0].endswith("child")
    assert names[1] == "given"


async def test_r24_for_a_cancelled_caller_the_child_stays_the_callers(world):
    ran = []

    async def child(*, task_status):
        ran.append(1)
        task_status.started()

    async with Nursery() as nursery:
        nursery.cancel()
        await nursery.start(child)
        # The child stayed the caller's, which is cancelled at the next await.
        ran.append(2)
        await forever()
        pytest.fail("the caller was not cancelled")
    assert ran == [1, 2]


async def test_r24_a_closed_nursery_refuses(world):
    async with Nursery() as nursery:
        pass
    with pytest.raises(NurseryClosed):
        await nursery.start(ready_after, 1)
    gc.collect()
