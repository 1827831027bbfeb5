"""What a random program is made of, and how it is shown. Nothing here runs or draws anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Literal


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
    """Start a child in a nursery that any task has entered."""

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


@dataclass(frozen=True)
class Move:
    """Set the deadline of a block to some seconds from now."""

    block: int
    seconds: float


@dataclass(frozen=True)
class Wall:
    """Switch the shield of a block on or off."""

    block: int
    shield: bool


@dataclass(frozen=True)
class Locked:
    """Hold a lock while the body runs."""

    lock: int
    ours: bool
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Start:
    """`await nursery.start()` in a nursery that some task has entered."""

    block: int
    child: Child


@dataclass(frozen=True)
class Started:
    """`task_status.started()`, in a child that was started so."""


@dataclass(frozen=True)
class CatchAll:
    """`except BaseException`, and what then: the error again, none, another, or a group with it."""

    name: str
    then: Literal["again", "swallow", "replace", "alone", "beside", "deep"]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class RaiseKnown:
    """Raise the one object that all of these with this number raise."""

    number: int


@dataclass(frozen=True)
class RaiseBase:
    """Raise something that is no `Exception`."""

    kind: Literal["KeyboardInterrupt", "SystemExit", "GeneratorExit"]


@dataclass(frozen=True)
class Generated:
    """An async generator with a block around its yields, closed after some of its steps."""

    block: Block | Scope
    #: What it does before each yield.
    steps: tuple[Step, ...]
    #: How many steps are taken before it is closed; one more than there are ends it.
    taken: int
    #: What its consumer does after each step, behind a shield.
    between: tuple[Statement, ...]


@dataclass(frozen=True)
class Step:
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Look:
    """Tell what a block says of itself, and which deadline is in force here."""

    block: int


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
    | Move
    | Wall
    | Locked
    | Start
    | Started
    | CatchAll
    | RaiseKnown
    | RaiseBase
    | Generated
    | Look
)


def show(statements: tuple[Statement, ...], indent: str = "") -> Iterator[str]:
    """The program as lines, to read when it has failed."""
    for statement in statements:
        yield from _show(statement, indent)


def _show(statement: Statement | Child | Step, indent: str) -> Iterator[str]:
    plain = {}
    inner = []
    for field in fields(statement):
        value = getattr(statement, field.name)
        if isinstance(value, tuple):
            inner.append((field.name, value))
        elif is_dataclass(value):
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
