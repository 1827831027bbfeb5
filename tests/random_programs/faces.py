"""trio and aionursery with one face, so that one program runs on both.

Owns every difference that stands, each in a function with its reason; all but these must be the
same, so nothing else here may change what a program sees. Where our rules decide otherwise, `Trios`
does as they say. What a rule leaves to the kind of host is `is_by_asyncios_host`, which looks at
the two records. One thing no program does, though both can run it: a scope inside an async
generator does not cancel the code that iterates over it, which stands behind a shield. That is a
misuse (PEP 789). Such a cancellation outlives its scope; a nursery of trio's then swallows it, and
one of ours lets it pass as asyncio's `TaskGroup` does (R16).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any
from unittest.mock import ANY

import trio

import aionursery

from .statements import Block, Scope

#: What each task of a run told, in order; the last of each entry is the moment.
Story = dict[str, list[Any]]

#: What leaves a nursery bare (R9).
ENDS_THE_PROGRAM = (KeyboardInterrupt, SystemExit)


class Boom(Exception):
    """An error of a program's."""


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a tree of groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]


class Face:
    """What both call the same, and what each run of a program keeps."""

    cancelled: type[BaseException]

    def __init__(self) -> None:
        #: Errors that could not be raised, and were reported.
        self.reports: list[BaseException] = []

    def caught(self, scope: Any, left: BaseException | None) -> Any:
        """What a scope that was left, by this error or none, says it has caught."""
        return scope.cancelled_caught

    def move(self, scope: Any, deadline: float) -> None:
        """Set a deadline."""
        scope.deadline = deadline

    def shape(self, error: BaseException | None) -> Any:
        """Which errors, in which groups; not in which order."""
        if error is None:
            return "returned"
        if isinstance(error, self.cancelled):
            return "cancelled"
        if isinstance(error, BaseExceptionGroup):
            return sorted((self.shape(part) for part in error.exceptions), key=repr)
        if isinstance(error, (TimeoutError, trio.TooSlowError)):
            return "timeout"
        if isinstance(error, Boom):
            return f"boom {error}"
        if isinstance(error, aionursery.NurseryClosed):
            return "RuntimeError"
        return type(error).__name__


