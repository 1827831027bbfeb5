"""Clear errors, nothing lost: a refusal names what was passed and says what to do instead."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest

from aionursery import CancelScope, Nursery, NurseryClosed, shield, sleep, sleep_forever

from .helpers import Trace, forever, turns


@contextlib.contextmanager
def no_warnings():
    """A coroutine that was never awaited, and anything else that is warned about, is an error."""
    unraisable = []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            yield
            gc.collect()
        assert [str(warning.message) for warning in seen] == []
        assert unraisable == []
    finally:
        sys.unraisablehook = hook


@pytest.mark.parametrize("start", ["start_soon", "start_now"])
@pytest.mark.parametrize(
    "thing", [5, None, "text", [1], object()], ids=["int", "None", "str", "list", "object"]
)
async def test_r2_what_cannot_be_awaited_is_named(world, start, thing):
    async with Nursery() as nursery:
        with pytest.raises(TypeError, match="needs a coroutine, an awaitable") as info:
            getattr(nursery, start)(thing)
        assert repr(thing) in str(info.value)
        assert nursery.children == []


async def test_r2_a_plain_function_that_returns_no_awaitable_is_named(world):
    def plain():
        return 42

    async with Nursery() as nursery:
        with pytest.raises(
            TypeError, match=r"plain.*returned 42.*async.*start_thread.*start_process"
        ):
            nursery.start_soon(plain)


async def test_r2_a_function_that_raises_raises_where_it_was_called(world):
    def fails():
        raise LookupError("in the function")

    async with Nursery() as nursery:
        with pytest.raises(LookupError, match="in the function"):
            nursery.start_soon(fails)
        with pytest.raises(TypeError, match="argument"):
            nursery.start_soon(turns)


async def test_r2_arguments_beside_a_coroutine_are_refused_and_it_is_closed(world):
    async with Nursery() as nursery:
        coroutine = turns(1)
        with no_warnings():
            with pytest.raises(TypeError, match=r"takes no arguments beside.*start_soon\(fn, "):
                nursery.start_soon(coroutine, 1)
            assert coroutine.cr_frame is None
            del coroutine


@pytest.mark.parametrize("start", ["start_soon", "start_now"])
async def test_r2_an_unknown_keyword_is_named_and_the_coroutine_closed(world, start):
    async with Nursery() as nursery:
        with no_warnings():
            with pytest.raises(TypeError, match=rf"{start}\(\).*'colour'.*functools\.partial"):
                getattr(nursery, start)(turns(1), colour="red")
        await nursery.start_soon(functools.partial(sleep, delay=0, result=1))


async def test_r2_nothing_at_all_is_refused(world):
    async with Nursery() as nursery:
        with pytest.raises(TypeError, match="needs a coroutine"):
            nursery.start_soon()


async def test_r2_a_wrong_context_is_refused_and_the_coroutine_closed(world):
    async with Nursery() as nursery:
        with no_warnings():
            with pytest.raises(TypeError, match=r"context must be a contextvars.Context"):
                nursery.start_soon(turns(1), context={})


async def test_r2_a_name_that_cannot_be_shown_is_refused_and_the_coroutine_closed(world):
    class Unspeakable:
        def __str__(self):
            raise LookupError("no name")

    async with Nursery() as nursery:
        with no_warnings():
            with pytest.raises(LookupError, match="no name"):
                nursery.start_soon(turns(1), name=Unspeakable())
        assert nursery.children == []


async def test_r2_a_coroutine_that_was_already_started_is_refused(world):
    async with Nursery() as nursery:
        coroutine = forever()
        coroutine.send(None)
        with pytest.raises(RuntimeError, match=r"forever.*already started or awaited elsewhere"):
            nursery.start_soon(coroutine)
        coroutine.close()


async def test_r2_a_coroutine_that_is_awaited_by_another_task_is_refused(world):
    async with Nursery() as nursery:
        coroutine = turns(3)
        task = asyncio.ensure_future(coroutine)
        await turns(1)
        with pytest.raises(RuntimeError, match="already started or awaited elsewhere"):
            nursery.start_soon(coroutine)
        await task
        with pytest.raises(RuntimeError, match="already started or awaited elsewhere"):
            nursery.start_soon(coroutine)


async def test_r2_one_coroutine_started_twice_fails_and_runs_once(world):
    trace = Trace()
    async with Nursery(on_error="collect") as nursery:
        coroutine = trace.value(1)
        nursery.start_soon(coroutine)
        await turns(2)
        with pytest.raises(RuntimeError, match="already started"):
            nursery.start_soon(coroutine)
    assert trace == [1]


@pytest.mark.parametrize("start", ["start_soon", "start_now"])
async def test_r2_a_nursery_not_entered_refuses_and_closes(world, start):
    nursery = Nursery()
    with no_warnings():
        with pytest.raises(RuntimeError, match=r"has not been entered.*async with Nursery"):
            getattr(nursery, start)(turns(1))


@pytest.mark.parametrize("start", ["start_soon", "start_now"])
@pytest.mark.parametrize("make", [lambda: turns(1), lambda: sleep(1), sleep_forever])
async def test_r2_a_closed_nursery_refuses_and_closes(world, start, make):
    async with Nursery() as nursery:
        pass
    with no_warnings():
        with pytest.raises(NurseryClosed, match="closed"):
            getattr(nursery, start)(make())


async def test_r2_a_closed_nursery_does_not_call_the_function(world):
    called = []
    async with Nursery() as nursery:
        pass
    with pytest.raises(NurseryClosed):
        nursery.start_soon(called.append, 1)
    assert called == []


async def test_r2_start_in_a_closed_nursery_is_refused(world):
    async def child(*, task_status):
        task_status.started()

    async with Nursery() as nursery:
        pass
    with no_warnings():
        with pytest.raises(NurseryClosed, match="closed"):
            await nursery.start(child)


@pytest.mark.parametrize("start", ["start_soon", "start_now"])
async def test_r2_another_thread_is_told_what_to_call(world, start):
    async with Nursery() as nursery:
        with no_warnings():
            with pytest.raises(RuntimeError, match=r"another thread.*call_soon_threadsafe"):
                await asyncio.to_thread(getattr(nursery, start), turns(1))
        assert nursery.children == []


async def test_r2_what_the_message_about_threads_says_to_do_works(world):
    done = []

    def in_thread(loop, nursery):
        loop.call_soon_threadsafe(nursery.start_soon, Trace.value, done, 1)

    async with Nursery() as nursery:
        await asyncio.to_thread(in_thread, asyncio.get_running_loop(), nursery)
        # From 3.14 on, the result of a thread that was faster than us is there without a turn.
        await turns(1)
    assert done == [1]


@pytest.mark.parametrize("start", ["start_soon", "start_now"])
async def test_r2_another_loop_is_refused(world, start):
    async def elsewhere(nursery):
        getattr(nursery, start)(turns(1))

    def run(nursery):
        asyncio.run(elsewhere(nursery))

    async with Nursery() as nursery:
        with no_warnings():
            with pytest.raises(RuntimeError, match="another event loop"):
                await asyncio.to_thread(run, nursery)


@pytest.mark.parametrize("asked", [None, "task", "nursery"])
def test_r2_another_loop_in_the_same_thread_is_refused(world, asked):
    """Also once it has cancelled a task there, which waits in a loop that does not run."""
    first = world.new_loop()
    second = world.new_loop()
    nurseries = []

    async def opens(event):
        async with Nursery() as nursery:
            nurseries.append(nursery)
            nurseries.append(nursery.start_soon(sleep_forever))
            await event.wait()
            nurseries[1].cancel()

    async def intrudes():
        if asked:
            nurseries[asked == "task"].cancel()
        for start in "start_soon", "start_now", "start_service":
            coro = turns(1)
            with pytest.raises(RuntimeError, match="another event loop"):
                getattr(nurseries[0], start)(coro)
            coro.close()

    async def one_turn():
        await turns(2)

    try:
        event = asyncio.Event()
        task = first.create_task(opens(event))
        first.run_until_complete(one_turn())
        with no_warnings():
            second.run_until_complete(intrudes())
        event.set()
        first.run_until_complete(task)
    finally:
        first.close()
        second.close()


async def test_r2_a_future_of_another_loop_is_named(world):
    other = asyncio.new_event_loop()
    future = other.create_future()
    try:
        async with Nursery() as nursery:
            with pytest.raises(RuntimeError, match=r"Future pending.*another event loop"):
                nursery.start_soon(future)
    finally:
        future.cancel()
        other.close()


def test_r2_entering_without_a_loop_says_so():
    coroutine_or_error = None
    with pytest.raises(RuntimeError, match=r"running event loop|no running"):
        coroutine_or_error = Nursery().__aenter__()
    assert coroutine_or_error is None


async def test_r2_entering_outside_of_a_task_says_so(world):
    errors = []

    def callback():
        for enter in (Nursery().__aenter__, CancelScope().__enter__):
            try:
                enter()
            except RuntimeError as error:
                errors.append(str(error))

    asyncio.get_running_loop().call_soon(callback)
    await turns(2)
    assert len(errors) == 2
    assert all("task" in error for error in errors)


async def test_r2_leaving_without_having_entered_says_so(world):
    with pytest.raises(RuntimeError, match="without having been entered"):
        await Nursery().__aexit__(None, None, None)
    with pytest.raises(RuntimeError, match="without having been entered"):
        CancelScope().__exit__(None, None, None)


async def test_r2_the_second_entry_by_another_task_is_refused_and_harms_nothing(world):
    async def second(nursery):
        with pytest.raises(RuntimeError, match="already entered"):
            async with nursery:
                pytest.fail("entered twice")

    async with Nursery() as nursery:
        task = nursery.start_soon(second, nursery)
    assert task.exception() is None


async def test_cancel_from_another_thread_says_what_to_call(world):
    async with Nursery() as nursery:
        for call in (nursery.cancel, nursery.cancel_remaining, nursery.cancel_scope.cancel):
            with pytest.raises(RuntimeError, match=r"another thread.*call_soon_threadsafe"):
                await asyncio.to_thread(call)
    assert not nursery.cancel_scope.cancel_called


async def test_cancel_remaining_before_entry_says_what_to_write(world):
    with pytest.raises(RuntimeError, match=r"has not been entered.*async with"):
        Nursery().cancel_remaining()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Nursery(on_error="ignore"), "on_error.*cancel.*collect.*ignore"),
        (lambda: Nursery(cleanup=-1), "^cleanup must not be negative, not -1$"),
        (lambda: Nursery(deadline=float("nan")), "deadline must not be NaN"),
        (lambda: CancelScope(cleanup=float("nan")), "cleanup must not be NaN"),
        (lambda: CancelScope(deadline=float("nan")), "deadline must not be NaN"),
        (lambda: shield(cleanup=-1), "cleanup must not be negative"),
        (lambda: sleep(float("nan")), "delay must not be NaN"),
    ],
)
def test_a_wrong_setting_is_refused_when_it_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


async def test_pep_789_a_generator_that_yields_in_a_nursery_is_named_if_another_task_ends_it(world):
    async def generator():
        async with Nursery() as nursery:
            nursery.start_soon(turns(1))
            yield 1
            yield 2

    async def finishes(values):
        async for _ in values:
            pass

    async def begins(finishers):
        values = generator()
        assert await anext(values) == 1
        finishers.append(asyncio.ensure_future(finishes(values)))
        await forever()

    finishers = []
    beginner = asyncio.ensure_future(begins(finishers))
    await turns(2)
    with pytest.raises(RuntimeError, match=r"another task than entered it.*PEP 789"):
        await finishers[0]
    # Nothing but the nursery's children is cancelled.
    assert not beginner.done() and beginner.cancelling() == 0
    beginner.cancel()
    await asyncio.wait([beginner])


async def test_pep_789_scopes_left_in_the_wrong_order_are_named(world):
    outer, inner = CancelScope(), CancelScope()
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(RuntimeError, match=r"reverse order.*PEP 789"):
        outer.__exit__(None, None, None)
    # It has gone, and the other goes on.
    inner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await forever()
    assert not inner.__exit__(None, None, None)


async def test_pep_789_a_nursery_left_before_a_scope_inside_it_is_named_and_cancelled(world):
    nursery = Nursery()
    await nursery.__aenter__()
    child = nursery.start_soon(forever())
    await turns(1)
    scope = CancelScope()
    scope.__enter__()
    with pytest.raises(RuntimeError, match="reverse order"):
        await nursery.__aexit__(None, None, None)
    assert child.cancelled() and nursery.closed
    scope.__exit__(None, None, None)


async def test_a_scope_left_in_another_task_is_named(world):
    scope = CancelScope()
    scope.__enter__()

    async def leaves():
        scope.__exit__(None, None, None)

    with pytest.raises(RuntimeError, match="another task than entered it"):
        await asyncio.ensure_future(leaves())
    await turns(1)


async def test_a_scope_left_in_another_thread_is_named(world):
    with CancelScope() as scope:
        with pytest.raises(RuntimeError, match="another thread"):
            await asyncio.to_thread(scope.__exit__, None, None, None)


async def test_a_scope_is_used_once(world):
    scope = CancelScope()
    with scope:
        with pytest.raises(RuntimeError, match=r"already entered.*make a new one"):
            scope.__enter__()
    with pytest.raises(RuntimeError, match=r"already used.*make a new one"):
        scope.__enter__()


def run_alone(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_interpreter_that_shuts_down_with_a_nursery_open_does_not_crash():
    done = run_alone(
        """
        import asyncio, aionursery

        async def host():
            async with aionursery.Nursery() as nursery:
                nursery.start_soon(asyncio.sleep(1000))
                nursery.start_soon(aionursery.sleep(1000))
                await aionursery.sleep_forever()

        loop = asyncio.new_event_loop()
        task = loop.create_task(host())
        loop.run_until_complete(asyncio.sleep(0))
        print("ends", flush=True)
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ends\n"


