"""What a typical mistake is answered with: the error says what to write instead."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import sys
import traceback
import warnings
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack

import pytest

import aionursery
from aionursery import CancelScope, Nursery
from aionursery.asgi import LifespanNursery

from .helpers import turns
from .virtual_clock import virtual


@pytest.mark.parametrize("kind", [Nursery, aionursery.TaskGroup])
async def test_a_plain_with_on_a_nursery_says_async_with(world, kind):
    with pytest.raises(TypeError, match="'async with'"):
        with kind():
            pass
    with pytest.raises(TypeError, match="context manager protocol"):
        ExitStack().enter_context(kind())


def test_the_message_makes_no_block_look_like_one_of_the_other_kind():
    assert not isinstance(Nursery(), AbstractContextManager)
    assert not isinstance(CancelScope(), AbstractAsyncContextManager)
    assert isinstance(Nursery(), AbstractAsyncContextManager)
    assert isinstance(CancelScope(), AbstractContextManager)
    assert not hasattr(Nursery(), "__enter__") and not hasattr(Nursery, "__enter__")
    assert not hasattr(CancelScope(), "__aenter__") and not hasattr(CancelScope, "__aenter__")


@pytest.mark.parametrize(
    "make",
    [
        CancelScope,
        lambda: aionursery.fail_after(1),
        lambda: aionursery.move_on_after(1),
        aionursery.shield,
    ],
)
async def test_an_async_with_on_a_scope_says_with(world, make):
    with pytest.raises(TypeError, match=r"[^c] 'with'"):
        async with make():
            pass


@pytest.mark.parametrize("way", ["run", "Runner"])
def test_run_of_a_function_says_to_call_it(way):
    async def main() -> None:
        raise AssertionError("it must not run")

    with pytest.raises((TypeError, ValueError)) as caught:
        if way == "run":
            aionursery.run(main)
        else:
            with aionursery.Runner() as runner:
                runner.run(main)
    asyncio_says = TypeError if sys.version_info >= (3, 14) else ValueError
    assert type(caught.value) is asyncio_says
    shown = "".join(traceback.format_exception(caught.value))
    assert "main is a function; call it: run(main())" in shown


def test_run_of_a_lambda_says_to_call_it():
    with pytest.raises((TypeError, ValueError)) as caught:
        aionursery.run(lambda: turns(1))
    assert caught.value.__notes__ == ["<lambda> is a function; call it"]


def test_run_leaves_the_errors_of_a_program_as_they_are():
    async def main() -> None:
        raise ValueError("the program's")

    with pytest.raises(ValueError, match="the program's") as caught:
        aionursery.run(main())
    assert not getattr(caught.value, "__notes__", [])
    with pytest.raises((TypeError, ValueError)) as caught:
        aionursery.run(3)
    assert not getattr(caught.value, "__notes__", [])


def test_a_scope_given_seconds_says_which_argument_takes_them():
    with pytest.raises(TypeError, match=r"relative_deadline=.*fail_after.*move_on_after"):
        CancelScope(5)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (aionursery.fail_after, "delay"),
        (aionursery.move_on_at, "deadline"),
        (lambda given: Nursery(deadline=given), "deadline"),
        (lambda given: CancelScope(relative_deadline=given), "relative_deadline"),
        (lambda given: CancelScope(cleanup=given), "cleanup"),
        (lambda given: setattr(CancelScope(), "deadline", given), "deadline"),
        (lambda given: setattr(CancelScope(), "cleanup", given), "cleanup"),
        (lambda given: CancelScope().cancel_after(given), "seconds"),
        (lambda given: Nursery().shutdown(given), "grace"),
        (lambda given: aionursery.graceful(Nursery(), grace=given), "grace"),
        (lambda given: LifespanNursery(Nursery, grace=given), "grace"),
        (lambda given: aionursery.shield(deadline=given), "deadline"),
        (aionursery.sleep, "delay"),
        (aionursery.sleep_until, "deadline"),
        (aionursery.warn_stuck_after, "seconds"),
    ],
)
def test_what_is_no_number_is_shown_with_the_argument_it_was_given_for(make, name):
    with pytest.raises(TypeError, match=f"^{name} must be a number, not '3'$"):
        make("3")

    class Broken:
        def __float__(self):
            raise TypeError("its own")

    with pytest.raises(TypeError, match=r"^its own$"):
        make(Broken())


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (aionursery.fail_after, "delay"),
        (lambda given: CancelScope(relative_deadline=given), "relative_deadline"),
        (lambda given: Nursery(cleanup=given), "cleanup"),
        (lambda given: setattr(CancelScope(), "cleanup", given), "cleanup"),
        (lambda given: Nursery().shutdown(given), "grace"),
        (lambda given: aionursery.graceful(Nursery(), grace=given), "grace"),
        (lambda given: LifespanNursery(Nursery, grace=given), "grace"),
    ],
)
def test_a_negative_time_is_shown(make, name):
    with pytest.raises(ValueError, match=f"^{name} must not be negative, not -1.5$"):
        make(-1.5)


async def test_an_async_generator_is_refused_with_how_to_read_it(world):
    async def numbers():
        yield 1

    for given in (numbers, numbers()):
        with pytest.raises(aionursery.MultiError) as caught:
            async with Nursery() as nursery:
                nursery.start_soon(given)
        (refusal,) = caught.value.exceptions
        assert type(refusal) is TypeError
        assert "read with 'async for'" in str(refusal) and "missing 'async'" not in str(refusal)


def test_a_nursery_given_a_number_says_which_arguments_take_one():
    class Sub(Nursery):
        pass

    for kind in (Nursery, Sub):
        with pytest.raises(TypeError, match=r"relative_deadline=.*limit="):
            kind(5)


async def test_a_limit_that_is_no_int_is_shown(world):
    for limit in (2.5, "3"):
        with pytest.raises(TypeError, match=f"^limit must be an int or None, not {limit!r}$"):
            Nursery(limit=limit)


async def test_shield_of_a_coroutine_says_that_it_is_a_block(world):
    waits = aionursery.sleep_forever()
    with pytest.raises(TypeError, match=r"'with shield\(\):'.*shield=True"):
        aionursery.shield(waits)
    waits.close()


async def test_a_future_of_a_pool_is_refused_with_how_to_await_it(world):
    with pytest.raises(aionursery.MultiError) as caught:
        async with Nursery() as nursery:
            nursery.start_soon(concurrent.futures.Future())
    assert "asyncio.wrap_future()" in str(caught.value[0])


async def test_a_checkpoint_that_is_never_awaited_is_warned_of(world):
    for make in (aionursery.checkpoint, lambda: aionursery.sleep(0)):
        with pytest.warns(RuntimeWarning, match=r"checkpoint\(\) or sleep\(0\) was never awaited"):
            make()


async def test_start_says_what_is_wrong_with_its_function(world):
    async def serve(port):
        raise AssertionError("it must not run")

    async def ready(*, task_status):
        raise AssertionError("it must not run")

    class Late:
        def __call__(self, *, task_status):
            return {}["'task_status'"]

    async with Nursery() as nursery:
        with pytest.raises(TypeError, match=r"not <coroutine.*pass the function itself"):
            await nursery.start(serve(5))
        with pytest.raises(TypeError, match=r"with task_status=.*does not take.*start_soon"):
            await nursery.start(serve, 5)
        with pytest.raises(TypeError, match="returned None instead of an awaitable"):
            await nursery.start(lambda task_status: None)
        with pytest.raises(TypeError, match=r"'port'.*functools.partial"):
            await nursery.start(serve, port=5)
        # What the function itself raises is left as it is.
        with pytest.raises(TypeError, match=r"ready\(\) takes 0 positional arguments"):
            await nursery.start(ready, 5)
        with pytest.raises(KeyError):
            await nursery.start(Late())


async def test_what_calls_an_async_function_says_so_of_anything_else(world):
    with pytest.raises(TypeError, match=r"^map\(\) takes an async function.*not \[1, 2\]"):
        await aionursery.map([1, 2], turns)
    with pytest.raises(aionursery.MultiError) as caught:
        await aionursery.map(str, [1])
    assert "returned '1' instead of an awaitable; is it missing 'async'" in str(caught.value[0])
    with pytest.raises(aionursery.MultiError) as caught:
        await aionursery.race(str, int)
    assert "race() was given the function <class 'str'>, which returned ''" in str(caught.value[0])
    with pytest.raises(TypeError, match=r"^supervise\(\) takes.*pass the function itself$"):
        await aionursery.supervise(turns(1))
    with pytest.raises(aionursery.SupervisorError) as caught:
        await aionursery.supervise(int, max_restarts=0)
    assert "returned 0 instead of an awaitable" in str(caught.value[0])
    with pytest.raises(TypeError, match=r"^from_thread.run\(\) takes.*pass the function itself$"):
        await aionursery.to_thread(lambda: aionursery.from_thread.run(turns(1)))
    with pytest.raises(TypeError, match=r"^from_thread.run\(\) was given.*returned 0 instead of"):
        await aionursery.to_thread(aionursery.from_thread.run, int)


async def test_a_result_in_place_of_a_function_says_to_pass_the_function(world):
    with pytest.raises(TypeError, match=r"not 3; pass the function itself$"):
        await aionursery.to_thread(3)
    with CancelScope() as scope:
        with pytest.raises(TypeError, match=r"not 3; pass the function itself$"):
            scope.on_cancel(3)


async def test_as_completed_of_coroutines_says_to_start_them_and_closes_them(world):
    with pytest.raises(TypeError, match=r"takes tasks, not <coroutine.*start_soon"):
        aionursery.as_completed([turns(1), turns(1)])


def test_graceful_of_a_class_says_to_call_it():
    with pytest.raises(TypeError, match=r"graceful\(Nursery\(\)\)"):
        aionursery.graceful(Nursery)


async def test_a_safe_channel_of_what_is_no_generator_says_so(world):
    async def nothing():
        pass

    with pytest.raises(TypeError, match="has no 'yield'"):
        aionursery.as_safe_channel(nothing)
    with pytest.raises(TypeError, match=r"returned \[1\]$"):
        async with aionursery.as_safe_channel(lambda: [1])():
            pass


ENTERED = [
    lambda deadline: Nursery(deadline=deadline),
    lambda deadline: CancelScope(deadline=deadline),
    lambda deadline: aionursery.move_on_at(deadline),
]


async def enter(block):
    """Enter and leave it; return its scope."""
    if isinstance(block, Nursery):
        async with block:
            await aionursery.checkpoint()
        return block.cancel_scope
    with block:
        await aionursery.checkpoint()
    return block


# The virtual clock shows 1000 seconds when its loop is made.


@virtual
async def test_r21_a_deadline_before_the_loop_was_made_is_warned_of():
    said = r"deadline=5 lies before the event loop was made.*relative_deadline=5, fail_after\(5\)"
    for make in ENTERED:
        with pytest.warns(RuntimeWarning, match=said) as caught:
            scope = await enter(make(5))
        assert [warning.filename for warning in caught] == [__file__]
        assert scope.cancelled_caught and scope.source == "deadline"


@virtual
async def test_r21_a_deadline_that_is_set_before_the_loop_was_made_is_warned_of():
    with CancelScope() as scope:
        with pytest.warns(RuntimeWarning, match="deadline=5 lies before the event loop was made"):
            scope.deadline = 5
        await aionursery.checkpoint()
    assert scope.cancelled_caught


@virtual
async def test_r21_a_deadline_that_may_have_been_meant_is_no_mistake():
    for make in ENTERED:
        for deadline in [-math.inf, -1, 0, 990, 999.5, 1000, 1001, math.inf]:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                scope = await enter(make(deadline))
            assert scope.cancelled_caught == (deadline <= 1000)


@virtual
async def test_r21_a_deadline_refused_as_a_warning_leaves_nothing_entered():
    before = aionursery.current_effective_deadline()
    for make in ENTERED:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(RuntimeWarning):
                await enter(make(5))
    assert aionursery.current_effective_deadline() == before
    await aionursery.checkpoint()


def an_event():
    event = aionursery.Event()
    return event.wait(), event.set


def a_queue():
    queue: aionursery.Queue[int] = aionursery.Queue()
    return queue.get(), lambda: queue.put_nowait(1)


def a_semaphore():
    semaphore = aionursery.Semaphore(0)
    return semaphore.acquire(), semaphore.release


def a_channel():
    send, receive = aionursery.open_channel[int](0)

    def put():
        send.send_nowait(1)

    return receive.receive(), put


@pytest.mark.parametrize("make", [an_event, a_queue, a_semaphore, a_channel])
async def test_r11_what_would_wake_a_task_late_from_another_thread_is_refused(world, make):
    async with Nursery() as nursery:
        wait, wake = make()
        waiting = nursery.start_soon(wait)
        await turns(2)
        with pytest.raises(RuntimeError, match=r"another thread.*call_soon_threadsafe"):
            await asyncio.to_thread(wake)
        assert not waiting.done()
        waiting.cancel()
