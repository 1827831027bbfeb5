"""Subclasses of what the library has, with methods that bite. Made once for each program."""

from __future__ import annotations

from typing import Any

from .objects import Bites, Compared
from .world import World


def _make(world: World) -> dict[str, Any]:
    api = world.api

    class SubTask(Compared, api.Task):  # type: ignore[misc,name-defined]
        """A task that bites where asyncio and the nursery touch it."""

        _mask = 0b1100011

        def cancel(self, msg: object = None) -> bool:
            self._bite("cancel")
            return super().cancel(msg)

        def add_done_callback(self, fn: Any, *, context: Any = None) -> None:
            self._bite("add")
            super().add_done_callback(fn, context=context)

        def __del__(self) -> None:
            self._bite("del")
            parent = getattr(super(Bites, self), "__del__", None)
            if parent is not None:
                parent()

    class OtherTask(SubTask):
        """The same size, so `__class__` can be set to it."""

    class SlotTask(api.Task):  # type: ignore[misc,name-defined]
        __slots__ = ("extra",)

    class SubNursery(Bites, api.Nursery):  # type: ignore[misc,name-defined]
        """A nursery that bites."""

        def start_soon(self, *args: Any, **kwargs: Any) -> Any:
            self._bite("add")
            return super().start_soon(*args, **kwargs)

        def cancel(self, reason: object = None) -> None:
            self._bite("cancel")
            super().cancel(reason)

    class OtherNursery(SubNursery):
        pass

    return {
        "tasks": (SubTask, OtherTask, SlotTask),
        "nurseries": (SubNursery, OtherNursery),
    }


def tasks(world: World) -> tuple[Any, ...]:
    """The classes of tasks."""
    return world.shared("classes", lambda: _make(world))["tasks"]  # type: ignore[no-any-return]


def nurseries(world: World) -> tuple[Any, ...]:
    """The classes of nurseries."""
    return world.shared("classes", lambda: _make(world))["nurseries"]  # type: ignore[no-any-return]
