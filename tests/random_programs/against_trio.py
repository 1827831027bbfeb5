"""Holds programs against trio: runs each on both, compares the stories, makes a difference small.

    .venv/bin/python -m tests.random_programs.against_trio 0 200000

runs the programs from 0 on, so many, each on both loops and in a task of asyncio's and of ours, and
says how far it is. It decides nothing: what the two do differently by our rules is in `faces`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest.mock import patch

import trio
import trio._core._run as trios_scheduler
import trio.testing

import aionursery

from .clock import BoundedLoop, Hang
from .faces import Ours, Story, Trios, is_by_asyncios_host
from .programs import numbered
from .shrinking import smaller
from .statements import Statement, show
from .telling import END, Telling

Program = tuple[Statement, ...]

#: What a program of ours runs on: a loop, and whether its tasks are ours.
WORLDS: dict[str, tuple[Callable[[], asyncio.AbstractEventLoop], bool]] = {
    "asyncio": (BoundedLoop, False),
    "asyncio-ours": (BoundedLoop, True),
}
if importlib.util.find_spec("uvloop"):
    from .uvloop_clock import BoundedUvloop

    WORLDS |= {"uvloop": (BoundedUvloop, False), "uvloop-ours": (BoundedUvloop, True)}

#: How often trio is asked, each time with another order of the tasks of one turn.
ORDERS = 400
FEW_ORDERS = 20


class Order(deque[Any]):
    """trio's queue of tasks that are ready, taken in an order of our choice.

    The first order is that of becoming ready, as ours is, the second its reverse: trio takes
    either, by chance. In the others each task has a rank, drawn anew now and then, and only the
    first of those that are ready takes a step: so what one task does in a moment may come before
    or after all that another does.
    """

    def __init__(self, number: int, ready: Iterable[Any]) -> None:
        super().__init__(ready)
        self.number = number
        self.drawn = random.Random(number)
        self.ranks: dict[Any, float] = {}

    def __iter__(self) -> Iterator[Any]:
        tasks = list(super().__iter__())
        if self.number == 0:
            # trio takes them from the end.
            tasks.reverse()
        elif self.number > 1 and tasks:
            for task in tasks:
                if task not in self.ranks or self.drawn.random() < 0.1:
                    self.ranks[task] = self.drawn.random()
            tasks = [min(tasks, key=self.ranks.__getitem__)]
        self.taken = tasks
        return iter(tasks)

    def clear(self) -> None:
        """Called once those that have been taken run."""
        for task in self.taken:
            self.remove(task)


class _NoChance:
    """trio's dice, which leave the order as it is."""

    def random(self) -> float:
        return 1.0


def on_trio(program: Program, order: int = 0) -> Story:
    face = Trios()
    tellings: list[Telling] = []

    async def main() -> None:
        runner = trios_scheduler.GLOBAL_RUN_CONTEXT.runner
        runner.runq = Order(order, runner.runq)
        telling = Telling(face, trio.CancelScope())
        tellings.append(telling)

        async def end() -> None:
            await trio.sleep(END)
            telling.end()

        trio.lowlevel.spawn_system_task(end)
        await telling.whole(program)

    # Hypothesis, where it is loaded, has had trio sort its queue.
    with (
        patch.object(trios_scheduler, "_r", _NoChance()),
        patch.object(trios_scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", False),
    ):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return tellings[0].told()


class Trio:
    """The stories that trio tells of a program, each told once."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.stories: list[Story] = []

    def tells(self, story: Story, orders: int = ORDERS) -> bool:
        """Whether it tells this one, too, in some order of the tasks of a turn."""
        for order in range(orders):
            if order == len(self.stories):
                self.stories.append(on_trio(self.program, order))
            if self.stories[order] == story:
                return True
        return False


def on_us(program: Program, world: str) -> Story:
    new_loop, ours = WORLDS[world]
    face = Ours()
    tellings: list[Telling] = []

    async def main() -> None:
        aionursery.warn_stuck_after(math.inf)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(face.report)
        telling = Telling(face, aionursery.CancelScope(cleanup=0))
        tellings.append(telling)
        loop.call_later(END, telling.end)
        await telling.whole(program)

    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            if ours:
                runner.get_loop().set_task_factory(aionursery.task_factory)
            runner.run(main())
    except (Hang, RuntimeError) as error:
        return {"main": [("hangs", str(error))]}
    return tellings[0].told()


def difference(program: Program, world: str, trio: Trio | None = None, orders: int = ORDERS) -> str:
    """Say how a run differs from every one that trio makes of the program, or nothing."""
    mine = on_us(program, world)
    trio = trio or Trio(program)
    if trio.tells(mine, orders):
        return ""
    if not WORLDS[world][1] and any(is_by_asyncios_host(mine, story) for story in trio.stories):
        return ""
    theirs = trio.stories[0]
    lines = []
    for task in sorted({*mine, *theirs}):
        if mine.get(task) != theirs.get(task):
            lines += [f"task {task}", f"  we:   {mine.get(task)}", f"  trio: {theirs.get(task)}"]
    return "\n".join(lines)


def found(number: int) -> str:
    """What the program of this number does otherwise than on trio, made small, or nothing."""
    program = numbered(number)
    trio = Trio(program)
    for world in WORLDS:
        if difference(program, world, trio):
            break
    else:
        return ""
    again = f"python -m tests.random_programs.against_trio {number} 1"
    small = small_enough(program, world)
    lines = [f"program {number}, on {world}; again: {again}", *show(small)]
    return "\n".join([*lines, difference(small, world)])


def small_enough(program: Program, world: str) -> Program:
    """A small program that differs; on the way to it trio is asked less often."""
    small = smaller(program, lambda it: bool(difference(it, world, Trio(it), FEW_ORDERS)))
    return small if difference(small, world) else program


def main(first: int, count: int) -> int:
    began = time.monotonic()
    wrong = 0
    for number in range(first, first + count):
        text = found(number)
        if text:
            wrong += 1
            print(text, end="\n\n", flush=True)
        done = number - first + 1
        if done % 1000 == 0:
            seconds = time.monotonic() - began
            print(f"{done} of {count} programs, {wrong} differ, {seconds:.0f} s", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
