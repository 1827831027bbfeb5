"""`TreeVar`: a variable whose value a child has from its nursery, not from what starts it.

Each task that has set one keeps what was set when, so that the collector can follow a value back
to its task. Where a task stands, and when a nursery was entered, the tree says. Must never keep a
value longer than the task that has set it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from typing import Any, Final, Generic, TypeVar, overload

from . import _aionursery

T = TypeVar("T")
D = TypeVar("D")


class _Unset(Enum):
    UNSET = "unset"


UNSET: Final = _Unset.UNSET

#: The attribute in which a task keeps what it has set: for each variable, at which moment of its
#: loop's tree it was set to what, in order.
KEPT: Final = "_aionursery_tree_values"


class TreeToken(Generic[T]):
    """What `TreeVar.set` returns: what the value was before. Made by that and by nothing else."""

    __slots__ = ("_before", "_task", "_used", "_var")

    def __init__(self, var: TreeVar[T], task: asyncio.Task[object], before: T | _Unset) -> None:
        self._var = var
        self._task = task
        self._before = before
        self._used = False


class TreeVar(Generic[T]):
    """A variable that follows the tree of nurseries: a child begins with the value that its nursery
    was opened with.

    A `contextvars.ContextVar` follows the code that starts a child, which may be a request, a
    callback or another child. A tree variable is for what belongs to the place: a log, a session, a
    limiter of the nursery around. A value that is set later in the nursery's host reaches its
    further nurseries and no child of those that are open. A task that is no child, such as one of
    ``asyncio.create_task``, begins without a value. ``default`` is what `get` returns where none
    was set.
    """

    __slots__ = ("__weakref__", "_default", "name")

    @overload
    def __init__(self, name: str) -> None: ...
    @overload
    def __init__(self, name: str, *, default: T) -> None: ...
    def __init__(self, name: str, *, default: Any = UNSET) -> None:
        self.name = name
        self._default: T | _Unset = default

    @overload
    def get(self, /) -> T: ...
    @overload
    def get(self, default: D, /) -> T | D: ...
    def get(self, default: Any = UNSET, /) -> Any:
        """Return the value where the running task stands.

        If none was set there, ``default``, or else what the variable was made with. Raises
        LookupError if there is neither.
        """
        value = self._find(_current_task())
        if value is not UNSET:
            return value
        for other in (default, self._default):
            if other is not UNSET:
                return other
        raise LookupError(f"{self!r} has no value here")

    def set(self, value: T, /) -> TreeToken[T]:
        """Set the value for the running task and for the nurseries that it opens from now on.

        Returns a token for `reset`. Raises RuntimeError outside of a task.
        """
        task = _current_task()
        if task is None:
            raise RuntimeError(f"{self!r} is set in a task, and none runs here")
        token = TreeToken(self, task, self._find(task))
        self._note(task, value)
        return token

    def reset(self, token: TreeToken[T], /) -> None:
        """Set the value that was there before the `set` that gave ``token``.

        Raises ValueError for a token of another variable or task, RuntimeError for one that was
        used.
        """
        if token._var is not self or token._task is not _current_task():
            raise ValueError("the token is that of another TreeVar or of another task")
        if token._used:
            raise RuntimeError("the token was used already")
        token._used = True
        self._note(token._task, token._before)

    def being(self, value: T, /) -> AbstractContextManager[None]:
        """Set the value for a block: ``with variable.being(value):``."""

        @contextmanager
        def being() -> Iterator[None]:
            token = self.set(value)
            try:
                yield
            finally:
                self.reset(token)

        return being()

    def _find(self, task: asyncio.Task[object] | None) -> T | _Unset:
        """Return the value where a task stands."""
        entered: int | None = None
        while task is not None:
            entries: list[tuple[int, T | _Unset]] = _kept(task).get(self, [])
            for moment, value in reversed(entries):
                if entered is None or _is_before(moment, entered):
                    return value
            parent = _aionursery.parent_of(task)
            if parent is None:
                break
            task, entered = parent
        return UNSET

    def _note(self, task: asyncio.Task[object], value: T | _Unset) -> None:
        """Keep what a task has set, and of what it had set before what its nurseries still see."""
        now, entered = _aionursery.entered_by(task)
        kept = _kept(task)
        if not kept:
            setattr(task, KEPT, kept)
            # Nothing stands below a task that has ended.
            task.add_done_callback(_forget)
        before = kept.get(self, [])
        seen = {
            max(
                (at for at, (moment, _) in enumerate(before) if _is_before(moment, one)), default=-1
            )
            for one in entered
        }
        kept[self] = [*(entry for at, entry in enumerate(before) if at in seen), (now, value)]

    def __repr__(self) -> str:
        return f"<TreeVar {self.name!r} at {id(self):#x}>"


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _kept(task: asyncio.Task[object]) -> dict[TreeVar[Any], list[tuple[int, Any]]]:
    """Return what a task has set, in a new dictionary if that is nothing."""
    kept: dict[TreeVar[Any], list[tuple[int, Any]]] | None = getattr(task, KEPT, None)
    return {} if kept is None else kept


def _forget(task: asyncio.Task[object]) -> None:
    delattr(task, KEPT)


def _is_before(moment: int, entered: int) -> bool:
    """Return whether a value that was set at a moment was there when a nursery was entered.

    The counts begin anew after 2**32.
    """
    return 0 < (entered - moment) & 0xFFFF_FFFF < 1 << 31
