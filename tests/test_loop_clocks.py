"""R21: what is due is due by the loop's clock, though loops call back a bit before it."""

from __future__ import annotations

import asyncio

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
