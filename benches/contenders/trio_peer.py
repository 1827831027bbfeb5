"""Owns how trio takes part: on its own loop, whichever loop the others run on."""

from __future__ import annotations

from functools import partial
from typing import Any

from contenders.case import Contender, Main
from contenders.function_style import Toolkit, cases, own_sleep


async def _yields_then_tells(kit: Toolkit, done: Any) -> None:
    await kit.sleep(0)
    done.set()


async def _waits(done: Any) -> None:
    await done.wait()


async def _child(kit: Toolkit, clock: Any, size: int) -> None:
    # A trio task can't be awaited; its programs say "done" with an event.
    with clock:
        async with kit.open() as nursery:
            start, new_event = nursery.start_soon, kit.event
            for _ in range(size):
                done = new_event()
                start(_yields_then_tells, kit, done)
                start(_waits, done)


def contenders() -> list[Contender]:
    try:
        import trio
    except ImportError:
        return []
    kit = Toolkit(
        open=trio.open_nursery,
        sleep=trio.sleep,
        event=trio.Event,
        channel=trio.open_memory_channel,
        timeout=trio.fail_after,
    )
    table = cases(kit) | {
        "sleep0": partial(own_sleep, kit, seconds=0),
        "child": partial(_child, kit),
    }

    def run(main: Main, loop: str) -> None:
        trio.run(main)

    return [Contender("trio", "trio (own loop)", run, table)]
