"""`supervise`: another run after a failure, and a clear end."""

from __future__ import annotations

import asyncio
import gc
import math
import weakref

import pytest

import aionursery
from aionursery import MultiError, Nursery, SupervisorError, current_time, supervise

from .helpers import forever, turns
from .virtual_clock import virtual


class Fails:
    """Fails a number of times, each time after some seconds, and then returns."""

    def __init__(self, times, seconds=0.0, error=ValueError):
        self.left, self.seconds, self.error = times, seconds, error
        self.begun = []

    async def __call__(self, *args):
        self.begun.append(current_time())
        await aionursery.sleep(self.seconds)
        if self.left:
            self.left -= 1
            raise self.error(f"{self.left} left")
        return args

    def gaps(self):
        return [later - earlier for earlier, later in zip(self.begun, self.begun[1:], strict=False)]


def listen():
    """Return the list of what reaches the exception handler of the running loop from now on."""
    reports = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    return reports


async def test_a_return_ends_it_and_is_returned(world):
    fn = Fails(0)
    assert await supervise(fn, 1, "two") == (1, "two")
    assert len(fn.begun) == 1


@pytest.mark.reports
async def test_after_a_failure_it_runs_again_and_the_error_is_reported(world):
    fn = Fails(2)
    async with Nursery() as nursery:
        task = nursery.start_soon(supervise(fn, "argument", backoff=0), name="supervised")
    assert task.result() == ("argument",)
    assert len(fn.begun) == 3
    assert [str(report["exception"]) for report in world.reports] == ["1 left", "0 left"]
    assert "restart 2 of 5 in 0 seconds" in world.reports[1]["message"]


@pytest.mark.reports
async def test_a_failure_too_many_raises_a_supervisor_error_of_the_last_error(world):
    fn = Fails(math.inf)
    with pytest.raises(SupervisorError, match="no more than 3 restarts") as caught:
        await supervise(fn, max_restarts=3, backoff=0)
    assert len(fn.begun) == 4 and len(world.reports) == 3
    assert isinstance(caught.value, MultiError)
    (error,) = caught.value
    assert type(error) is ValueError
    assert error not in [report["exception"] for report in world.reports]
    assert caught.value.split(ValueError)[1] is None


async def test_without_a_restart_the_first_failure_is_the_end(world):
    async def main():
        async with Nursery() as nursery:
            nursery.start_soon(supervise(Fails(1), max_restarts=0))

    with pytest.raises(MultiError) as caught:
        await main()
    assert type(caught.value[0]) is SupervisorError
    assert caught.value.subgroup(ValueError) is not None
    assert caught.value.split(ValueError)[1] is None


@virtual
async def test_the_pause_doubles_up_to_a_minute():
    listen()
    fn = Fails(9)
    await supervise(fn, max_restarts=9, backoff=1)
    assert fn.gaps() == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])


@virtual
async def test_a_pause_that_begins_longer_than_a_minute_stays():
    listen()
    fn = Fails(3)
    await supervise(fn, backoff=100)
    assert fn.gaps() == pytest.approx([100, 100, 100])


@virtual
async def test_backoff_can_be_a_function_of_the_number_of_the_restart():
    listen()
    fn = Fails(3)
    await supervise(fn, backoff=lambda number: number * 10)
    assert fn.gaps() == pytest.approx([10, 20, 30])


@virtual
async def test_failures_longer_ago_than_the_time_do_not_count():
    listen()
    fn = Fails(20, seconds=40)
    await supervise(fn, max_restarts=1, within=30, backoff=1)
    assert len(fn.begun) == 21
    assert fn.gaps() == pytest.approx([41] * 20)
    with pytest.raises(SupervisorError):
        await supervise(Fails(2, seconds=40), max_restarts=1, within=50, backoff=1)


@virtual
async def test_pauses_that_are_longer_than_the_time_do_not_keep_it_from_ending():
    reports = listen()
    with pytest.raises(SupervisorError):
        await supervise(Fails(math.inf, seconds=1), max_restarts=4, within=10, backoff=50)
    assert len(reports) == 4


@virtual
async def test_without_a_bound_it_goes_on():
    reports = listen()
    assert await supervise(Fails(3_000), max_restarts=None, backoff=0) == ()
    assert len(reports) == 3_000


async def test_r12_a_cancellation_ends_it(world):
    begun = []

    async def fn():
        begun.append(1)
        await forever()

    async with Nursery() as nursery:
        task = nursery.start_soon(supervise(fn, backoff=0))
        await turns(2)
        nursery.cancel()
    assert task.cancelled() and begun == [1]


@virtual
async def test_r12_a_cancellation_ends_the_pause():
    listen()
    fn = Fails(math.inf)
    begin = current_time()
    with aionursery.move_on_after(5) as scope:
        await supervise(fn, backoff=100)
    assert scope.cancelled_caught
    assert current_time() - begin == pytest.approx(5)
    assert len(fn.begun) == 1


@pytest.mark.parametrize("by_hand", [False, True])
async def test_r18_there_is_no_restart_after_a_failure_to_clean_up(world, by_hand):
    begun = []

    async def fn():
        begun.append(1)
        try:
            await forever()
        finally:
            raise ValueError("in the cleanup")

    with pytest.raises(MultiError) as caught:
        async with Nursery() as nursery:
            task = nursery.start_soon(supervise(fn, backoff=0))
            await turns(2)
            (task if by_hand else nursery).cancel()
    assert begun == [1]
    assert [str(error) for error in caught.value] == ["in the cleanup"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_what_is_no_exception_ends_it(world, error):
    fn = Fails(math.inf, error=error)
    # Driven by hand, not in a task: the loop would stop for some of these.
    coroutine = supervise(fn)
    with pytest.raises(error):
        while True:
            coroutine.send(None)
    assert len(fn.begun) == 1


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"max_restarts": -1}, ValueError),
        ({"max_restarts": 1.5}, TypeError),
        ({"within": 0}, ValueError),
        ({"within": math.nan}, ValueError),
        ({"backoff": -1}, ValueError),
        ({"backoff": math.nan}, ValueError),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_the_first_run(world, given, error):
    fn = Fails(0)
    with pytest.raises(error, match=next(iter(given))):
        await supervise(fn, **given)
    assert not fn.begun


async def test_a_coroutine_is_refused_for_it_runs_once(world):
    coroutine = turns(1)
    with pytest.raises(TypeError, match="async function"):
        await supervise(coroutine)
    coroutine.close()


@pytest.mark.reports
async def test_r10_its_errors_go_with_their_last_user(world):
    class Error(Exception):
        pass

    fn = Fails(math.inf, error=Error)
    gc.collect()
    gc.disable()
    try:
        try:
            await supervise(fn, max_restarts=1, backoff=0)
        except SupervisorError as exc:
            refs = [weakref.ref(exc[0]), weakref.ref(world.reports[0]["exception"])]
        world.reports.clear()
        await turns(2)
        assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()


async def test_supervise_outside_of_a_task_says_so(world):
    def calls_back():
        with pytest.raises(RuntimeError, match="must run in a task"):
            supervise(turns, 1).send(None)
        called.set()

    called = aionursery.Event()
    asyncio.get_running_loop().call_soon(calls_back)
    await called.wait()
