"""What the facade stands on: a library, a kind of loop, a kind of task; and the run that goes on.

Owns the choice, and the one run that there can be at a time. Makes nothing of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import aionursery

#: What the facade's nurseries, scopes and waits are made of.
library: Any = aionursery

#: Whether the test runs in a task of the library's, or in one of asyncio's.
own_task = True

#: Whether time is a test's own, on a loop of asyncio's; otherwise it is real, on uvloop.
virtual = True


@dataclass
class Run:
    """One call of `run`."""

    loop: asyncio.AbstractEventLoop
    clock: Any
    token: Any = None
    root: Any = None
    #: What trio writes for a task, by the task's name, which ours writes.
    names: dict[str, str] = field(default_factory=dict)
    #: What reached the loop's exception handler.
    reports: list[dict[str, Any]] = field(default_factory=list)


run: Run | None = None


def put(lower: Any, *, in_own_task: bool, on_virtual_loop: bool) -> None:
    """Put the facade on another library, or its tests elsewhere."""
    global library, own_task, virtual
    library, own_task, virtual = lower, in_own_task, on_virtual_loop


def current_run() -> Run:
    """The run in which the caller is; RuntimeError in a thread and outside."""
    if asyncio._get_running_loop() is None or run is None:
        raise RuntimeError("must be called from async context")
    return run
