"""What a run of a program leaves behind to be judged. It knows no rules and no library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Place:
    """A place in the tree of scopes: what reaches code that runs here.

    `alone` marks what asks only its own task, as `asyncio.timeout` does; `edge`, where a task
    begins.
    """

    name: str
    above: Place | None
    called: Callable[[], bool]
    shield: bool = False
    alone: bool = False
    edge: bool = False

    def reached_by(self) -> frozenset[str]:
        """The scopes whose cancellation reaches this place now."""
        names = set()
        place: Place | None = self
        while place is not None:
            if not place.alone and place.called():
                names.add(place.name)
            if place.shield:
                break
            place = place.above
        return frozenset(names)

    def asked_by(self) -> frozenset[str]:
        """What of asyncio's own has asked this task to be cancelled by now."""
        names = set()
        place: Place | None = self
        while place is not None:
            if place.alone and place.called():
                names.add(place.name)
            place = place.above
        return frozenset(names)

    def shielded(self) -> bool:
        """Whether the task itself stands in a shield here."""
        place: Place | None = self
        while place is not None and not place.shield and not place.edge:
            place = place.above
        return place is not None and place.shield


How = Literal["passed", "cancelled", "failed"]


@dataclass(frozen=True)
class Event:
    """Something that happened in a task. `count` is what `cancelling()` said then."""

    task: str
    count: int


@dataclass(frozen=True)
class Awaited(Event):
    """An await that suspends has ended. `before` and `now`: the scopes that reached it."""

    how: How
    before: frozenset[str]
    now: frozenset[str]
    #: What of asyncio's own was about to cancel this task.
    asked: frozenset[str] = frozenset()
    shielded: bool = False
    #: It received the cancellation of another task or future that it waited for.
    received: bool = False


@dataclass(frozen=True)
class Asked(Event):
    """`task.cancel()` was called, and returned True."""


@dataclass(frozen=True)
class Entered(Event):
    name: str


@dataclass(frozen=True)
class Left(Event):
    """A block was left: `came` is how its body ended, `how` what left the block."""

    name: str
    kind: str
    came: How
    how: How
    #: The scopes outside this block that reach the place after it.
    now: frozenset[str]
    asked: frozenset[str] = frozenset()
    #: Children that had not ended.
    alive: tuple[str, ...] = ()
    #: Whether the block's own scope was cancelled, and says that it has caught it.
    called: bool = False
    caught: bool = False
    error: BaseException | None = None


@dataclass(frozen=True)
class Swallowed(Event):
    """The program has swallowed a CancelledError."""


@dataclass(frozen=True)
class Raised(Event):
    """A new error has come into the world."""

    error: BaseException


@dataclass(frozen=True)
class Handled(Event):
    """The program has handled an error, or put another in its place."""

    error: BaseException


@dataclass(frozen=True)
class Received(Event):
    """A task that awaited another one's result got its error, too."""

    error: BaseException


@dataclass(frozen=True)
class Ended(Event):
    how: How


@dataclass
class Run:
    """A whole run."""

    events: list[Event] = field(default_factory=list)
    #: Which tasks are of our type: for others a shield cannot hold against `Task.cancel()` (R20).
    ours: set[str] = field(default_factory=set)
    #: What has left the program.
    outcome: BaseException | None = None
    #: What the loop's exception handler was told.
    reports: list[dict[str, Any]] = field(default_factory=list)
    #: The tasks that are left, and what the extension still keeps for the loop.
    tasks_after: list[str] = field(default_factory=list)
    size_after: tuple[int, ...] = (0, 0, 0)

    def add(self, event: Event) -> None:
        self.events.append(event)


def leaves(error: BaseException | None) -> list[BaseException]:
    """The errors in a tree of groups, each as often as it is there; no cancellations."""
    if error is None or isinstance(error, asyncio.CancelledError):
        return []
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]
