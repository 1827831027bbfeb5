"""`CancelScope.on_cancel`: what is called in the moment in which a cancellation reaches a scope."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest

import aionursery
from aionursery import CancelScope, MultiError, Nursery, fail_after, move_on_after, shield

from .helpers import Trace, fail, forever, turns
from .loop_kinds import KINDS


async def test_r12b_a_function_is_called_before_cancel_returns_and_once(world):
    trace = Trace()
    with CancelScope() as scope:
        scope.on_cancel(trace.append, "one")
        scope.on_cancel(trace.append, "two")
        assert trace == []
        scope.cancel()
        assert trace == ["one", "two"]
        scope.cancel()
        await aionursery.checkpoint()
    assert trace == ["one", "two"]
    assert scope.cancelled_caught


async def test_r12b_tasks_have_been_told_before(world):
    trace = Trace()

    async def child():
        try:
            await forever()
        finally:
            trace.append("the child ends")

    async with Nursery() as nursery:
        task = nursery.start_soon(child)
        await turns(2)
        scope = nursery.cancel_scope
        scope.on_cancel(lambda: trace.append(task.cancelling()))
        scope.cancel()
    assert trace == [1, "the child ends"]


async def test_r12b_every_source_of_a_cancellation_calls(world):
    trace = Trace()

    async def body(scope, name):
        scope.on_cancel(trace.append, name)
        await forever()

    with move_on_after(0.01) as scope:
        await body(scope, "its deadline")
    with pytest.raises(TimeoutError):
        with fail_after(0.01):
            with CancelScope() as scope:
                await body(scope, "a deadline outside")
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(fail(LookupError()))
            await body(nursery.cancel_scope, "a failure")
    async with Nursery() as outer:
        outer.start_soon(body(outer.cancel_scope, "a cancel outside"))
        await turns(2)
        outer.cancel()

    async def host():
        async with Nursery() as nursery:
            await body(nursery.cancel_scope, "its host's end")

    task = asyncio.ensure_future(host())
    await turns(2)
    task.cancel()
    await asyncio.wait([task])
    assert trace == [
        "its deadline",
        "a deadline outside",
        "a failure",
        "a cancel outside",
        "its host's end",
    ]


async def test_r12b_a_bare_cancellation_of_the_task_cancels_no_scope(world):
    trace = Trace()

    async def child():
        with CancelScope() as scope:
            scope.on_cancel(trace.append, "called")
            await forever()

    task = asyncio.ensure_future(child())
    await turns(2)
    task.cancel()
    await asyncio.wait([task])
    assert trace == []


async def test_r12b_a_shield_holds_it_back_until_it_falls(world):
    trace = Trace()
    with CancelScope() as outer:
        with shield() as inner:
            inner.on_cancel(trace.append, "called")
            outer.cancel()
            assert trace == []
            inner.shield = False
            assert trace == ["called"]
        await aionursery.checkpoint()


async def test_r12b_on_a_cancelled_scope_it_is_called_at_once(world):
    trace = Trace()
    with CancelScope() as outer:
        outer.cancel()
        with CancelScope() as scope:
            remove = scope.on_cancel(trace.append, "called")
            assert trace == ["called"]
            assert remove() is False


async def test_r21_a_deadline_that_has_passed_while_the_task_computed_counts(world):
    trace = Trace()
    with CancelScope() as scope:
        scope.deadline = aionursery.current_time() + 0.001
        end = aionursery.current_time() + 0.002
        while aionursery.current_time() < end:
            pass
        scope.on_cancel(trace.append, "called")
        assert trace == ["called"]
        await aionursery.checkpoint()


async def test_r12b_it_is_taken_off_by_hand_and_by_leaving_the_block(world):
    trace = Trace()
    with CancelScope() as scope:
        remove = scope.on_cancel(trace.append, "taken off")
        other = scope.on_cancel(trace.append, "other")
        assert remove() is True
        assert remove() is False
        scope.cancel()
        assert other() is False
        await aionursery.checkpoint()
    with CancelScope() as outer:
        with CancelScope() as scope:
            left = scope.on_cancel(trace.append, "left")
        outer.cancel()
        assert left() is False
        await aionursery.checkpoint()
    assert trace == ["other"]


async def test_r12b_outside_of_the_block_it_is_refused(world):
    scope = CancelScope()
    with pytest.raises(RuntimeError, match="not entered yet"):
        scope.on_cancel(print)
    with scope:
        pass
    with pytest.raises(RuntimeError, match="was left"):
        scope.on_cancel(print)
    with pytest.raises(RuntimeError, match="not entered yet"):
        Nursery().cancel_scope.on_cancel(print)


async def test_an_async_function_is_refused_by_a_message_that_helps(world):
    async def close():
        pass

    with CancelScope() as scope:
        with pytest.raises(TypeError, match="plain function"):
            scope.on_cancel(close)
        with pytest.raises(TypeError, match="plain function"):
            scope.on_cancel(3)


@pytest.mark.reports
async def test_what_gives_a_coroutine_after_all_is_reported_and_the_coroutine_closed(world):
    async def close():
        pass

    with CancelScope() as scope:
        scope.on_cancel(lambda: close())
        scope.cancel()
        await aionursery.checkpoint()
    (report,) = world.reports
    assert "plain function" in str(report["exception"])


@pytest.mark.reports
async def test_r7_an_error_is_reported_and_the_next_function_called(world):
    trace = Trace()

    def broken():
        raise LookupError("broken")

    with CancelScope() as scope:
        scope.on_cancel(broken)
        scope.on_cancel(trace.append, "called")
        scope.cancel()
        assert trace == ["called"]
        await aionursery.checkpoint()
    (report,) = world.reports
    assert "on_cancel" in report["message"]
    assert str(report["exception"]) == "broken"


async def test_r31_a_function_may_cancel_register_and_take_off(world):
    trace = Trace()
    removes = []

    def first():
        trace.append("first")
        inner.cancel("by the first")
        trace.append([remove() for remove in removes])
        outer.on_cancel(trace.append, "at once")

    with CancelScope() as outer, CancelScope() as inner:
        inner.on_cancel(trace.append, "inner")
        outer.on_cancel(first)
        removes.append(outer.on_cancel(trace.append, "second"))
        outer.cancel("from outside")
        await aionursery.checkpoint()
    # What one cancellation calls was decided before the first was called.
    assert trace == ["first", [False], "at once", "second", "inner"]


async def test_a_function_runs_in_a_copy_of_the_context_in_which_it_was_registered(world):
    variable = contextvars.ContextVar("variable", default="unset")
    trace = Trace()

    def look():
        trace.append(variable.get())
        variable.set("changed")

    with CancelScope() as scope:
        variable.set("registered")
        scope.on_cancel(look)
        variable.set("later")
        scope.cancel()
        assert (trace, variable.get()) == (["registered"], "later")
        await aionursery.checkpoint()


async def test_r10_what_is_registered_goes_with_the_scope(world):
    class Handle:
        def stop(self):
            pass

    handle = Handle()
    reference = weakref.ref(handle)
    with CancelScope() as scope:
        scope.on_cancel(handle.stop)
        del handle
        assert reference() is not None
    assert reference() is None


class Goes:
    """A function whose destructor opens, cancels and leaves a scope and a nursery's children."""

    def __init__(self, trace):
        self.trace = trace

    def __call__(self):
        pass

    def __del__(self):
        with CancelScope() as scope:
            scope.on_cancel(self.trace.append, "called")
            scope.cancel()
        self.trace.append("gone")


