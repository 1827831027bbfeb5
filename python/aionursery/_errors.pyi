import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Literal, Self, overload

from typing_extensions import TypeVar

_E = TypeVar("_E", bound=BaseException, covariant=True, default=BaseException)
_X = TypeVar("_X", bound=Exception, covariant=True, default=Exception)
_B = TypeVar("_B", bound=BaseException)
_D = TypeVar("_D", bound=Exception)

class BaseMultiError(BaseExceptionGroup[_E], Generic[_E]):
    """Everything that failed in a nursery, in the order in which it happened."""

    @overload
    def __new__(cls, message: Sequence[_E], exceptions: None = None, /) -> Self: ...
    @overload
    def __new__(cls, message: str, exceptions: Sequence[_E], /) -> Self: ...
    @overload
    def __init__(self, message: Sequence[_E], exceptions: None = None, /) -> None: ...
    @overload
    def __init__(self, message: str, exceptions: Sequence[_E], /) -> None: ...
    @classmethod
    def _of(cls, errors: Sequence[_E], names: Sequence[str | None]) -> BaseMultiError[_E]: ...
    @property
    def names(self) -> tuple[str | None, ...]:
        """The names of the children that raised the errors; None for the body, or if unknown."""

    @overload
    def derive(self, excs: Sequence[_D]) -> MultiError[_D]: ...
    @overload
    def derive(self, excs: Sequence[_B]) -> BaseMultiError[_B]: ...
    def __iter__(self) -> Iterator[_E | BaseExceptionGroup[_E]]: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    @overload
    def __getitem__(self, index: int) -> _E | BaseExceptionGroup[_E]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_E | BaseExceptionGroup[_E], ...]: ...

class MultiError(BaseMultiError[_X], ExceptionGroup[_X]):
    """Everything that failed in a nursery: what `Nursery` raises."""

    def __iter__(self) -> Iterator[_X | ExceptionGroup[_X]]: ...
    @overload
    def __getitem__(self, index: int) -> _X | ExceptionGroup[_X]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_X | ExceptionGroup[_X], ...]: ...

def alone(group: BaseExceptionGroup[Any]) -> BaseException:
    """Return the one error of a group that has no other, or the group."""

def unhandled_in_group(errors: list[BaseException]) -> BaseExceptionGroup[BaseException]:
    """Return what a task group raises, in asyncio's words and anyio's."""

class NurseryClosed(RuntimeError):
    """A child was started in a nursery whose block has ended, or it was opened again."""

class Cancelled(asyncio.CancelledError):
    """A cancellation that came through a scope."""

    reason: Any
    source: Literal["cancel", "failure", "deadline", "host"]
    def __init__(self, reason: object = None, source: str = "cancel") -> None: ...
