"""`Nursery.shutdown` and `Nursery.stopping`: ask, wait, cancel."""

from __future__ import annotations

import gc
import math
import threading
import weakref

import pytest

import aionursery
from aionursery import MultiError, Nursery, TaskGroup, current_time

from .helpers import abandoned, fail, forever, note_cancellation, turns
from .loop_kinds import KINDS
from .virtual_clock import virtual


async def test_children_that_await_stopping_end_before_the_grace_does(world):
    ended = []

    async def child(nursery, number):
        await nursery.stopping.wait()
        await turns(number)
        ended.append(number)

    async with Nursery() as nursery:
        children = [nursery.start_soon(child, nursery, number) for number in (3, 1, 2)]
        await turns(5)
        assert not ended and not nursery.stopping.is_set()
        nursery.shutdown(grace=1_000)
        assert nursery.stopping.is_set()
    assert ended == [1, 2, 3]
    assert not any(child.cancelled() for child in children)
    assert not nursery.cancel_scope.cancel_called


@virtual
async def test_r21_what_has_not_ended_after_the_grace_is_cancelled():
    trace = []

    async def polite(nursery):
        await nursery.stopping.wait()
        await aionursery.sleep(2)
        trace.append(("polite", current_time() - begin))

    async with Nursery() as nursery:
        nursery.start_soon(polite, nursery)
        stuck = nursery.start_soon(note_cancellation(trace, "stuck"))
        await aionursery.sleep(1)
        begin = current_time()
        nursery.shutdown(grace=3)
    assert trace == [("polite", pytest.approx(2)), "stuck"]
    assert stuck.cancelled()
    assert current_time() - begin == pytest.approx(3)
    assert nursery.cancel_scope.source == "deadline"


@virtual
async def test_the_grace_is_five_seconds_if_not_given():
    begin = current_time()
    async with Nursery() as nursery:
        nursery.start_soon(forever)
        nursery.shutdown()
    assert current_time() - begin == pytest.approx(5)


@virtual
async def test_r18_what_is_cancelled_after_the_grace_has_the_budget_of_the_nursery():
    async def clings():
        try:
            await forever()
        finally:
            await forever()

    begin = current_time()
    async with Nursery(cleanup=7) as nursery:
        nursery.start_soon(clings)
        nursery.shutdown(grace=3)
    assert current_time() - begin == pytest.approx(10)


@virtual
async def test_the_body_is_asked_and_then_cancelled_too():
    begin = current_time()
    async with Nursery() as nursery:
        nursery.shutdown(grace=2)
        await nursery.stopping.wait()
        await forever()
        pytest.fail("the body was not cancelled")
    assert current_time() - begin == pytest.approx(2)


@virtual
async def test_a_further_call_shortens_the_grace_and_does_not_lengthen_it():
    for first, second in ((10, 3), (3, 10)):
        begin = current_time()
        async with Nursery() as nursery:
            nursery.start_soon(forever)
            nursery.shutdown(grace=first)
            nursery.shutdown(grace=second)
        assert current_time() - begin == pytest.approx(3)


@virtual
async def test_a_deadline_that_is_earlier_than_the_grace_stays():
    begin = current_time()
    async with Nursery(relative_deadline=2) as nursery:
        nursery.start_soon(forever)
        nursery.shutdown(grace=60)
    assert current_time() - begin == pytest.approx(2)


@virtual
async def test_an_endless_grace_only_asks():
    async with Nursery() as nursery:
        child = nursery.start_soon(aionursery.sleep, 1_000_000, "slept")
        nursery.shutdown(grace=math.inf)
        assert nursery.cancel_scope.deadline == math.inf
    assert child.result() == "slept"


async def test_no_grace_cancels_at_the_next_await(world):
    async with Nursery() as nursery:
        child = nursery.start_soon(forever)
        await turns(1)
        nursery.shutdown(grace=0)
    assert child.cancelled()
    assert nursery.stopping.is_set()


@virtual
async def test_a_child_can_shut_its_own_nursery_down_and_start_children_meanwhile():
    trace = []

    async def child(nursery):
        nursery.shutdown(grace=10)
        nursery.start_soon(late)

    async def late():
        await aionursery.sleep(1)
        trace.append("late")

    begin = current_time()
    async with Nursery() as nursery:
        nursery.start_soon(child, nursery)
    assert trace == ["late"]
    assert current_time() - begin == pytest.approx(1)


@virtual
async def test_before_entry_the_grace_counts_from_entry():
    nursery = Nursery()
    nursery.shutdown(grace=2)
    await aionursery.sleep(50)
    begin = current_time()
    async with nursery:
        assert nursery.stopping.is_set()
        nursery.start_soon(forever)
    assert current_time() - begin == pytest.approx(2)


async def test_after_the_end_a_shutdown_changes_nothing(world):
    async with Nursery() as nursery:
        pass
    nursery.shutdown(grace=0)
    assert nursery.closed and nursery.stopping.is_set()
    await turns(2)


async def test_r6_an_error_while_it_stops_is_the_nursery_s(world):
    with pytest.raises(MultiError) as caught:
        async with Nursery() as nursery:
            nursery.start_soon(fail(ValueError("while stopping"), after=2))
            nursery.start_soon(forever)
            nursery.shutdown(grace=1_000)
    assert [str(error) for error in caught.value] == ["while stopping"]


async def test_each_nursery_has_one_event_of_its_own(world):
    async with Nursery() as outer, TaskGroup() as inner:
        assert isinstance(outer.stopping, aionursery.Event)
        assert outer.stopping is outer.stopping
        assert inner.stopping is not outer.stopping
        outer.shutdown()
        assert not inner.stopping.is_set()


@pytest.mark.parametrize("grace", [-1, -0.001, math.nan])
async def test_a_grace_that_is_no_time_is_refused_and_nothing_is_asked(world, grace):
    async with Nursery() as nursery:
        with pytest.raises(ValueError):
            nursery.shutdown(grace=grace)
        assert not nursery.stopping.is_set()


async def test_a_shutdown_from_another_thread_is_refused_and_nothing_is_asked(world):
    errors = []

    def elsewhere(nursery):
        try:
            nursery.shutdown()
        except RuntimeError as exc:
            errors.append(str(exc))

    async with Nursery() as nursery:
        thread = threading.Thread(target=elsewhere, args=(nursery,))
        thread.start()
        thread.join()
        assert not nursery.stopping.is_set()
    assert "call_soon_threadsafe" in errors[0]


async def test_r10_a_nursery_that_was_shut_down_goes_with_its_last_user(world):
    gc.disable()
    try:
        async with Nursery() as nursery:
            nursery.start_soon(nursery.stopping.wait)
            await turns(2)
            nursery.shutdown(grace=1_000)
        gone = weakref.ref(nursery), weakref.ref(nursery.stopping)
        del nursery
        await turns(2)
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("base", KINDS)
def test_r10_a_loop_that_is_stopped_while_a_child_awaits_stopping_is_freed(base):
    async def main():
        async with Nursery() as nursery:
            left.append(weakref.ref(nursery))
            await nursery.stopping.wait()

    left = []
    left.append(abandoned(base(), main()))
    gc.collect()
    assert len(left) == 2 and not [ref() for ref in left if ref() is not None]