async def test_r31_a_destructor_of_what_was_registered_may_do_anything(world):
    trace = Trace()
    with CancelScope() as scope:
        scope.on_cancel(Goes(trace))
    assert trace == ["called", "gone"]
    with pytest.raises(LookupError):
        with CancelScope() as scope:
            scope.on_cancel(Goes(trace))
            raise LookupError
    assert trace == ["called", "gone"] * 2
    with pytest.raises(TimeoutError):
        with fail_after(0) as scope:
            scope.on_cancel(Goes(trace))
            await forever()
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.cancel_scope.on_cancel(Goes(trace))
            nursery.start_soon(fail(LookupError()))
    async with Nursery() as nursery:
        nursery.cancel_scope.on_cancel(Goes(trace))
        nursery.start_soon(turns, 1)
    with CancelScope() as scope:
        remove = scope.on_cancel(Goes(trace))
        assert remove()
        del remove
    gc.collect()
    assert trace == ["called", "gone"] * 6
    assert asyncio.current_task().cancelling() == 0


async def test_r3_what_a_block_that_is_left_wrongly_has_registered_goes_uncalled(world):
    trace = Trace()
    outer, inner = CancelScope(), CancelScope()
    outer.__enter__()
    inner.__enter__()
    outer.on_cancel(Goes(trace))
    inner.on_cancel(trace.append, "the inner one is cancelled")
    with pytest.raises(RuntimeError, match="still open"):
        outer.__exit__(None, None, None)
    assert trace == ["the inner one is cancelled", "called", "gone"]
    with pytest.raises(asyncio.CancelledError):
        await aionursery.checkpoint()
    inner.__exit__(None, None, None)

    async def careless():
        CancelScope().__enter__().on_cancel(Goes(trace))

    async with Nursery() as nursery:
        nursery.start_soon(careless)
    gc.collect()
    assert trace[3:] == ["called", "gone"]


async def test_another_thread_is_refused(world):
    trace = Trace()

    def register(call):
        try:
            call()
        except RuntimeError as error:
            trace.append(str(error))

    with CancelScope() as scope:
        remove = scope.on_cancel(print)
        for call in (lambda: scope.on_cancel(print), remove):
            thread = threading.Thread(target=register, args=(call,))
            thread.start()
            thread.join()
        assert remove() is True
    assert len(trace) == 2 and "call_soon_threadsafe" in trace[0]


@pytest.mark.parametrize("kind", KINDS)
def test_r10_a_loop_that_goes_takes_what_was_registered_along(kind):
    class Handle:
        def stop(self, scope):
            pass

    async def main(references):
        handle = Handle()
        references.append(weakref.ref(handle))
        scope = CancelScope()
        scope.__enter__()
        # A cycle through the tree, which the collector has to see.
        handle.scope = scope
        scope.on_cancel(handle.stop, scope)
        return scope

    references = []
    loop = kind()
    scope = loop.run_until_complete(main(references))
    loop.close()
    del loop, scope
    gc.collect()
    assert references[0]() is None


@pytest.mark.parametrize("kind", KINDS)
def test_r9_a_keyboard_interrupt_leaves_the_loop(kind):
    def interrupt():
        raise KeyboardInterrupt

    async def main():
        with CancelScope() as scope:
            scope.on_cancel(interrupt)
            scope.cancel()
            await forever()

    with pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=kind) as runner:
        runner.run(main())
