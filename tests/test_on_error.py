"""`Nursery(on_error=fn)` and `Nursery(context=)`: what all children of a nursery have in common."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import sys
import weakref

import pytest

from aionursery import BaseMultiError, MultiError, Nursery

from .helpers import Noted, fail, fail_noted, forever, note_cancellation, turns, value

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_r6_a_function_gets_each_error_once_and_the_siblings_go_on(world):
    errors = []
    first, second = ValueError("first"), OSError("second")
    async with Nursery(on_error=errors.append) as nursery:
        failed = nursery.start_soon(fail(first, after=1))
        nursery.start_soon(fail, second)
        other = nursery.start_soon(value("done", after=5))
    assert errors == [second, first]
    assert failed.exception() is first
    assert other.result() == "done"
    assert not nursery.cancel_scope.cancel_called


async def test_r6_the_function_runs_as_an_except_block_does(world):
    first, second = ValueError("first"), OSError("second")

    def broken(error):
        assert sys.exc_info()[1] is error
        if error is first:
            {}[error]
        raise

    with pytest.raises(MultiError) as caught:
        async with Nursery(on_error=broken) as nursery:
            nursery.start_soon(fail, first)
            nursery.start_soon(fail, second)
    lookup, again = caught.value.exceptions
    assert isinstance(lookup, KeyError)
    assert lookup.__context__ is first
    assert again is second
    assert sys.exc_info()[1] is None


async def test_r6_what_the_function_raises_is_the_failure_in_its_place(world):
    trace = []

    def strict(error):
        trace.append(str(error))
        if isinstance(error, OSError):
            raise LookupError("in its place") from error

    with pytest.raises(MultiError) as caught:
        async with Nursery(on_error=strict) as nursery:
            nursery.start_soon(note_cancellation, trace, "sibling")
            nursery.start_soon(fail(ValueError("small")))
            nursery.start_soon(fail(OSError("big"), after=2), name="big one")
            await forever()
    assert trace == ["small", "big", "sibling"]
    assert [str(error) for error in caught.value] == ["in its place"]
    assert isinstance(caught.value[0].__cause__, OSError)
    assert list(caught.value.names) == ["big one"]


async def test_a_function_that_raises_the_error_itself_is_as_none(world):
    def strict(error):
        raise error

    error = ValueError("itself")
    with pytest.raises(MultiError) as caught:
        async with Nursery(on_error=strict) as nursery:
            nursery.start_soon(fail(error))
    assert list(caught.value) == [error]


async def test_r9_what_is_no_exception_is_not_handed_to_it(world):
    errors = []
    with pytest.raises(BaseMultiError) as caught:
        async with Nursery(on_error=errors.append) as nursery:
            nursery.start_soon(fail(GeneratorExit()))
    assert [type(error) for error in caught.value] == [GeneratorExit]
    with pytest.raises(KeyboardInterrupt):
        async with Nursery(on_error=errors.append) as nursery:
            nursery.start_soon(fail(ValueError("handed")))
            await turns(2)
            raise KeyboardInterrupt
    assert [str(error) for error in errors] == ["handed"]


async def test_an_error_of_the_body_is_not_handed_to_it(world):
    errors = []
    with pytest.raises(MultiError):
        async with Nursery(on_error=errors.append):
            raise ValueError("body")
    assert errors == []


async def test_a_cancelled_child_is_no_error(world):
    errors = []
    async with Nursery(on_error=errors.append) as nursery:
        nursery.start_soon(forever)
        await turns(1)
        nursery.cancel()
    assert errors == []


async def test_the_function_may_start_a_child_and_cancel_the_nursery(world):
    trace = []

    def again(error):
        trace.append(str(error))
        if len(trace) < 3:
            nursery.start_soon(fail(ValueError(f"number {len(trace)}")))
        else:
            nursery.cancel("often enough")

    async with Nursery(on_error=again) as nursery:
        nursery.start_soon(fail(ValueError("number 0")))
        nursery.start_soon(note_cancellation, trace, "sibling")
    assert trace == ["number 0", "number 1", "number 2", "sibling"]


async def test_r24_before_started_an_error_is_the_caller_s_and_afterwards_the_function_s(world):
    async def child(when, *, task_status):
        if when == "before":
            raise ValueError(when)
        task_status.started(variable.get())
        await turns(1)
        raise ValueError(when)

    errors = []
    context = contextvars.copy_context()
    context.run(variable.set, "of the nursery")
    async with Nursery(on_error=errors.append, context=context) as nursery:
        with pytest.raises(ValueError, match="before"):
            await nursery.start(child, "before")
        assert await nursery.start(child, "after") == "of the nursery"
    assert [str(error) for error in errors] == ["after"]


async def test_services_threads_and_children_that_wait_for_a_place_are_handed_on_too(world):
    def plain():
        raise ValueError("thread")

    errors = []
    async with Nursery(on_error=errors.append, limit=1) as nursery:
        nursery.start_service(fail, ValueError("service"))
        nursery.start_thread(plain)
        nursery.start_soon(fail(ValueError("waits")))
    assert sorted(map(str, errors)) == ["service", "thread", "waits"]


async def test_an_async_function_is_refused_and_what_gives_a_coroutine_is_the_blocks_error(world):
    async def wrong(error):
        pass

    for given in (wrong, functools.partial(wrong)):
        with pytest.raises(TypeError, match=r"^on_error must be a plain function, not the async"):
            Nursery(on_error=given)
    with pytest.raises(MultiError) as caught:
        async with Nursery(on_error=lambda error: wrong(error)) as nursery:
            nursery.start_soon(fail(ValueError()))
    assert isinstance(caught.value[0], TypeError)


async def test_r10_neither_function_nor_error_is_kept(world):
    class Handler:
        def __call__(self, error):
            pass

    references: list[weakref.ref[Noted]] = []
    gc.disable()
    try:
        handler = Handler()
        async with Nursery(on_error=handler) as nursery:
            nursery.start_soon(fail_noted(references))
        gone = weakref.ref(handler)
        del handler, nursery
        await turns(2)
        assert (gone(), references[0]()) == (None, None)
    finally:
        gc.enable()


@pytest.mark.parametrize("wrong", [3, None, "ignore"])
async def test_what_is_neither_word_nor_function_is_refused(world, wrong):
    with pytest.raises((TypeError, ValueError), match="function"):
        Nursery(on_error=wrong)


async def test_children_run_in_the_nursery_s_context_unless_they_have_one_of_their_own(world):
    async def look(text):
        before = variable.get()
        variable.set(text)
        return before

    shared, own = contextvars.copy_context(), contextvars.copy_context()
    shared.run(variable.set, "shared")
    async with Nursery(context=shared) as nursery:
        first = nursery.start_soon(look, "set by the first")
        second = nursery.start_now(look("unseen"), context=own)
        await first
        third = nursery.start_service(look, "service")
        await third
    assert (first.result(), second.result(), third.result()) == (
        "shared",
        "unset",
        "set by the first",
    )
    assert variable.get() == "unset"
    assert shared[variable] == "service"


async def test_a_context_that_is_none_is_as_not_given_and_another_thing_is_refused(world):
    async with Nursery(context=None) as nursery:
        task = nursery.start_soon(value(1))
    assert task.result() == 1
    with pytest.raises(TypeError, match="context"):
        Nursery(context={})
    assert asyncio.current_task() is not None
