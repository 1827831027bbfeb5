"""R21: what is due is due by the loop's clock, though loops call back a bit before it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import aionursery
from aionursery import CancelScope, sleep, sleep_forever


async def test_r21_a_deadline_acts_no_earlier_than_the_loops_clock_shows_it(world):
    event_loop = asyncio.get_running_loop()
    for microseconds in range(1050, 3000, 100):
        deadline = event_loop.time() + microseconds / 1_000_000
        with CancelScope(deadline=deadline) as scope:
            await sleep_forever()
        assert scope.cancelled_caught
        assert event_loop.time() >= deadline


async def test_r21_a_sleep_ends_no_earlier_than_the_loops_clock_shows_it(world):
    event_loop = asyncio.get_running_loop()
    for microseconds in range(1050, 3000, 100):
        ends = event_loop.time() + microseconds / 1_000_000
        await sleep(microseconds / 1_000_000)
        assert event_loop.time() >= ends - 1e-6


def test_r21_a_clock_that_stands_still_is_believed_in_the_end():
    class Coarse(asyncio.SelectorEventLoop):
        """Its clock counts in hours, so it takes all that is due within the hour for due."""

        def __init__(self) -> None:
            super().__init__()
            self._clock_resolution = 3600.0

        def time(self) -> float:
            return super().time() // 3600 * 3600

    async def main() -> bool:
        with CancelScope(deadline=asyncio.get_running_loop().time() + 0.001) as scope:
            await sleep_forever()
        return scope.cancelled_caught

    event_loop = Coarse()
    try:
        assert event_loop.run_until_complete(main())
    finally:
        event_loop.close()


class LeavesAtTheNth(asyncio.SelectorEventLoop):
    """A loop whose clock leaves a scope when it is asked for the n-th time."""

    scope = None
    left = 0

    def time(self):
        self.left -= 1
        if self.left == 0:
            with contextlib.suppress(RuntimeError):
                self.scope.__exit__(None, None, None)
        return super().time()


@pytest.mark.parametrize("cleanup", [0, 10])
@pytest.mark.parametrize("task_class", [asyncio.Task, aionursery.Task])
def test_r31_a_clock_may_leave_the_scope_that_a_task_is_to_hear_of(task_class, cleanup):
    async def main(loop, number):
        loop.scope = aionursery.CancelScope(cleanup=cleanup)
        loop.scope.__enter__()
        loop.scope.cancel()
        loop.left = number
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
                await loop.create_future()
        loop.left = 0
        with contextlib.suppress(RuntimeError):
            loop.scope.__exit__(None, None, None)

    for number in range(1, 24):
        loop, reports = LeavesAtTheNth(), []
        loop.set_exception_handler(lambda _, context, reports=reports: reports.append(context))
        task = task_class(main(loop, number), loop=loop)

        def ask(loop=loop, task=task):
            # What is left too early waits for what never comes. Two of one turn count as one.
            if not task.done():
                task.cancel()
                loop.call_later(0.05, ask)

        loop.call_later(0.05, ask)
        loop.run_until_complete(asyncio.wait([task], timeout=20))
        assert task.done() and reports == []
        loop.close()
