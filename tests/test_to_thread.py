"""`to_thread` and `start_thread`: plain functions in threads that are joined as any child."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import os
import random
import threading

import pytest

import aionursery
from aionursery import (
    CancelScope,
    CapacityLimiter,
    MultiError,
    Nursery,
    check_cancelled,
    current_default_thread_limiter,
    from_thread,
    to_thread,
)

from .helpers import Noted, fail, forever, raise_noted, turns

#: Starts under random cancellation, in all runs of the test together.
STARTS = int(os.environ.get("AIONURSERY_THREAD_STARTS", "800"))


class Thread:
    """A function that says when it runs, and ends when it is let or told to."""

    def __init__(self, *, asks=False):
        self.asks = asks
        self.loop = asyncio.get_running_loop()
        self.running = asyncio.Event()
        self.let = threading.Event()
        self.outcome = None

    def __call__(self, result="returned"):
        self.outcome = "running"
        self.loop.call_soon_threadsafe(self.running.set)
        try:
            while not self.let.wait(0.001):
                if self.asks:
                    check_cancelled()
        except BaseException as exc:
            self.outcome = exc
            raise
        self.outcome = "ended"
        return result


async def test_it_returns_what_the_function_returns_and_raises_what_it_raises(world):
    def divide(a, b):
        assert threading.current_thread() is not threading.main_thread()
        return a / b

    assert await to_thread(divide, 6, 3) == 2
    with pytest.raises(ZeroDivisionError):
        await to_thread(divide, 6, 0)
    assert await to_thread(functools.partial(divide, b=2), 6) == 3
    with pytest.raises(RuntimeError, match="StopIteration"):
        await to_thread(lambda: next(iter([])))


async def test_the_context_is_a_copy_of_the_caller_s(world):
    variable = contextvars.ContextVar("variable", default="default")

    def change():
        before = variable.get()
        variable.set("thread's")
        return before

    variable.set("caller's")
    assert await to_thread(change) == "caller's"
    assert variable.get() == "caller's"


async def test_r3_start_thread_is_a_child_that_the_nursery_joins(world):
    thread = Thread()
    async with Nursery() as nursery:
        task = nursery.start_thread(thread, "result")
        assert "Thread" in task.get_name()
        await thread.running.wait()
        asyncio.get_running_loop().call_later(0.01, thread.let.set)
    assert thread.outcome == "ended"
    assert task.result() == "result"


async def test_r6_an_error_in_a_thread_cancels_the_siblings(world):
    def fails():
        raise ValueError("in a thread")

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_thread(fails, name="failing")
            sibling = nursery.start_soon(forever())
    assert [str(error) for error in info.value] == ["in a thread"]
    assert info.value.names == ("failing",)
    assert sibling.cancelled()


async def test_r7_errors_of_several_threads_are_all_raised(world):
    barrier = threading.Barrier(3, timeout=10)

    def fails(number):
        barrier.wait()
        raise ValueError(number)

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            for number in range(3):
                nursery.start_thread(fails, number)
    assert sorted(error.args[0] for error in info.value) == [0, 1, 2]


async def test_r9_a_system_exit_of_a_thread_leaves_the_block_bare(world):
    def leave():
        raise SystemExit(3)

    if world.ours:
        pytest.skip("the host task hands it to the loop, which ends")
    with pytest.raises(SystemExit):
        async with Nursery() as nursery:
            nursery.start_thread(leave)


# Cancellation


async def test_r3_a_cancelled_thread_is_told_and_joined(world):
    thread = Thread(asks=True)
    async with Nursery() as nursery:
        task = nursery.start_thread(thread)
        await thread.running.wait()
        nursery.cancel("enough")
    assert task.cancelled()
    assert isinstance(thread.outcome, aionursery.Cancelled)
    assert (thread.outcome.reason, thread.outcome.source) == ("enough", "cancel")


async def test_r3_a_thread_that_does_not_ask_is_waited_for_and_its_result_is_kept(world):
    thread = Thread()
    behind = []

    async def child():
        behind.append(await to_thread(thread))
        await aionursery.checkpoint()
        behind.append("never reached")

    with CancelScope() as scope:
        async with Nursery() as nursery:
            task = nursery.start_soon(child)
            await thread.running.wait()
            scope.cancel()
            asyncio.get_running_loop().call_later(0.02, thread.let.set)
    assert thread.outcome == "ended"
    assert behind == ["returned"]
    assert task.cancelled() and scope.cancelled_caught


async def test_r7_an_error_of_a_cancelled_thread_is_not_lost(world):
    thread = Thread()

    def fails():
        thread()
        raise OSError("late")

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_thread(fails)
            await thread.running.wait()
            nursery.cancel()
            asyncio.get_running_loop().call_later(0.01, thread.let.set)
    assert [str(error) for error in info.value] == ["late"]


async def test_r16_a_thread_that_is_cancelled_by_hand_is_told_and_joined_alone(world):
    thread = Thread(asks=True)
    async with Nursery() as nursery:
        task = nursery.start_thread(thread)
        sibling = nursery.start_soon(turns, 3)
        await thread.running.wait()
        task.cancel()
        await asyncio.wait([task])
        assert isinstance(thread.outcome, asyncio.CancelledError)
    assert task.cancelled() and not sibling.cancelled()


async def test_r15_a_host_that_is_cancelled_again_and_again_still_joins_the_thread(world):
    thread = Thread()

    async def host():
        await to_thread(thread)

    task = asyncio.get_running_loop().create_task(host())
    await thread.running.wait()
    for _ in range(3):
        task.cancel()
        await turns(3)
        assert not task.done()
    thread.let.set()
    await asyncio.wait([task])
    assert thread.outcome == "ended"
    assert task.cancelled()


async def test_r21_a_deadline_reaches_a_thread(world):
    thread = Thread(asks=True)
    with pytest.raises(TimeoutError), aionursery.fail_after(0.02):
        await to_thread(thread)
    assert thread.outcome.source == "deadline"


async def test_r19_a_shielded_thread_is_not_told(world):
    thread = Thread(asks=True)
    async with Nursery() as nursery:
        task = nursery.start_thread(thread, shield=True)
        await thread.running.wait()
        nursery.cancel()
        asyncio.get_running_loop().call_later(0.02, thread.let.set)
    assert task.result() == "returned"


async def test_in_a_cancelled_scope_no_thread_is_started(world):
    begun = []
    with CancelScope() as scope:
        scope.cancel()
        await to_thread(begun.append, 1)
    assert scope.cancelled_caught and not begun


async def test_an_abandoned_thread_is_left_alone(world):
    thread = Thread()
    limiter = CapacityLimiter(1)
    with CancelScope() as scope:
        async with Nursery() as nursery:
            task = nursery.start_thread(thread, limiter=limiter, abandon=True)
            await thread.running.wait()
            scope.cancel()
    assert task.cancelled()
    assert thread.outcome == "running"
    # Its token is its own until it ends.
    assert limiter.borrowed_tokens == 1
    thread.let.set()
    while limiter.borrowed_tokens:
        await aionursery.sleep(0.001)
    assert thread.outcome == "ended"


@pytest.mark.reports
async def test_r7_an_error_of_an_abandoned_thread_is_reported(world):
    thread = Thread()

    def fails():
        thread()
        raise OSError("abandoned")

    limiter = CapacityLimiter(1)
    async with Nursery() as nursery:
        nursery.start_thread(fails, limiter=limiter, abandon=True)
        await thread.running.wait()
        nursery.cancel()
    thread.let.set()
    while limiter.borrowed_tokens:
        await aionursery.sleep(0.001)
    assert [str(report["exception"]) for report in world.reports] == ["abandoned"]


async def test_an_abandoned_thread_that_is_not_cancelled_gives_its_result(world):
    assert await to_thread(lambda: 7, abandon=True) == 7


# Back into the loop


async def test_from_thread_runs_an_async_function_in_the_loop(world):
    loop = asyncio.get_running_loop()

    async def add(a, b):
        await turns(2)
        assert asyncio.get_running_loop() is loop
        return a + b

    def plain(a, b):
        assert asyncio.get_running_loop() is loop
        return a * b

    def work():
        return from_thread.run(add, 1, 2), from_thread.run_sync(plain, 3, 4)

    assert await to_thread(work) == (3, 12)


async def test_from_thread_raises_in_the_thread_what_the_function_raises(world):
    def plain():
        raise LookupError("plain")

    def work():
        with pytest.raises(ValueError, match="async"):
            from_thread.run(fail, ValueError("async"))
        with pytest.raises(LookupError, match="plain"):
            from_thread.run_sync(plain)
        return "went on"

    assert await to_thread(work) == "went on"


async def test_r12_what_a_thread_runs_in_the_loop_is_cancelled_with_it(world):
    waiting = asyncio.Event()
    heard = []

    async def wait():
        waiting.set()
        await forever()

    def work():
        try:
            from_thread.run(wait)
        except asyncio.CancelledError as exc:
            heard.append(exc)
            raise

    async with Nursery() as nursery:
        task = nursery.start_thread(work)
        await waiting.wait()
        nursery.cancel("enough")
    assert task.cancelled()
    assert [exc.reason for exc in heard] == ["enough"]


@pytest.mark.parametrize("how", ["hand", "scope"])
async def test_a_thread_that_catches_its_cancellation_returns_what_it_likes(world, how):
    waiting = asyncio.Event()

    async def wait():
        waiting.set()
        await forever()

    def work():
        try:
            from_thread.run(wait)
        except asyncio.CancelledError:
            return "caught"

    found = []

    async def child():
        found.append(await to_thread(work))

    async with Nursery() as nursery:
        task = nursery.start_soon(child)
        await waiting.wait()
        if how == "hand":
            task.cancel()
        else:
            nursery.cancel()
    # What is asked by hand is asyncio's: it takes the result.
    assert found == ([] if how == "hand" else ["caught"])


async def test_a_thread_s_context_goes_with_it_into_the_loop(world):
    variable = contextvars.ContextVar("variable", default="default")

    async def read():
        return variable.get()

    def work():
        variable.set("thread's")
        return from_thread.run(read), from_thread.run_sync(variable.get)

    assert await to_thread(work) == ("thread's", "thread's")


async def test_other_threads_are_refused(world):
    for call in (
        check_cancelled,
        functools.partial(from_thread.run, turns, 1),
        functools.partial(from_thread.run_sync, print),
    ):
        with pytest.raises(RuntimeError, match="another thread"):
            call()


@pytest.mark.parametrize("wrong", [turns, 7, None])
async def test_what_is_no_plain_function_is_refused(world, wrong):
    with pytest.raises(TypeError, match="takes a plain function"):
        await to_thread(wrong)
    async with Nursery() as nursery:
        with pytest.raises(TypeError, match="takes a plain function"):
            nursery.start_thread(wrong)
        with pytest.raises(TypeError, match="takes a plain function"):
            nursery.start_thread(turns(1))
        with pytest.raises(TypeError, match="is async"):
            await to_thread(lambda: turns(1))


# Limits


async def test_a_limiter_bounds_how_many_run_at_once(world):
    limiter = CapacityLimiter(3)
    lock = threading.Lock()
    running = most = 0

    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        check_cancelled()
        with lock:
            running -= 1

    async with Nursery() as nursery:
        for _ in range(50):
            nursery.start_thread(work, limiter=limiter)
    assert 1 <= most <= 3
    assert limiter.borrowed_tokens == 0


async def test_the_default_limiter_is_the_loop_s(world):
    limiter = current_default_thread_limiter()
    assert limiter is current_default_thread_limiter()
    assert limiter.total_tokens == 40
    seen = []
    await to_thread(lambda: seen.append(limiter.borrowed_tokens))
    assert seen == [1]
    assert limiter.borrowed_tokens == 0


class TakesNoAttributes(asyncio.SelectorEventLoop):
    """A loop that takes none but its own."""

    def __setattr__(self, name, value):
        if name.startswith("_aionursery"):
            raise AttributeError(name)
        super().__setattr__(name, value)


def test_a_loop_that_takes_no_attributes_has_a_limiter_of_its_own():
    async def main():
        found = aionursery.current_default_thread_limiter()
        assert found is aionursery.current_default_thread_limiter()
        assert await aionursery.to_thread(lambda: 7) == 7
        assert found.statistics().borrowed_tokens == 0
        return found

    loops = TakesNoAttributes(), TakesNoAttributes()
    first, second = (loop.run_until_complete(main()) for loop in loops)
    assert first is not second
    for loop in loops:
        loop.close()


class Refuses(CapacityLimiter):
    """A limiter that takes no token back."""

    def release_on_behalf_of(self, borrower):
        raise LookupError("not taken back")


async def test_r7_what_the_limiter_raises_at_the_end_of_a_call_is_raised_in_the_caller(world):
    limiter = CapacityLimiter(1)

    def give_back():
        from_thread.run_sync(lambda: limiter.release_on_behalf_of(*limiter.statistics().borrowers))

    with pytest.raises(RuntimeError, match="has lent no token"):
        await to_thread(give_back, limiter=limiter)
    with pytest.raises(LookupError, match="not taken back"):
        await to_thread(int, limiter=Refuses(1))
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_thread(int, limiter=Refuses(1))
    assert [str(error) for error in info.value] == ["not taken back"]


async def test_r7_what_the_limiter_of_a_cancelled_call_raises_is_not_lost(world):
    thread = Thread(asks=True)
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_thread(thread, limiter=Refuses(1))
            await thread.running.wait()
            nursery.cancel()
    assert [str(error) for error in info.value] == ["not taken back"]


@pytest.mark.reports
async def test_r7_beside_an_error_of_the_function_the_limiter_s_is_reported(world):
    def fails():
        raise ValueError("the function's")

    with pytest.raises(ValueError, match="the function's"):
        await to_thread(fails, limiter=Refuses(1))
    assert [str(report["exception"]) for report in world.reports] == ["not taken back"]


def test_r9_an_interrupt_while_a_token_is_given_back_leaves_the_loop():
    class Interrupted(CapacityLimiter):
        def release_on_behalf_of(self, borrower):
            super().release_on_behalf_of(borrower)
            raise KeyboardInterrupt

    def fails():
        raise ValueError("the function's")

    with pytest.raises(KeyboardInterrupt):
        aionursery.run(to_thread(fails, limiter=Interrupted(1)))


async def test_threads_are_used_again(world):
    names = set()
    for _ in range(20):
        names.add(await to_thread(threading.get_ident))
    assert len(names) <= 3


async def test_r3_many_starts_under_random_cancellation_leave_none(world):
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    running = 0
    lock = threading.Lock()

    def work(spins):
        nonlocal running
        with lock:
            running += 1
        try:
            for _ in range(spins):
                check_cancelled()
        finally:
            with lock:
                running -= 1

    left = STARTS // 4
    while left:
        count = min(left, draw.randrange(1, 60))
        left -= count
        with CancelScope() as scope:
            async with Nursery() as nursery:
                tasks = [
                    nursery.start_thread(work, draw.choice((0, 10, 10_000))) for _ in range(count)
                ]
                await turns(draw.randrange(5))
                for task in draw.sample(tasks, count // 3):
                    task.cancel()
                if draw.random() < 0.5:
                    await aionursery.sleep(draw.random() / 500)
                    scope.cancel()
        assert running == 0, f"seed {seed}"
        assert all(task.done() for task in tasks), f"seed {seed}"
    assert current_default_thread_limiter().borrowed_tokens == 0


async def test_r10_a_call_leaves_no_reference_cycle(world):
    references = []

    def fails():
        raise_noted(references)

    async def fails_in_the_loop():
        fails()

    def fails_by_the_loop():
        from_thread.run(fails_in_the_loop)

    def fails_by_a_plain_call():
        from_thread.run_sync(fails)

    gc.disable()
    try:
        for function in (fails, fails_by_the_loop, fails_by_a_plain_call):
            try:
                await to_thread(function)
            except Noted:
                pass
            await turns(3)
        # The worker lets go of its last call when it has told the loop.
        for _ in range(1000):
            if not any(reference() for reference in references):
                break
            await aionursery.sleep(0.001)
        assert [reference() for reference in references] == [None] * 3
    finally:
        gc.enable()


async def test_calls_one_after_the_other_are_all_run_by_one_thread(world):
    threads = {await to_thread(threading.get_ident) for _ in range(50)}
    assert len(threads) == 1
