"""Scopes and timeouts: trio's words for ours.

Owns what trio's scopes have and ours do not: a deadline that counts from the entry. Cancels nothing
by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Any

from . import under
from .cancellations import Reason
from .clock import current_time
from .words import translate


class CancelScope:
    """One of our scopes, with every await in it cancelled."""

    def __init__(
        self,
        *,
        deadline: float = math.inf,
        relative_deadline: float = math.inf,
        shield: bool = False,
        scope: Any = None,
    ) -> None:
        if deadline != math.inf and relative_deadline != math.inf:
            raise ValueError("Cannot specify both a deadline and a relative deadline")
        if relative_deadline < 0:
            raise ValueError("timeout must be non-negative")
        check(relative_deadline)
        if scope is None:
            scope = under.library.CancelScope(deadline=deadline, shield=shield, cleanup=0)
        self._scope = scope
        self._seconds = relative_deadline
        self._entered = False

    def __init_subclass__(cls) -> None:
        type(cls.__name__, (under.library.CancelScope,), {})

    def __enter__(self) -> CancelScope:
        if self.is_relative:
            self._scope.deadline = current_time() + self._seconds
        try:
            self._scope.__enter__()
        except RuntimeError as wrong:
            translate(wrong)
            raise
        self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            return self._scope.__exit__(kind, error, traceback)
        except RuntimeError as wrong:
            translate(wrong)
            raise

    def cancel(self, reason: str | None = None) -> None:
        self._scope.cancel(Reason(reason))

    @property
    def is_relative(self) -> bool | None:
        return None if self._entered else self._seconds != math.inf

    @property
    def deadline(self) -> float:
        self._refuse(self.is_relative is True, "relative cancel scope", "an absolute")
        return self._scope.deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._refuse(self.is_relative is True, "relative cancel scope", "an absolute")
        self._scope.deadline = value

    @property
    def relative_deadline(self) -> float:
        if self._entered:
            return self._scope.deadline - current_time()
        self._refuse(self._scope.deadline != math.inf, "non-relative cancel scope", "a relative")
        return self._seconds

    @relative_deadline.setter
    def relative_deadline(self, value: float) -> None:
        check(value)
        if self._entered:
            self._scope.deadline = current_time() + value
            return
        self._refuse(self._scope.deadline != math.inf, "non-relative cancel scope", "a relative")
        self._seconds = value

    @staticmethod
    def _refuse(wrong: bool, kind: str, deadline: str) -> None:
        if wrong:
            raise RuntimeError(f"Unentered {kind} does not have {deadline} deadline")

    @property
    def shield(self) -> bool:
        return self._scope.shield

    @shield.setter
    def shield(self, value: bool) -> None:
        self._scope.shield = value

    @property
    def cancel_called(self) -> bool:
        return self._scope.cancel_called

    @property
    def cancelled_caught(self) -> bool:
        return self._scope.cancelled_caught


def check(relative_deadline: float) -> None:
    if math.isnan(relative_deadline):
        raise ValueError("relative deadline must not be NaN")
    if relative_deadline < 0:
        raise ValueError("relative deadline must be non-negative")


def move_on_at(deadline: float, *, shield: bool = False) -> CancelScope:
    return CancelScope(scope=under.library.move_on_at(deadline, shield=shield, cleanup=0))


def within(seconds: float, scope: Any, after: Callable[[float], object]) -> CancelScope:
    """Make a scope of trio's of one whose deadline counts from its entry."""
    after(seconds)  # refuses what is not a delay
    return CancelScope(relative_deadline=seconds, scope=scope)


def move_on_after(seconds: float, *, shield: bool = False) -> CancelScope:
    scope = under.library.move_on_at(math.inf, shield=shield, cleanup=0)
    return within(seconds, scope, under.library.move_on_after)


def fail_at(deadline: float, *, shield: bool = False) -> CancelScope:
    return CancelScope(scope=under.library.fail_at(deadline, shield=shield, cleanup=0))


def fail_after(seconds: float, *, shield: bool = False) -> CancelScope:
    scope = under.library.fail_at(math.inf, shield=shield, cleanup=0)
    return within(seconds, scope, under.library.fail_after)


def current_effective_deadline() -> float:
    return under.library.current_effective_deadline()
