"""The loops that programs run on: they never block, their time is counted in turns, and one bites.

A loop stops itself after its turns, whatever the program has done to what is scheduled on it.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from typing import Any

from .world import World

#: So much time passes in one turn.
TURN = 0.001


class _Selector(selectors.DefaultSelector):
    """Nothing is waited for; each look moves the clock, and the last turn stops the loop."""

    turns = 0
    last: float = math.inf
    until: Any = None
    stop: Any = None

    def select(self, timeout: float | None = None) -> list[Any]:
        self.turns += 1
        if self.turns >= self.last or (self.until is not None and self.until.done()):
            self.stop()
        return super().select(0)


class CountingLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, on a clock that counts turns."""

    def __init__(self) -> None:
        self.clock = _Selector()
        super().__init__(self.clock)

    def run_turns(self, count: int, until: Any = None) -> bool:
        """Run for so many turns, or until a task has ended; whether the turns are used up."""
        last = self.clock.last = self.clock.turns + count
        self.clock.until, self.clock.stop = until, self.stop
        try:
            self.run_forever()
        finally:
            self.clock.until = self.clock.stop = None
            self.clock.last = math.inf
        return self.clock.turns >= last

    def time(self) -> float:
        return 1000 + self.clock.turns * TURN


class BitingLoop(CountingLoop):
    """A loop whose methods run hooks."""

    def _bite(self, number: int) -> None:
        world = World.current
        if world is not None and world.loop is self and (world.budget & 7) == number:
            try:
                world.hook(number)
            except Exception as exc:
                # A loop that refuses to schedule is more than asyncio's tasks survive.
                world.see(exc, "loop")
            except BaseException:
                world.lost_steps = True
                raise

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        self._bite(1)
        handle = super().call_soon(callback, *args, context=context)
        self._bite(2)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        self._bite(3)
        return super().call_at(when, callback, *args, context=context)

    def time(self) -> float:
        self._bite(4)
        return super().time()

    def create_future(self) -> Any:
        self._bite(5)
        return super().create_future()

    def call_exception_handler(self, context: Any) -> None:
        self._bite(6)
        super().call_exception_handler(context)

    def get_debug(self) -> bool:
        self._bite(7)
        return super().get_debug()


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """Make a loop by the name of its kind."""
    if kind == "biting":
        return BitingLoop()
    if kind == "uvloop":
        try:
            import uvloop
        except ImportError:
            return CountingLoop()
        return uvloop.new_event_loop()
    return CountingLoop()


def run_nested(world: World, future: Any, turns: int) -> None:
    """Run a loop inside one of its own steps, as `nest_asyncio` does."""
    loop = world.loop
    # Outside of one, asyncio's own tasks lose their steps, from 3.14 on.
    if not isinstance(loop, CountingLoop) or not loop.is_running():
        return
    tasks = asyncio.tasks
    current = asyncio.current_task(loop)
    if current is not None:
        _leave(tasks, loop, current)
    try:
        for _ in range(turns):
            if future is not None and future.done():
                break
            if any(_is_entered(handle) for handle in list(loop._ready)):  # type: ignore[attr-defined]
                world.lost_steps = True
            loop._run_once()  # type: ignore[attr-defined]
            if loop._stopping:  # type: ignore[attr-defined]
                break
    finally:
        if current is not None:
            now = asyncio.current_task(loop)
            if now is not None:
                _leave(tasks, loop, now)
            tasks._enter_task(loop, current)


def _is_entered(handle: Any) -> bool:
    """Whether a callback can't run now: where a task schedules its own next step, for example."""
    try:
        handle._context.run(int)
    except RuntimeError:
        return not is_link(handle)
    return False


def is_link(handle: Any) -> bool:
    """Whether the engine asks for a call again that it has lost; a future calls its waiter once."""
    return type(getattr(handle._callback, "__self__", None)).__name__ == "Link"


def _leave(tasks: Any, loop: Any, task: Any) -> None:
    tasks._leave_task(loop, task)
