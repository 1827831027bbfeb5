"""What a random program is made of, and how bytes become one. Nothing here runs anything.

Every byte string is a program, and one that has run out of bytes reads zeros, which end a block:
so a shorter or smaller string is a simpler program, and Hypothesis minimises well and quickly.

Durations. The n-th timed statement takes a small multiple of `LONG` plus its own power of two, so
two moments are the same only if the same statements led to them: no race between two timers
decides what a program does. `grid=True` drops the powers, for programs that should have ties.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from hypothesis import strategies as st

#: How many timed statements of one program have a power of two of their own.
POWERS = 20
#: The least of them. Small enough that hours of them are exact, large enough to tell from nothing.
SHORT = 2.0**-10
LONG = SHORT * 2.0**POWERS
DEEPEST = 5


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    pass


@dataclass(frozen=True)
class Raise:
    """Raise `Boom(name)`, a moment of its own later."""

    name: str
    after: float


@dataclass(frozen=True)
class Cancel:
    """Cancel the scope of a block, if it is entered by then."""

    block: int
    after: float


@dataclass(frozen=True)
class CancelTask:
    """`Task.cancel()` of a child, if it runs by then; with `wait`, `cancel_and_wait()`."""

    child: int
    after: float
    wait: bool


@dataclass(frozen=True)
class Result:
    """Await another child's task."""

    child: int


@dataclass(frozen=True)
class WaitEvent:
    event: int
    ours: bool


@dataclass(frozen=True)
class SetEvent:
    event: int
    ours: bool


@dataclass(frozen=True)
class Spawn:
    """Start a child in a nursery that some task has entered, whoever it is."""

    block: int
    child: Child


@dataclass(frozen=True)
class Scope:
    """A `with` block: `CancelScope`, `move_on_after`, `fail_after` or `shield`."""

    name: str
    kind: Literal["scope", "move_on", "fail", "shield"]
    seconds: float
    shield: bool
    cleanup: float | None
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Child:
    name: str
    how: Literal["soon", "now", "shield", "asyncio.shield"]
    after: float
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Block:
    """A block that owns children."""

    name: str
    kind: Literal["nursery", "collect", "TaskGroup", "asyncio.TaskGroup"]
    seconds: float
    shield: bool
    cleanup: float | None
    children: tuple[Child, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Timeout:
    """asyncio's own: `asyncio.timeout`, or `asyncio.wait_for` of what is inside."""

    name: str
    kind: Literal["timeout", "wait_for"]
    seconds: float
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Finally:
    body: tuple[Statement, ...]
    shielded: bool
    cleanup: tuple[Statement, ...]


@dataclass(frozen=True)
class Catch:
    """`except Exception`, or with `cancellations` an `except CancelledError` that swallows it."""

    cancellations: bool
    body: tuple[Statement, ...]


Statement = (
    Sleep
    | Checkpoint
    | Raise
    | Cancel
    | CancelTask
    | Result
    | WaitEvent
    | SetEvent
    | Spawn
    | Scope
    | Block
    | Timeout
    | Finally
    | Catch
)

#: What trio has, too.
TRIO = ("sleep", "checkpoint", "raise", "cancel", "scope", "nursery", "finally", "catch", "spawn")
#: Everything; what makes the most of a program stands there more than once.
ALL = (
    *TRIO,
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


class Reader:
    """Makes a program out of bytes."""

    def __init__(self, source: bytes, words: tuple[str, ...], *, grid: bool) -> None:
        self._bytes = iter(source)
        self._words = words
        self._full = words is not TRIO
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
        return self.choose(None, None, 0.0, 2.0) if self._full else None

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
        return Child(name, how if self._full else "soon", self.after(), self.statements())

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
        return self._block("collect" if self._full and self.pick(4) == 3 else "nursery")

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


def show(statements: tuple[Statement, ...], indent: str = "") -> Iterator[str]:
    """The program as lines, to read when it has failed."""
    for statement in statements:
        yield from _show(statement, indent)


def _show(statement: Statement | Child, indent: str) -> Iterator[str]:
    plain = {}
    inner = []
    for field in fields(statement):
        value = getattr(statement, field.name)
        if isinstance(value, tuple):
            inner.append((field.name, value))
        elif isinstance(value, Child):
            inner.append((field.name, (value,)))
        else:
            plain[field.name] = value
    values = ", ".join(f"{name}={value!r}" for name, value in plain.items())
    yield f"{indent}{type(statement).__name__}({values})"
    for name, parts in inner:
        if parts:
            yield f"{indent}  {name}:"
            for part in parts:
                yield from _show(part, indent + "    ")
