"""Typical programs that swallow a cancellation or hang in their cleanup, under a timeout (R18).

`docs/hangs.md` has them as a table. With the default budget each ends, at the latest ten seconds
after the timeout; the clock is virtual, so the tests take none of that time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import aionursery
from aionursery import Event, Nursery

from .virtual_clock import run_virtually

Program = Callable[[], Coroutine[Any, Any, None]]

#: When the timeout around a program passes, and how long the default budget is.
TIMEOUT, BUDGET = 1, 10
LONG = 3600


async def rolls_back() -> None:
    """Clean up, which takes two seconds."""
    try:
        await aionursery.sleep(LONG)
    finally:
        await aionursery.sleep(2)


async def says_goodbye() -> None:
    """Wait in the cleanup for a peer that never answers."""
    try:
        await aionursery.sleep(LONG)
    finally:
        await Event().wait()


async def closes_quietly() -> None:
    """Close two connections; what goes wrong in it is of no interest."""
    try:
        await aionursery.sleep(LONG)
    finally:
        for _ in range(2):
            with contextlib.suppress(BaseException):
                await Event().wait()


async def waits_for_a_sibling() -> None:
    """Wait in the cleanup for what only a cancelled sibling would have done."""
    ready = Event()

    async def sibling() -> None:
        await aionursery.sleep(LONG)
        ready.set()

    async def waiter() -> None:
        try:
            await aionursery.sleep(LONG)
        finally:
            await ready.wait()

    async with Nursery() as nursery:
        nursery.start_soon(sibling)
        nursery.start_soon(waiter)


async def swallows_once() -> None:
    """Take the cancellation for the end of one wait, and go on to the next."""
    with contextlib.suppress(asyncio.CancelledError):
        await aionursery.sleep(LONG)
    await Event().wait()


async def catches_everything() -> None:
    """Log every exception, pause, and do it again."""
    while True:
        try:
            await aionursery.sleep(LONG)
        except BaseException:
            await aionursery.sleep(1)


async def reconnects() -> None:
    """Retry what a library makes of the cancellation: a lost connection."""

    async def read() -> None:
        try:
            await aionursery.sleep(LONG)
        except asyncio.CancelledError:
            raise ConnectionError("closed") from None

    while True:
        try:
            await read()
        except ConnectionError:
            await aionursery.sleep(1)


async def waits_for_a_background_task() -> None:
    """Wait in the cleanup for a task outside the block, which never ends."""
    task = asyncio.ensure_future(asyncio.Event().wait())
    try:
        await aionursery.sleep(LONG)
    finally:
        await task


async def leaves_a_task_group() -> None:
    """Leave a `TaskGroup` whose child hangs in its cleanup."""
    async with aionursery.TaskGroup() as group:
        group.create_task(says_goodbye())


#: Each program, and after how many seconds its block is left.
ENDS: dict[Program, int] = {
    rolls_back: TIMEOUT + 2,
    says_goodbye: TIMEOUT + BUDGET,
    closes_quietly: TIMEOUT + BUDGET,
    waits_for_a_sibling: TIMEOUT + BUDGET,
    swallows_once: TIMEOUT + BUDGET,
    catches_everything: TIMEOUT + BUDGET,
    reconnects: TIMEOUT + BUDGET,
    waits_for_a_background_task: TIMEOUT + BUDGET,
    leaves_a_task_group: TIMEOUT + BUDGET,
}


async def refuses() -> None:
    """Catch every cancellation and wait for the same thing again: no budget ends it."""
    event = Event()
    asyncio.get_running_loop().call_later(LONG, event.set)
    while not event.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await event.wait()


async def in_a_child(program: Program, **budget: Any) -> None:
    with aionursery.move_on_after(TIMEOUT, **budget):
        async with Nursery() as nursery:
            nursery.start_soon(program)


async def in_the_body(program: Program, **budget: Any) -> None:
    with aionursery.move_on_after(TIMEOUT, **budget):
        await program()


async def seconds(block: Coroutine[Any, Any, None]) -> int:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await block
    return round(loop.time() - start)


ours = pytest.mark.parametrize("ours", [False, True], ids=["asyncio", "ours"])
place = pytest.mark.parametrize("place", [in_a_child, in_the_body])


@pytest.fixture(autouse=True)
def _without_the_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", "aionursery")


@ours
@place
@pytest.mark.parametrize("program", ENDS)
def test_r18_a_program_ends_when_the_default_budget_is_spent(program, place, ours):
    assert run_virtually(seconds(place(program)), ours=ours) == ENDS[program]


@ours
@place
@pytest.mark.parametrize("program", ENDS)
def test_r18_a_budget_of_zero_ends_it_at_once(program, place, ours):
    assert run_virtually(seconds(place(program, cleanup=0)), ours=ours) == TIMEOUT


@ours
@place
@pytest.mark.parametrize("budget", [{}, {"cleanup": None}, {"cleanup": 0}], ids=str)
def test_r18_what_waits_for_the_same_thing_again_is_let_wait_and_costs_nothing(place, budget, ours):
    async def main() -> int:
        await place(refuses, **budget)
        return asyncio.get_running_loop().turns

    assert run_virtually(main(), ours=ours) < 300
    assert run_virtually(seconds(place(refuses, **budget)), ours=ours) == LONG


async def swallows_and_waits_on() -> None:
    """Catch the first cancellation and wait for the next thing, which comes late."""
    with contextlib.suppress(asyncio.CancelledError):
        await aionursery.sleep(LONG)
    await aionursery.sleep(LONG)


async def awaits(task: asyncio.Task[None]) -> None:
    await task


async def awaits_a_shield(task: asyncio.Task[None]) -> None:
    await asyncio.shield(task)


async def asks_whether_it_has_ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])


#: How a block waits for a task outside it, and after how many seconds it is left with which budget.
OUTSIDE: list[tuple[Callable[[asyncio.Task[None]], Coroutine[Any, Any, None]], Any, int]] = [
    (awaits, {}, TIMEOUT + BUDGET),
    (awaits, {"cleanup": 0}, TIMEOUT + LONG),
    (awaits, {"cleanup": None}, TIMEOUT + LONG),
    (awaits_a_shield, {"cleanup": 0}, TIMEOUT),
    (asks_whether_it_has_ended, {"cleanup": 0}, TIMEOUT),
]


@ours
@place
@pytest.mark.parametrize(("how", "budget", "end"), OUTSIDE)
def test_r18_a_task_outside_that_swallows_a_cancellation_is_asked_once_a_budget(
    place, how, budget, end, ours
):
    async def main() -> int:
        outside = asyncio.create_task(swallows_and_waits_on())
        await asyncio.sleep(0)
        taken = await seconds(place(functools.partial(how, outside), **budget))
        outside.cancel()
        return taken

    assert run_virtually(main(), ours=ours) == end


@ours
@pytest.mark.parametrize("how", [awaits_a_shield, asks_whether_it_has_ended])
def test_r18_two_children_that_wait_for_each_other_without_handing_it_on_are_ended(how, ours):
    async def both() -> None:
        async def each(other: int) -> None:
            await how(tasks[other])

        async with Nursery() as nursery:
            tasks = [nursery.start_soon(each, 1), nursery.start_soon(each, 0)]

    assert run_virtually(seconds(in_the_body(both, cleanup=0)), ours=ours) == TIMEOUT


def test_the_page_has_each_of_these_programs():
    page = (Path(__file__).parent.parent / "docs" / "hangs.md").read_text()
    rows = re.findall(r"^\| `(\w+)`", page, re.MULTILINE)
    assert set(rows) == {program.__name__ for program in ENDS} | {refuses.__name__}
