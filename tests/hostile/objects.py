"""Objects that bite: what Python calls on them runs a hook of the program, which may do anything.

None of them does anything by itself that asyncio's protocols forbid, except where its name says so;
so a task of asyncio's gets along with each.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from .world import World

#: What can be made to bite; a number chooses some of these.
MOUTHS = ("del", "eq", "hash", "repr", "str", "bool", "cancel", "add", "result", "call", "get")


class Bites:
    """Has a number of a hook, and a mask of what runs it."""

    _hook = 0
    _mask = 1

    def _teach(self, a: int, b: int) -> Any:
        """Say which hook it runs, and where."""
        self._hook = a
        # Destructors of each second: they are what bites the most.
        self._mask = (b * 2654435761 >> 7) | (b & 1)
        world = World.current
        if world is not None:
            world.born.append(weakref.ref(self))
        return self

    def _bite(self, mouth: str) -> None:
        world = World.current
        if world is not None and self._mask >> MOUTHS.index(mouth) & 1:
            world.hook(self._hook)

    def __del__(self) -> None:
        self._bite("del")


class Compared(Bites):
    """Bites where it is compared, and is itself only."""

    def __eq__(self, other: object) -> bool:
        self._bite("eq")
        return self is other

    def __hash__(self) -> int:
        self._bite("hash")
        return id(self) >> 4


class Thing(Compared):
    """A result, a reason, a message, a value in a context."""

    def __repr__(self) -> str:
        self._bite("repr")
        return "<Thing>"

    def __str__(self) -> str:
        self._bite("str")
        return "thing"

    def __bool__(self) -> bool:
        self._bite("bool")
        return True

    def __call__(self, *args: object, **kwargs: object) -> None:
        self._bite("call")

    def __float__(self) -> float:
        self._bite("get")
        return 0.0

    __index__ = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            self._bite("get")
        raise AttributeError(name)


class Word(Bites, str):
    """A name that is a string, and more."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        self._bite("eq")
        return str.__eq__(self, other)

    def __str__(self) -> str:
        self._bite("str")
        return "word"


class BitingError(Bites, Exception):
    """An error."""

    def __eq__(self, other: object) -> bool:
        self._bite("eq")
        return self is other

    __hash__ = Exception.__hash__

    def __str__(self) -> str:
        self._bite("str")
        return "biting"


class BitingExit(Bites, BaseException):
    """An error that is no `Exception`."""


class BitingCancelled(Bites, asyncio.CancelledError):
    """A cancellation that nobody asked for."""


class BitingGroup(Bites, ExceptionGroup):
    """An error that has errors; how it is split bites."""

    def derive(self, excs: Any) -> BitingGroup:
        self._bite("get")
        return BitingGroup("biting", excs)


class BitingFuture(Bites, asyncio.Future):  # type: ignore[type-arg]
    """A future that bites where a task touches it."""

    def cancel(self, msg: object = None) -> bool:
        self._bite("cancel")
        return super().cancel(msg)

    def add_done_callback(self, fn: Any, *, context: Any = None) -> None:
        self._bite("add")
        super().add_done_callback(fn, context=context)

    def result(self) -> Any:
        self._bite("result")
        return super().result()

    def get_loop(self) -> Any:
        self._bite("get")
        return super().get_loop()

    def done(self) -> bool:
        self._bite("eq")
        return super().done()

    def __del__(self) -> None:
        self._bite("del")


class Duck(Bites):
    """What asyncio takes for a future without knowing its class."""

    _asyncio_future_blocking = False

    def __init__(self, loop: Any) -> None:
        self._inner = asyncio.Future(loop=loop)

    def get_loop(self) -> Any:
        self._bite("get")
        return self._inner.get_loop()

    def add_done_callback(self, fn: Any, *, context: Any = None) -> None:
        self._bite("add")
        self._inner.add_done_callback(lambda _: fn(self), context=context)

    def remove_done_callback(self, fn: Any) -> int:
        return 0

    def cancel(self, msg: object = None) -> bool:
        self._bite("cancel")
        return self._inner.cancel(msg)

    def cancelled(self) -> bool:
        return self._inner.cancelled()

    def done(self) -> bool:
        return self._inner.done()

    def result(self) -> Any:
        self._bite("result")
        return self._inner.result()

    def exception(self) -> Any:
        return self._inner.exception()

    def set_result(self, value: Any) -> None:
        self._inner.set_result(value)

    def set_exception(self, value: Any) -> None:
        self._inner.set_exception(value)

    def __await__(self) -> Any:
        if not self._inner.done():
            self._asyncio_future_blocking = True
            yield self
        return self.result()


ERRORS = (BitingError, BitingExit, BitingCancelled, ValueError, SystemExit, GeneratorExit,
          StopIteration, StopAsyncIteration, RecursionError, MemoryError)  # fmt: skip


def error(a: int, b: int) -> BaseException:
    """Make an error; which, the numbers say."""
    if a % 16 == 15:
        return BitingGroup("group", [ValueError(), error(b % 15, a)])._teach(a, b)  # type: ignore
    if a % 16 == 14:
        return BaseExceptionGroup("group", [ValueError(), error(b % 14, a)])
    # Most are plain.
    kind = ERRORS[b % len(ERRORS)] if a & 1 else BitingError
    made = kind()
    return made._teach(a, b) if isinstance(made, Bites) else made  # type: ignore[no-any-return]