class Ours(Face):
    """aionursery, as it is."""

    cancelled = asyncio.CancelledError
    sleep = staticmethod(aionursery.sleep)
    checkpoint = staticmethod(aionursery.checkpoint)
    effective_deadline = staticmethod(aionursery.current_effective_deadline)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def event(self, *, ours: bool) -> Any:
        return aionursery.Event() if ours else asyncio.Event()

    def lock(self, *, ours: bool) -> Any:
        return aionursery.Lock() if ours else asyncio.Lock()

    async def acquire(self, lock: Any) -> None:
        await lock.acquire()

    def nursery(self, block: Block) -> AbstractAsyncContextManager[Any]:
        return aionursery.Nursery(
            deadline=self.now() + block.seconds, shield=block.shield, cleanup=block.cleanup
        )

    def scope(self, scope: Scope) -> AbstractContextManager[Any]:
        if scope.kind == "fail":
            return aionursery.fail_at(
                self.now() + scope.seconds, shield=scope.shield, cleanup=scope.cleanup
            )
        return aionursery.CancelScope(
            deadline=self.now() + scope.seconds, shield=scope.shield, cleanup=scope.cleanup
        )

    def start_soon(self, nursery: Any, child: Callable[..., Any], *args: Any) -> None:
        nursery.start_soon(child, *args)

    async def start(self, nursery: Any, child: Callable[..., Any], *args: Any) -> Any:
        return await nursery.start(child, *args)

    def report(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler."""
        self.reports.append(context.get("exception") or RuntimeError(context["message"]))


class Trios(Face):
    """trio, but for what the rules say otherwise."""

    cancelled = trio.Cancelled
    sleep = staticmethod(trio.sleep)
    checkpoint = staticmethod(trio.lowlevel.checkpoint)

    def __init__(self) -> None:
        super().__init__()
        #: Errors that have left a nursery in place of a group that had a cancellation, too.
        self.overtook: list[BaseException] = []

    def caught(self, scope: Any, left: BaseException | None) -> Any:
        """R13a: where an error has overtaken a cancellation, trio's scope has none to catch."""
        if left is not None and any(leaf in self.overtook for leaf in leaves(left)):
            return ANY
        return scope.cancelled_caught

    def move(self, scope: Any, deadline: float) -> None:
        """R21: a deadline that is set to a moment that has passed has passed; on trio a turn later.

        To ask a scope of trio's whether it is cancelled makes it look at the clock.
        """
        super().move(scope, deadline)
        assert scope.cancel_called or deadline > self.now()

    def effective_deadline(self) -> float:
        """R21: once a deadline has passed, the scope is cancelled; on trio a turn later."""
        deadline = trio.current_effective_deadline()
        return deadline if deadline > self.now() else -math.inf

    def now(self) -> float:
        return trio.current_time()

    def event(self, *, ours: bool) -> Any:
        return trio.Event()

    def lock(self, *, ours: bool) -> Any:
        return trio.Lock()

    async def acquire(self, lock: Any) -> None:
        """asyncio's locks do not suspend where they need not, and trio's are a checkpoint (R18).

        (An event that is set, no program waits for.)
        """
        try:
            lock.acquire_nowait()
        except trio.WouldBlock:
            await lock.acquire()

    def nursery(self, block: Block) -> AbstractAsyncContextManager[Any]:
        return _TriosNursery(self, block)

    def scope(self, scope: Scope) -> AbstractContextManager[Any]:
        deadline = self.now() + scope.seconds
        plain = trio.CancelScope(deadline=deadline, shield=scope.shield)
        return _TriosFail(plain) if scope.kind == "fail" else plain

    def start_soon(self, nursery: Any, child: Callable[..., Any], *args: Any) -> None:
        nursery.start_soon(child, *args)

    async def start(self, nursery: Any, child: Callable[..., Any], *args: Any) -> Any:
        """R13a holds for what a child raises in the caller, too."""
        try:
            return await nursery.start(child, *args)
        except BaseExceptionGroup as group:
            if not any(isinstance(leaf, trio.Cancelled) for leaf in leaves(group)):
                raise
            error = _errors_leave_without_a_cancellation(group)
        if isinstance(error, BaseExceptionGroup):
            self.overtook += leaves(error)
        raise error from None

    def as_ours(
        self, group: BaseExceptionGroup[BaseException], body: BaseException | None
    ) -> BaseException:
        """What leaves our nursery where this leaves trio's."""
        error = _one_object_is_one_error(group)
        error = _errors_leave_without_a_cancellation(error)
        error = self._what_ends_the_program_leaves_bare(error)
        error = _the_bodys_exit_leaves_bare(error, body)
        if any(isinstance(leaf, trio.Cancelled) for leaf in leaves(group)):
            self.overtook += leaves(error)
        return error

    def _what_ends_the_program_leaves_bare(self, error: BaseException) -> BaseException:
        """R9: a KeyboardInterrupt is no member of a group; what is beside it is reported."""
        if not isinstance(error, BaseExceptionGroup):
            return error
        bare, beside = _parted(error, lambda part: isinstance(part, ENDS_THE_PROGRAM))
        if not bare:
            return error
        reported = [*bare[1:], *beside]
        if any(leaf in self.overtook for part in reported for leaf in leaves(part)):
            self.overtook.append(bare[0])
        self.reports += reported
        return bare[0]


def _parted(
    group: BaseExceptionGroup[BaseException], wanted: Callable[[BaseException], bool]
) -> tuple[list[BaseException], list[BaseException]]:
    """The members that are wanted, and the others."""
    members = group.exceptions
    return [m for m in members if wanted(m)], [m for m in members if not wanted(m)]


def _one_object_is_one_error(
    group: BaseExceptionGroup[BaseException],
) -> BaseExceptionGroup[BaseException]:
    """R7: an error that reaches the block on two ways is one error."""
    members = {id(error): error for error in group.exceptions}
    return group.derive(list(members.values()))


def _errors_leave_without_a_cancellation(
    group: BaseExceptionGroup[BaseException],
) -> BaseException:
    """R13a: errors leave alone, and the cancellation acts at the next await; without errors, bare.

    trio carries both in one group.
    """
    cancelled, errors = group.split(trio.Cancelled)
    if errors is not None:
        return errors
    assert cancelled is not None
    return leaves(cancelled)[0]


def _the_bodys_exit_leaves_bare(error: BaseException, body: BaseException | None) -> BaseException:
    """R7: a GeneratorExit of the body leaves bare if it is the only error."""
    is_group = isinstance(error, BaseExceptionGroup)
    if is_group and isinstance(body, GeneratorExit) and error.exceptions == (body,):
        return body
    return error


class _TriosNursery(AbstractAsyncContextManager[Any]):
    """trio's nursery with a deadline and a shield from the start."""

    def __init__(self, face: Trios, block: Block) -> None:
        self.face = face
        self.manager = trio.open_nursery()
        self.block = block
        self.body: BaseException | None = None

    async def __aenter__(self) -> Any:
        self.nursery = nursery = await self.manager.__aenter__()
        nursery._add_exc = self.add_error
        self.face.move(nursery.cancel_scope, self.face.now() + self.block.seconds)
        nursery.cancel_scope.shield = self.block.shield
        return nursery

    def add_error(self, error: BaseException, reason: Any) -> None:
        """R6, R16: a child that was cancelled cancels no other; on trio it cancels the nursery."""
        cancelled = all(isinstance(leaf, trio.Cancelled) for leaf in leaves(error))
        if cancelled and error is not self.body:
            self.nursery._pending_excs.append(error)
        else:
            type(self.nursery)._add_exc(self.nursery, error, reason)

    def cancelled_outside(self) -> bool:
        scope = self.nursery.cancel_scope
        return not scope.shield and trio.current_effective_deadline() == -math.inf

    async def __aexit__(self, kind: Any, body: BaseException | None, traceback: Any) -> bool:
        self.body = body
        try:
            return bool(await self.manager.__aexit__(kind, body, traceback))
        except BaseExceptionGroup as group:
            error = self.face.as_ours(group, body)
        if isinstance(error, trio.Cancelled) and not self.cancelled_outside():
            # R13a: a shield has come between, and what was cancelled is not, any more.
            return True
        raise error from None


class _TriosFail(AbstractContextManager[Any]):
    """trio's `fail_at`, but only a deadline is too slow (R21); after `cancel()` it ends quietly."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self.scope = scope
        self.by_hand = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scope, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("deadline", "shield"):
            setattr(self.scope, name, value)
        else:
            super().__setattr__(name, value)

    def cancel(self) -> None:
        self.by_hand = self.by_hand or not self.scope.cancel_called
        self.scope.cancel()

    def __enter__(self) -> _TriosFail:
        self.scope.__enter__()
        return self

    def __exit__(self, *raised: Any) -> bool:
        caught = self.scope.__exit__(*raised)
        if caught and self.scope.cancelled_caught and not self.by_hand:
            raise trio.TooSlowError
        return bool(caught)


#: What is told of awaits that have ended well.
AWAITED = ("slept", "went on", "woke", "holds", "started")


def is_by_asyncios_host(mine: Story, theirs: Story) -> bool:
    """R12a: a host of asyncio's is cancelled by its `cancel()`, in the turn after it began to wait.

    On trio, and in a task of ours, the wait is cut short as it begins. So

    - what the wait was for may come in that one turn, and is not taken from the host: the first
      difference of its records is such an await, not later than what the other record has there;
    - another task may raise a shield in that turn, which keeps out what the host has not heard: it
      goes on later than in the other record, and there was a shield raised at that very moment;
    - `cancel()` cannot be taken back when a shield is raised before the host's next step: a
      checkpoint is cancelled that passes in the other record, at that very moment.

    Of the first 200,000 programs 29 differ so.
    """
    for ours, trios in zip(mine["main"], theirs["main"], strict=False):
        if ours != trios:
            shielded = any(
                what[0] == "shields" and what[-1] == trios[-1]
                for task, story in mine.items()
                if task not in ("main", "reports")
                for what in story
            )
            came = ours[0] in AWAITED and ours[-1] <= trios[-1]
            late = shielded and ours[-1] > trios[-1]
            passed = shielded and trios[0] == "went on" and ours[-1] == trios[-1]
            return came or late or passed
    return False
