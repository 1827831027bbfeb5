"""`race`: the first success wins, the others are cancelled, joined and closed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import math
import weakref

import pytest

import aionursery
from aionursery import BaseMultiError, MultiError, Nursery, race

from .helpers import fail, fail_noted, forever, note_cancellation, turns, value
from .virtual_clock import run_virtually, virtual


class Connection:
    """What has to be closed."""

    def __init__(self, name):
        self.name = name
        self.closed = False

    def close(self):
        self.closed = True


class Stream(Connection):
    async def aclose(self):
        await turns(2)
        self.closed = True

    def close(self):
        raise AssertionError("aclose() comes first")


async def test_the_first_success_wins_and_the_others_are_cancelled_and_joined(world):
    trace = []
    won = await race(note_cancellation(trace, "slow"), value("fast", after=2), forever)
    assert won == "fast"
    assert trace == ["slow"]


async def test_race_takes_an_iterable(world):
    assert await race(value(n, after=5 - n) for n in range(5)) == 4
    assert await race([value("alone")]) == "alone"


async def test_an_error_does_not_end_the_race(world):
    assert await race(fail(ValueError("first")), value("second", after=3)) == "second"


async def test_r7_if_none_succeeds_all_errors_are_raised_in_the_order_of_happening(world):
    with pytest.raises(MultiError) as info:
        await race(
            fail(ValueError("late"), after=4),
            fail(LookupError("early")),
            fail(OSError("middle"), after=2),
        )
    assert [str(error) for error in info.value] == ["early", "middle", "late"]
    assert all(name for name in info.value.names)


@pytest.mark.parametrize("kind", [Connection, Stream])
async def test_a_second_winner_is_closed(world, kind):
    first, second = kind("first"), kind("second")

    async def stubborn(connection):
        try:
            await forever()
        except asyncio.CancelledError:
            return connection

    won = await race(value(first, after=1), stubborn(second))
    assert won is first
    assert (first.closed, second.closed) == (False, True)


@pytest.mark.reports
async def test_r7_what_fails_while_a_second_winner_is_closed_is_reported(world):
    class Broken:
        def close(self):
            raise OSError("close")

    await race(value(1), value(Broken()))
    assert [type(report["exception"]) for report in world.reports] == [OSError]


class Odd:
    """Fails wherever it is looked at."""

    def __getattr__(self, name):
        raise LookupError(name)

    def __repr__(self):
        raise LookupError("repr")


@pytest.mark.reports
async def test_r7_a_second_winner_that_cannot_be_looked_at_does_not_lose_the_race(world):
    assert await race(value("won"), value(Odd())) == "won"
    assert [str(report["exception"]) for report in world.reports] == ["aclose"]


class Stubborn:
    """Waits, while it is closed, for a peer that is gone, whatever it hears."""

    async def aclose(self):
        try:
            await forever()
        finally:
            await forever()


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_r18_a_winner_that_hangs_while_it_is_closed_is_cut_off_after_ten_seconds(ours, late):
    reports = []

    async def connect():
        try:
            await forever()
        except asyncio.CancelledError:
            return Stubborn()

    async def wins_at_the_end(scope):
        scope.cancel()
        return Stubborn()

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
        begin = loop.time()
        with aionursery.move_on_after(1, cleanup=0) as scope:
            if late:
                await race(value(1), connect)
            else:
                await race(wins_at_the_end(scope), forever())
        return loop.time() - begin

    assert run_virtually(main(), ours=ours) == pytest.approx(10)
    assert [type(error) for error in reports] == [TimeoutError]


@pytest.mark.parametrize("when", range(8))
@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_race_that_is_cancelled_at_any_moment_leaves_no_open_winner(world, when, how):
    before = asyncio.all_tasks()
    opened = []

    async def connect(after):
        await turns(after)
        opened.append(Connection(after))
        return opened[-1]

    scope = aionursery.CancelScope()

    async def racing():
        with scope:
            return await race(connect(3), connect(3), connect(4))

    async with Nursery() as nursery:
        task = nursery.start_soon(racing())
        await turns(when)
        if how == "task":
            task.cancel()
        else:
            scope.cancel()
    won = None if task.cancelled() else task.result()
    assert [each for each in opened if each is not won and not each.closed] == []
    assert won is None or not won.closed
    assert asyncio.all_tasks() == before


async def test_r9_a_system_exit_leaves_the_race_bare(world):
    if world.ours:
        pytest.skip("the host task hands it to the loop, which ends")
    with pytest.raises(SystemExit):
        await race(fail(SystemExit(3)), forever())


async def test_r16_racers_that_are_all_cancelled_by_hand_are_a_clear_error(world):
    tasks = [asyncio.ensure_future(forever()) for _ in range(2)]
    for task in tasks:
        asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(RuntimeError, match="no racer has won"):
        await race(tasks)


@pytest.mark.parametrize("stagger", [-1, math.nan])
async def test_race_refuses_what_makes_no_sense_and_closes_what_it_was_given(world, stagger):
    with pytest.raises(ValueError, match="at least one"):
        await race()
    with pytest.raises(ValueError, match="at least one"):
        await race([])
    with pytest.raises(ValueError, match="stagger must be"):
        await race(value(1), value(2), stagger=stagger)
    with pytest.raises(TypeError, match="takes awaitables and async functions"):
        await race(value(1), 7)


@virtual
async def test_with_a_stagger_each_starts_later_than_the_one_before():
    begun = []
    begin = aionursery.current_time()

    async def racer(name, seconds):
        begun.append((name, round(aionursery.current_time() - begin, 3)))
        await aionursery.sleep(seconds)
        return name

    won = await race(
        lambda: racer("a", 10),
        lambda: racer("b", 1),
        lambda: racer("c", 9),
        racer("d", 1),
        stagger=0.75,
    )
    assert won == "b"
    assert begun == [("a", 0), ("b", 0.75), ("c", 1.5)]
    assert aionursery.current_time() - begin == pytest.approx(1.75)


@virtual
async def test_with_a_stagger_a_failure_starts_the_next_at_once():
    begin = aionursery.current_time()
    assert await race(fail(OSError()), fail(OSError()), value("third"), stagger=10) == "third"
    assert aionursery.current_time() == begin


class Ends(BaseException):
    """Ends a race, and is no error of a racer."""


async def wins():
    return "won"


async def ends():
    raise Ends


async def fails_in_a_cancelled_scope(scope):
    # By then the race has heard of the failure, and has not gone on.
    asyncio.get_running_loop().call_soon(scope.cancel)
    raise OSError


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("how", ["won", "ended", "cancelled"])
async def test_with_a_stagger_none_starts_once_the_race_is_over(world, how, after):
    begun = []

    async def racer(name, end):
        begun.append(name)
        await turns(after)
        return await end()

    targets = {
        "won": lambda: racer("a", wins),
        "ended": lambda: racer("a", ends),
        "cancelled": lambda: racer("a", lambda: fails_in_a_cancelled_scope(scope)),
    }
    others = [functools.partial(racer, name, forever) for name in "bc"]
    outcome = pytest.raises(BaseMultiError) if how == "ended" else contextlib.nullcontext()
    with outcome, aionursery.CancelScope() as scope:
        assert await race(targets[how], *others, stagger=10) == "won"
    assert begun == ["a"]
    assert scope.cancelled_caught == (how == "cancelled")


@virtual
async def test_with_a_stagger_all_errors_are_raised_if_none_succeeds():
    with pytest.raises(MultiError) as info:
        await race(*(fail(OSError(n)) for n in range(3)), stagger=1)
    assert [error.args[0] for error in info.value] == [0, 1, 2]


async def test_r10_race_leaves_no_reference_cycle(world):
    gc.disable()
    try:
        won = Connection("won")
        reference = weakref.ref(won)
        await race(value(won), forever())
        del won
        await turns(2)
        assert reference() is None
        references = []
        try:
            await race(fail_noted(references))
        except MultiError:
            pass
        await turns(2)
        assert references[0]() is None
    finally:
        gc.enable()
