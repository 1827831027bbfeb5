"""A loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import aionursery


class _Selector(selectors.DefaultSelector):
    """Nothing is ready from outside, so what would be a wait moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.waits = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("the program waits for ever: nothing is scheduled")
            if timeout > 0:
                self.waits += 1
                # Beyond the timer by more than what floats lose.
                self.now += timeout + 1e-9
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on which a second takes no time."""

    def __init__(self) -> None:
        self.clock = _Selector()
        super().__init__(self.clock)
        self.turns = 0

    def time(self) -> float:
        return self.clock.now

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()


def run_virtually(main: Coroutine[Any, Any, Any], *, ours: bool) -> Any:
    """Run a coroutine on a virtual clock, in a task of ours or of asyncio's."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        if ours:
            runner.get_loop().set_task_factory(aionursery.task_factory)
        return runner.run(main)


def virtual(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., None]:
    """Run the test on a virtual clock, as a task of asyncio's and as one of ours."""

    @pytest.mark.parametrize("ours", [False, True], ids=["asyncio", "ours"])
    @functools.wraps(test)
    def run(ours: bool, *args: Any, **kwargs: Any) -> None:
        run_virtually(test(*args, **kwargs), ours=ours)

    # So that pytest asks for `ours` and not for what the wrapped function takes.
    del run.__wrapped__
    return run
