"""`CapacityLimiter`: tokens that are borrowed, and never lost."""

from __future__ import annotations

import asyncio
import math

import pytest

from aionursery import CancelScope, CapacityLimiter, Nursery, WouldBlock

from .helpers import turns


async def test_so_many_borrow_at_once_in_the_order_of_asking(world):
    limiter = CapacityLimiter(2)
    order = []

    async def child(number):
        async with limiter:
            order.append(number)
            assert limiter.borrowed_tokens <= 2
            await turns(2)

    async with Nursery() as nursery:
        for number in range(6):
            nursery.start_soon(child, number)
        await turns(1)
        assert limiter.statistics()[:2] == (2, 2)
        assert limiter.statistics().tasks_waiting == 4
        assert limiter.available_tokens == 0
    assert order == list(range(6))
    assert limiter.borrowed_tokens == 0


async def test_nothing_borrows_twice_or_gives_back_what_it_has_not(world):
    limiter = CapacityLimiter(3)
    with pytest.raises(RuntimeError, match="lent no token"):
        limiter.release()
    await limiter.acquire()
    with pytest.raises(RuntimeError, match="one token"):
        await limiter.acquire()
    with pytest.raises(RuntimeError, match="one token"):
        limiter.acquire_nowait()
    await limiter.acquire_on_behalf_of("other")
    limiter.acquire_on_behalf_of_nowait("third")
    with pytest.raises(WouldBlock):
        limiter.acquire_on_behalf_of_nowait("fourth")
    assert set(limiter.statistics().borrowers) == {asyncio.current_task(), "other", "third"}
    for borrower in ("other", "third"):
        limiter.release_on_behalf_of(borrower)
    limiter.release()
    assert limiter.borrowed_tokens == 0


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("when", range(6))
async def test_a_cancelled_wait_loses_no_token(world, when, how):
    limiter = CapacityLimiter(1)
    scope = CancelScope()

    async def holds():
        async with limiter:
            await turns(2)

    async def waits():
        with scope:
            async with limiter:
                await turns(1)

    async with Nursery() as nursery:
        nursery.start_soon(holds)
        waiting = nursery.start_soon(waits)
        await turns(when)
        if how == "task":
            waiting.cancel()
        else:
            scope.cancel()
    assert limiter.statistics() == (0, 1, [], 0)


async def test_more_tokens_wake_those_that_wait(world):
    limiter = CapacityLimiter(1)
    for name in "ab":
        limiter.total_tokens = 2
        limiter.acquire_on_behalf_of_nowait(name)
    limiter.total_tokens = 1
    assert limiter.available_tokens == -1
    async with Nursery() as nursery:
        nursery.start_soon(limiter.acquire_on_behalf_of, "c")
        await turns(2)
        limiter.release_on_behalf_of("a")
        await turns(2)
        assert limiter.borrowed_tokens == 1
        limiter.total_tokens = math.inf
        await turns(2)
        assert limiter.borrowed_tokens == 2


@pytest.mark.parametrize(
    ("total", "error"), [(0, ValueError), (1.5, TypeError), (math.nan, TypeError)]
)
def test_the_total_is_a_number_from_one_on(total, error):
    with pytest.raises(error, match="total_tokens must"):
        CapacityLimiter(total)


def test_there_is_no_borrower_outside_of_a_task():
    with pytest.raises(RuntimeError):
        CapacityLimiter(1).acquire_nowait()