def test_a_child_that_ends_while_the_interpreter_shuts_down_does_not_crash_it():
    done = run_alone(
        """
        import asyncio, aionursery

        class Finishes:
            def __init__(self, loop):
                self.loop = loop
                self.run = loop.run_until_complete
                self.wait = asyncio.sleep

            def __del__(self):
                event.set()
                self.run(self.wait(0))
                print("turned", flush=True)

        async def host():
            async with aionursery.Nursery() as nursery:
                nursery.start_soon(event.wait())

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        event = asyncio.Event()
        task = loop.create_task(host())
        loop.run_until_complete(asyncio.sleep(0))
        import sys
        sys.modules["keeps"] = Finishes(loop)
        """
    )
    assert done.returncode == 0, done.stderr


def test_r9_sys_exit_in_a_child_gives_the_program_its_code():
    done = run_alone(
        """
        import sys, aionursery

        async def child():
            sys.exit(7)

        async def host():
            async with aionursery.Nursery() as nursery:
                nursery.start_soon(child())
                await aionursery.sleep_forever()

        aionursery.run(host())
        """
    )
    assert (done.returncode, done.stderr) == (7, "")


def test_a_nursery_used_by_many_threads_with_a_loop_each_works():
    results = []

    async def host(number):
        async with Nursery() as nursery:
            tasks = [nursery.start_soon(sleep(0, number)) for _ in range(20)]
        results.append({task.result() for task in tasks})

    threads = [
        threading.Thread(target=lambda number=number: asyncio.run(host(number)))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results, key=min) == [{number} for number in range(8)]
