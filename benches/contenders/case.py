"""Owns what a contender is: a way to run a coroutine, and a case for each row it takes part in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

Case = Callable[[Any, int], Awaitable[None]]  # the stopwatch (or another meter) and the size
Main = Callable[[], Coroutine[Any, Any, None]]


class NotThere(Exception):
    """The cell stays empty; the message says why."""


@dataclass
class Contender:
    key: str
    title: str
    run: Callable[[Main, str], None]  # the second argument names the loop
    cases: dict[str, Case]
    section: str = "nursery"
    ours: bool = False
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)  # row -> names of aionursery

    def case(self, row: str) -> Case | None:
        case = self.cases.get(row)
        if case is None:
            return None
        if missing := self._missing(row):
            raise NotThere("not there yet: " + ", ".join(missing))
        return case

    def _missing(self, row: str) -> list[str]:
        names = (*self.needs.get("*", ()), *self.needs.get(row, ()))
        if not names:
            return []
        try:
            import aionursery
        except ImportError:
            return ["aionursery"]
        return [name for name in names if not hasattr(aionursery, name)]


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if loop == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


def run_on_asyncio(main: Main, loop: str, task_factory: Any = None) -> None:
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        if task_factory is not None:
            runner.get_loop().set_task_factory(task_factory)
        runner.run(main())


def run_eagerly(main: Main, loop: str) -> None:
    run_on_asyncio(main, loop, _stdlib_eager_factory(loop))


def _stdlib_eager_factory(loop: str) -> Any:
    factory = asyncio.eager_task_factory
    if loop != "uvloop":
        return factory

    # uvloop hands on `eager_start=`, which the standard library's own factory refuses in 3.13.0.
    def without_eager_start(loop: Any, coro: Any, **options: Any) -> Any:
        options.pop("eager_start", None)
        return factory(loop, coro, **options)

    return without_eager_start


def run_with_our_factory(main: Main, loop: str, name: str) -> None:
    import aionursery

    run_on_asyncio(main, loop, getattr(aionursery, name))


our_factory = partial(run_with_our_factory, name="task_factory")
our_eager_factory = partial(run_with_our_factory, name="eager_task_factory")
