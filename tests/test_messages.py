"""What a typical mistake is answered with: the error says what to write instead."""

from __future__ import annotations

import asyncio
import math
import sys
import traceback
import warnings
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack

import pytest

import aionursery
from aionursery import CancelScope, Nursery

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
