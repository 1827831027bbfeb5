"""How bytes become a random program. Nothing here runs anything.

Every byte string is a program, and one that has run out of bytes reads zeros, which end a block:
so a shorter or smaller string is a simpler program, and Hypothesis minimises well and quickly.

Durations. The n-th timed statement takes a small multiple of `LONG` plus its own power of two, so
two moments are the same only if the same statements led to them: no race between two timers
decides what a program does. `grid=True` drops the powers, for programs that should have ties.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st

from .statements import (
    Block,
    Cancel,
    CancelTask,
    Catch,
    CatchAll,
    Checkpoint,
    Child,
    Finally,
    Generated,
    Locked,
    Look,
    Move,
    Raise,
    RaiseBase,
    RaiseKnown,
    Result,
    Scope,
    SetEvent,
    Sleep,
    Spawn,
    Start,
    Started,
    Statement,
    Step,
    Timeout,
    WaitEvent,
    Wall,
)

#: How many timed statements of one program have a power of two of their own.
POWERS = 20
#: The least of them. Small enough that hours of them are exact, large enough to tell from nothing.
SHORT = 2.0**-10
LONG = SHORT * 2.0**POWERS
DEEPEST = 5


#: What both kinds of programs are made of.
BOTH = ("sleep", "checkpoint", "raise", "cancel", "scope", "nursery", "finally", "catch", "spawn")
#: Programs for us alone; what makes the most of one stands there more than once.
ALL = (
    *BOTH,
    "nursery",
    "scope",
    "group",
    "timeout",
    "swallow",
    "cancel_task",
    "result",
    "wait",
    "set",
)
#: Programs that trio can run, too.
TRIO = (
    *BOTH,
    *("nursery", "nursery", "scope", "scope", "sleep", "sleep", "checkpoint", "cancel", "cancel"),
    *("start", "start", "wait", "wait", "wait", "set", "set", "move", "wall", "locked", "locked"),
    *("catch_all", "catch_all", "raise_known", "raise_base", "generated", "look"),
)


class Reader:
    """Makes a program out of bytes."""

    def __init__(self, source: bytes, words: tuple[str, ...], *, grid: bool) -> None:
        self._bytes = iter(source)
        self._words = words
        self._grid = grid
        self._timed = 0
        self._named = 0
        self._depth = 0

    def pick(self, count: int) -> int:
        return next(self._bytes, 0) % count

    def choose(self, *options: Any) -> Any:
        return options[self.pick(len(options))]

    def name(self) -> str:
        self._named += 1
        return str(self._named)

    def seconds(self, least: int = 1) -> float:
        """How long something takes: from `least` to a few times `LONG`, and a bit of its own."""
        many = least + self.pick(4)
        if self._grid:
            return float(many)
        self._timed += 1
        return many * LONG + SHORT * 2.0 ** (self._timed % POWERS)

    def deadline(self) -> float:
        """In which many seconds; one time in eight it is over already, in three never."""
        chance = self.pick(8)
        if chance < 3:
            return math.inf
        return -1.0 if chance == 3 else self.seconds()

    def after(self) -> float:
        return self.seconds(0)

    def cleanup(self) -> float | None:
        return self.choose(None, None, 0.0, 2.0)

    def statements(self) -> tuple[Statement, ...]:
        self._depth += 1
        try:
            if self._depth > DEEPEST:
                return ()
            return tuple(self.statement() for _ in range(self.pick(4)))
        finally:
            self._depth -= 1

    def child(self) -> Child:
        name = self.name()
        how = self.choose("soon", "soon", "now", "shield", "asyncio.shield")
        return Child(name, how, self.after(), self.statements())

    def statement(self) -> Statement:
        return getattr(self, "_" + self._words[self.pick(len(self._words))])()

    def _sleep(self) -> Statement:
        return Sleep(self.seconds())

    def _checkpoint(self) -> Statement:
        return Checkpoint()

    def _raise(self) -> Statement:
        return Raise(self.name(), self.after())

    def _cancel(self) -> Statement:
        return Cancel(self.pick(12), self.after())

    def _cancel_task(self) -> Statement:
        return CancelTask(self.pick(12), self.after(), self.pick(3) == 2)

    def _result(self) -> Statement:
        return Result(self.pick(12))

    def _wait(self) -> Statement:
        return WaitEvent(self.pick(2), self.pick(2) == 0)

    def _set(self) -> Statement:
        return SetEvent(self.pick(2), self.pick(2) == 0)

    def _spawn(self) -> Statement:
        return Spawn(self.pick(12), self.child())

    def _scope(self) -> Statement:
        kind = self.choose("scope", "move_on", "fail", "shield")
        shield = kind == "shield" or self.pick(4) == 3
        return Scope(self.name(), kind, self.deadline(), shield, self.cleanup(), self.statements())

    def _nursery(self) -> Statement:
        return self._block("collect" if self.pick(4) == 3 else "nursery")

    def _group(self) -> Statement:
        return self._block(self.choose("TaskGroup", "asyncio.TaskGroup"))

    def _block(self, kind: Any) -> Statement:
        nursery = kind in ("nursery", "collect")
        return Block(
            self.name(),
            kind,
            self.deadline() if nursery else math.inf,
            nursery and self.pick(4) == 3,
            self.cleanup() if nursery else None,
            tuple(self.child() for _ in range(self.pick(4))),
            self.statements(),
        )

    def _timeout(self) -> Statement:
        kind = self.choose("timeout", "wait_for")
        return Timeout(self.name(), kind, self.seconds(), self.statements())

    def _finally(self) -> Statement:
        return Finally(self.statements(), self.pick(2) == 0, self.statements())

    def _catch(self) -> Statement:
        return Catch(False, self.statements())

    def _swallow(self) -> Statement:
        return Catch(True, self.statements())


class TrioReader(Reader):
    """Makes a program that trio can run, too.

    Its blocks have numbers of their own, so that most statements about a block find one. A program
    that has used up its powers of two takes no more time of its own.
    """

    def __init__(self, source: bytes) -> None:
        super().__init__(source, TRIO, grid=False)
        self._blocks = 0
        #: Those around the place that is drawn.
        self._around: list[int] = []

    def seconds(self, least: int = 1) -> float:
        return 0.0 if self._timed == POWERS else super().seconds(least)

    def deadline(self) -> float:
        return math.inf if self._timed == POWERS else super().deadline()

    def after(self) -> float:
        """Half of what a program does to others happens at once, without a moment of its own."""
        return self.seconds(0) if self.pick(2) else 0.0

    def cleanup(self) -> float | None:
        return 0.0

    def some_block(self) -> int:
        if self._around and self.pick(2):
            return self.choose(*self._around)
        return self.pick(self._blocks + 1)

    @contextmanager
    def block(self) -> Iterator[str]:
        """The name of a block, while what is in it is drawn."""
        self._around.append(self._blocks)
        self._blocks += 1
        yield str(self._around[-1])
        self._around.pop()

    def child(self) -> Child:
        return Child(self.name(), "soon", 0.0, self.statements())

    def _cancel(self) -> Statement:
        return Cancel(self.some_block(), self.after())

    def _move(self) -> Statement:
        return Move(self.some_block(), self.deadline())

    def _wall(self) -> Statement:
        return Wall(self.some_block(), self.pick(2) == 0)

    def _look(self) -> Statement:
        return Look(self.some_block())

    def _spawn(self) -> Statement:
        return Spawn(self.some_block(), self.child())

    def _start(self) -> Statement:
        block, name = self.some_block(), self.name()
        started = () if self.pick(8) == 7 else (Started(),)
        body = (*self.statements(), *started, *self.statements())
        return Start(block, Child(name, "soon", 0.0, body))

    def _scope(self) -> Statement:
        kind = self.choose("scope", "move_on", "fail", "shield")
        shield = kind == "shield" or self.pick(4) == 3
        with self.block() as name:
            return Scope(name, kind, self.deadline(), shield, 0.0, self.statements())

    def _nursery(self) -> Statement:
        seconds, shield = self.deadline(), self.pick(4) == 3
        with self.block() as name:
            children = tuple(self.child() for _ in range(self.pick(4)))
            return Block(name, "nursery", seconds, shield, 0.0, children, self.statements())

    def _locked(self) -> Statement:
        return Locked(self.pick(2), self.pick(2) == 0, self.statements())

    def _catch_all(self) -> Statement:
        then = self.choose("again", "swallow", "replace", "alone", "beside", "deep")
        return CatchAll(self.name(), then, self.statements())

    def _raise_known(self) -> Statement:
        return RaiseKnown(self.pick(2))

    def _raise_base(self) -> Statement:
        return RaiseBase(self.choose("GeneratorExit", "KeyboardInterrupt", "SystemExit"))

    def _generated(self) -> Statement:
        block: Any = self._nursery() if self.pick(2) else self._scope()
        steps = tuple(Step(self.statements()) for _ in range(self.pick(3)))
        return Generated(block, steps, self.pick(len(steps) + 2), self.statements())


def read(source: bytes, words: tuple[str, ...], *, grid: bool) -> tuple[Statement, ...]:
    """The program that these bytes are: always a block, so that there is something to cancel."""
    reader = Reader(source, words, grid=grid)
    first = reader._nursery()
    return (first, *reader.statements())


def programs(
    words: tuple[str, ...], *, grid: bool, longest: int = 240
) -> st.SearchStrategy[tuple[Statement, ...]]:
    """Programs of these words, most of them of some size."""
    sources = st.binary(min_size=longest // 3, max_size=longest)
    return sources.map(lambda source: read(source, words, grid=grid))


def numbered(number: int) -> tuple[Statement, ...]:
    """The program for trio, too, that has this number."""
    drawn = random.Random(number)
    reader = TrioReader(drawn.randbytes(drawn.randint(20, 200)))
    return (reader._nursery(), *reader.statements())
