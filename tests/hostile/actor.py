"""The task that runs a script: it takes one step after another, blocks inside blocks.

A script that runs out ends all its blocks. What a step raises is the script's end, unless a block
or the step's own number catches it; an interrupt is never caught.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .program import Step
from .world import World

BLOCK: dict[str, Callable[..., Awaitable[None]]] = {}
WAIT: dict[str, Callable[[World, int, int], Awaitable[Any]]] = {}


class Cursor:
    """Where in its script a task is."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps
        self._next = 0

    def next(self) -> Step | None:
        """Take the next step; `None` at the end."""
        if self._next >= len(self._steps):
            return None
        self._next += 1
        return self._steps[self._next - 1]

    def back(self, steps: int) -> None:
        """Go back, so that steps run again."""
        self._next = max(0, self._next - steps)


async def actor(world: World, script: int, *_: Any, **__: Any) -> Any:
    """Run a script."""
    scripts = world.program.scripts
    await run(world, Cursor(scripts[script % len(scripts)] if scripts else []), 0)


async def run(world: World, cursor: Cursor, depth: int) -> None:
    """Run the steps up to the end of the block or of the script."""
    while not world.over():
        step = cursor.next()
        if step is None:
            return
        name, a, b = step
        if name == "end":
            return
        if name == "raise":
            from .objects import error

            raise error(a, b)
        if name in BLOCK:
            if depth < 6 and world.spend():
                world.done[name] += 1
                await BLOCK[name](world, cursor, depth + 1, a, b)
        elif name in WAIT:
            if world.spend():
                world.done[name] += 1
                await _wait(world, name, a, b)
        else:
            world.do(step)


async def _wait(world: World, name: str, a: int, b: int) -> None:
    try:
        await WAIT[name](world, a, b)
    except asyncio.CancelledError as exc:
        world.see(exc, name)
        raise
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as exc:
        world.see(exc, name)
        if b & 1:
            raise
