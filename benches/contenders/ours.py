"""Owns how aionursery takes part: as it is, with asyncio's waits, and under its own `run`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from contenders.case import Contender, Main, loop_factory, run_on_asyncio
from contenders.coroutine_style import Toolkit, cases
from contenders.coroutine_style import at_once as handed_coroutines
from contenders.function_style import at_once as handed_a_function

NEEDS: dict[str, tuple[str, ...]] = {
    "*": ("Nursery",),
    "drop_in": ("TaskGroup",),
    "own_sleep0": ("sleep",),
    "sleep": ("sleep",),
    "event": ("Event",),
    "queue": ("Queue",),
    "timeout": ("fail_after",),
    "timeout_host": ("fail_after",),
    "cancel": ("Event",),
    "memory_event": ("Event",),
    "memory_sleep": ("sleep", "Event"),
}


def _toolkit(own_waits: bool) -> Toolkit:
    own = _own
    return Toolkit(
        open=own("Nursery"),
        spawn="start_soon",
        sleep=own("sleep") if own_waits else asyncio.sleep,
        event=own("Event") if own_waits else asyncio.Event,
        queue=own("Queue") if own_waits else asyncio.Queue,
        timeout=own("fail_after") if own_waits else asyncio.timeout,
        timeout_is_async=not own_waits,
        cancel=lambda nursery: nursery.cancel(),
    )


def _own(name: str) -> Any:
    """A name of the library, or None where it is too old to have it, or not there."""
    try:
        import aionursery as library
    except ImportError:
        return None
    return getattr(library, name, None)


def _own_run(main: Main, loop: str) -> None:
    import aionursery

    aionursery.run(main(), loop_factory=loop_factory(loop))


def contenders() -> list[Contender]:
    toolkit = _toolkit(own_waits=True)
    drop_in = replace(toolkit, open=_own("TaskGroup"), spawn="create_task")
    # What the others are handed as functions, ours can be handed so too.
    own = cases(toolkit) | {
        "function": partial(handed_a_function, toolkit),
        "drop_in": partial(handed_coroutines, drop_in),
    }
    plain_rows = (
        "sleep",
        "event",
        "queue",
        "timeout",
        "timeout_host",
        "cancel",
        "memory_event",
        "memory_sleep",
    )
    plain = cases(_toolkit(own_waits=False))
    under_run = {
        row: case
        for row, case in own.items()
        if not row.startswith(("scale_", "memory_", "cleanup_"))
    }
    return [
        Contender("ours", "ours", run_on_asyncio, own, ours=True, needs=NEEDS),
        Contender(
            "ours_run",
            "ours, main under aionursery.run",
            _own_run,
            under_run,
            ours=True,
            needs={**NEEDS, "*": ("Nursery", "run")},
        ),
        Contender(
            "ours_plain",
            "ours, waits of asyncio",
            run_on_asyncio,
            {row: plain[row] for row in plain_rows},
            ours=True,
            needs={"*": ("Nursery",)},
        ),
    ]
