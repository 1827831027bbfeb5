"""R21: deadlines that count from entry or from now."""

from __future__ import annotations

import math

import pytest

import aionursery
from aionursery import CancelScope, Nursery, current_time

from .helpers import forever
from .virtual_clock import virtual


@virtual
async def test_r21_a_relative_deadline_of_a_scope_counts_from_entry():
    scope = CancelScope(relative_deadline=3)
    await aionursery.sleep(10)
    begin = current_time()
    with scope:
        assert scope.deadline == begin + 3
        await forever()
    assert current_time() - begin == pytest.approx(3)
    assert (scope.cancelled_caught, scope.source) == (True, "deadline")


@virtual
async def test_r21_a_relative_deadline_of_a_nursery_counts_from_entry():
    early = Nursery(relative_deadline=2)
    assert early.cancel_scope.deadline == math.inf
    late = Nursery(relative_deadline=2)
    await aionursery.sleep(10)
    for nursery in (early, late):
        begin = current_time()
        async with nursery:
            assert nursery.cancel_scope.deadline == begin + 2
            child = nursery.start_soon(forever())
        assert child.cancelled()
        assert current_time() - begin == pytest.approx(2)


@virtual
async def test_r21_the_earlier_of_both_deadlines_counts():
    now = current_time()
    for absolute, relative, wanted in ((now + 1, 5, now + 1), (now + 5, 1, now + 1)):
        with CancelScope(deadline=absolute, relative_deadline=relative) as scope:
            assert scope.deadline == wanted
        async with Nursery(deadline=absolute, relative_deadline=relative) as nursery:
            assert nursery.cancel_scope.deadline == wanted


@virtual
async def test_r21_a_deadline_that_is_set_before_entry_replaces_the_relative_one():
    scope = CancelScope(relative_deadline=1)
    scope.deadline = current_time() + 7
    with scope:
        assert scope.deadline == current_time() + 7


@virtual
async def test_r21_cancel_after_counts_from_now_and_never_puts_off():
    begin = current_time()
    with CancelScope() as scope:
        await aionursery.sleep(1)
        scope.cancel_after(4)
        scope.cancel_after(9)
        assert scope.deadline == pytest.approx(begin + 5)
        scope.cancel_after(2)
        await forever()
    assert scope.source == "deadline"
    assert current_time() - begin == pytest.approx(3)


@virtual
async def test_r21_cancel_after_before_entry_counts_from_entry():
    scope = CancelScope()
    scope.cancel_after(2)
    scope.cancel_after(5)
    nursery = Nursery()
    nursery.cancel_scope.cancel_after(2)
    await aionursery.sleep(10)
    with scope:
        assert scope.deadline == current_time() + 2
    async with nursery:
        assert nursery.cancel_scope.deadline == current_time() + 2


@virtual
async def test_r21_cancel_after_the_end_does_nothing():
    with CancelScope() as scope:
        pass
    scope.cancel_after(0)
    await aionursery.sleep(1)
    assert not scope.cancel_called


@pytest.mark.parametrize("seconds", [-1, math.nan])
async def test_r21_a_span_is_neither_negative_nor_nan(world, seconds):
    for make in (CancelScope, Nursery):
        with pytest.raises(ValueError, match="relative_deadline must not be"):
            make(relative_deadline=seconds)
    with pytest.raises(ValueError, match="seconds must not be"):
        CancelScope().cancel_after(seconds)


async def test_r21_none_is_for_ever(world):
    with CancelScope(relative_deadline=None) as scope:
        assert scope.deadline == math.inf


async def test_r21_cancel_after_zero_acts_at_the_next_await(world):
    reached = []
    with CancelScope() as scope:
        scope.cancel_after(0)
        reached.append("before")
        await aionursery.checkpoint()
        reached.append("behind")
    assert reached == ["before"]
    assert scope.cancelled_caught


def test_r21_there_is_no_time_without_a_loop():
    with pytest.raises(RuntimeError, match="no running event loop"):
        current_time()
