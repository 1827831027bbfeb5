"""The exceptions: what a nursery raises, and what it refuses with. They decide nothing."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

_E = TypeVar("_E", bound=BaseException, covariant=True)
_MESSAGE = "unhandled errors in a nursery"


class BaseMultiError(BaseExceptionGroup[_E], Generic[_E]):
    """Everything that failed in a nursery, in the order in which it happened.

    It is an exception group: ``except*``, ``split``, ``subgroup`` and ``derive`` work and give
    this class again. It is also a container: iterate over it, index it, take its length.
    ``BaseMultiError([...])`` of nothing but ``Exception`` makes a `MultiError`.
    """

    # Set on the instance where there are any, so that copies and pickles have them.
    _names: tuple[str | None, ...] | None = None

    def __new__(
        cls, message: str | Sequence[_E], exceptions: Sequence[_E] | None = None, /
    ) -> BaseMultiError[_E]:
        if exceptions is None:
            if isinstance(message, str):
                raise TypeError(f"{cls.__name__}() needs the exceptions that it groups")
            message, exceptions = _MESSAGE, message
        if cls is BaseMultiError and all(isinstance(exc, Exception) for exc in exceptions):
            return super().__new__(MultiError, message, exceptions)
        return super().__new__(cls, message, exceptions)

    def __init__(
        self, message: str | Sequence[_E], exceptions: Sequence[_E] | None = None, /
    ) -> None:
        if exceptions is None:
            super().__init__(_MESSAGE, message)
        else:
            super().__init__(message, exceptions)

    @classmethod
    def _of(cls, errors: Sequence[_E], names: Sequence[str | None]) -> BaseMultiError[_E]:
        """Group errors with the names of the children that raised them."""
        group = cls(errors)
        if len(names) != len(group.exceptions):
            raise ValueError(f"{len(names)} names for {len(group.exceptions)} errors")
        group._names = tuple(names)
        return group

    @property
    def names(self) -> tuple[str | None, ...]:
        """The names of the children that raised the errors; None for the body, or if unknown."""
        return self._names or (None,) * len(self.exceptions)

    def derive(self, excs: Sequence[BaseException]) -> BaseMultiError[BaseException]:
        """Return a group of the same kind with other exceptions."""
        group = BaseMultiError(self.message, excs)
        group._names = _names_of_parts(self, group.exceptions)
        return group

    def __iter__(self) -> Iterator[_E]:
        return iter(self.exceptions)

    def __len__(self) -> int:
        return len(self.exceptions)

    def __bool__(self) -> bool:
        return True

    @overload
    def __getitem__(self, index: int) -> _E: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_E, ...]: ...
    def __getitem__(self, index: int | slice) -> _E | tuple[_E, ...]:
        return self.exceptions[index]

    def __str__(self) -> str:
        summary = super().__str__()
        return summary if _asked_by_traceback() else summary + _details(self, "")


class MultiError(BaseMultiError[_E], ExceptionGroup[_E]):
    """Everything that failed in a nursery: what `Nursery` raises."""


def _asked_by_traceback() -> bool:
    """Whether the traceback module formats the group: it shows the exceptions by itself."""
    try:
        caller = sys._getframe(2)
    except ValueError:  # CPython itself asks
        return True
    return caller.f_globals.get("__name__") == "traceback"


def _leaves(exc: BaseException) -> set[int]:
    """The identities of all that is no group in an exception."""
    found, left = set(), [exc]
    while left:
        exc = left.pop()
        if isinstance(exc, BaseExceptionGroup):
            left.extend(exc.exceptions)
        else:
            found.add(id(exc))
    return found


def _names_of_parts(
    whole: BaseMultiError[Any], parts: Sequence[BaseException]
) -> tuple[str | None, ...] | None:
    """The names for a derived group: an error's own, or that of the group it is a part of."""
    if whole._names is None:
        return None
    left = list(zip(whole.exceptions, whole.names, strict=True))
    names: list[str | None] = []
    for part in parts:
        place = next((at for at, (exc, _) in enumerate(left) if exc is part), None)
        if place is None and isinstance(part, BaseExceptionGroup):
            leaves = _leaves(part)
            place = next(
                (
                    at
                    for at, (exc, _) in enumerate(left)
                    if isinstance(exc, BaseExceptionGroup) and leaves <= _leaves(exc)
                ),
                None,
            )
        names.append(None if place is None else left.pop(place)[1])
    return tuple(names)


def _details(group: BaseExceptionGroup[Any], indent: str) -> str:
    """Show each exception of a group once, however deeply groups are nested."""
    lines = []
    names = group.names if isinstance(group, BaseMultiError) else (None,) * len(group.exceptions)
    for number, (exc, name) in enumerate(zip(group.exceptions, names, strict=True)):
        lines.append(f"\n\n{indent}Details of embedded exception {number}:\n")
        if name is not None:
            lines.append(f"\n{indent}  Raised by {name!r}:")
        if isinstance(exc, BaseExceptionGroup):
            lines.append(f"\n{indent}  {type(exc).__name__}: {exc.message}")
            lines.append(_details(exc, indent + "  "))
        else:
            for text in traceback.format_exception(exc):
                for line in text.rstrip("\n").split("\n"):
                    lines.append(f"\n{indent}  {line}")
    return "".join(lines)


def alone(group: BaseExceptionGroup[Any]) -> BaseException:
    """Return the one error of a group that has no other, or the group."""
    return group.exceptions[0] if len(group.exceptions) == 1 else group


def unhandled_in_group(errors: list[BaseException]) -> BaseExceptionGroup[BaseException]:
    """Return what a task group raises, in asyncio's words and anyio's."""
    return BaseExceptionGroup("unhandled errors in a TaskGroup", errors)


class NurseryClosed(RuntimeError):
    """A child was started in a nursery whose block has ended, or it was opened again."""


class Cancelled(asyncio.CancelledError):
    """A cancellation that came through a scope.

    ``reason`` is what was given to ``cancel()``, or the words for what happened; ``source`` is
    "cancel", "failure", "deadline" or "host".
    """

    # The extension makes one for each task that it cancels, without calling this class: what is as
    # here need not be set then.
    reason: Any = None
    source: str = "cancel"

    def __init__(self, reason: Any = None, source: str = "cancel") -> None:
        if reason is None:
            super().__init__(*(("deadline passed",) if source == "deadline" else ()))
        else:
            super().__init__(reason)
        self.reason = reason
        self.source = source

    def __str__(self) -> str:
        return super().__str__() or f"cancelled ({self.source})"
