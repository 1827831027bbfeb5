"""The places of a nursery with a limit: which child has one, and which waits for the next.

A place is taken before a child starts and given back when its task has ended, whatever it ended
with. A place that is given back goes to the first that waits, so none is free while anything waits.
Must never decide what becomes of a child: a child that waits is one like any other.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from . import _aionursery
from ._waiter import waiter

if TYPE_CHECKING:
    from . import Nursery, Task


class Gate:
    """The places of one nursery."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, limit: int) -> None:
        if not isinstance(limit, int):
            raise TypeError(f"limit must be an int or None, not {limit!r}")
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._free = limit
        self._waiting: OrderedDict[Place, asyncio.Future[None]] = OrderedDict()


class Place:
    """A place that a child is to have: asked for, waited for, taken, given back.

    It is made before anything is taken, and `give_back` may be called at any time and again: so
    what takes a place and what gives it back stand in one `try`, with nothing between them that an
    interrupt or a want of frames could hit.
    """

    __slots__ = ("_gate", "_taken")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._taken = False

    def take_free(self) -> bool:
        """Take a place if one is free; return whether it was."""
        gate = self._gate
        if gate._free:
            gate._free -= 1
            self._taken = True
        return self._taken

    def line_up(self) -> asyncio.Future[None]:
        """Return what is done once the place has been taken."""
        ticket = waiter()
        if self.take_free():
            ticket.set_result(None)
        else:
            self._gate._waiting[self] = ticket
        return ticket

    def give_back(self, _: object = None) -> None:
        """Hand the place to the first that waits for one, or leave the line."""
        gate = self._gate
        if not self._taken:
            ticket = gate._waiting.pop(self, None)
            if ticket is not None:
                ticket.cancel()
            return
        self._taken = False
        while gate._waiting:
            place, ticket = gate._waiting.popitem(last=False)
            if not ticket.done():
                place._taken = True
                ticket.set_result(None)
                return
        gate._free += 1


def start_in_place(
    nursery: Nursery,
    gate: Gate,
    target: Any,
    args: tuple[Any, ...],
    name: object,
    context: Context | None,
    shield: bool,
    at_once: bool,
) -> Task[Any]:
    """Start a child in a free place, or as one that waits for a place before its first step."""
    if asyncio.isfuture(target):
        # It runs already.
        return _aionursery.start_child(nursery, target, args, name, context, shield, at_once)
    place = Place(gate)
    try:
        if place.take_free():
            task = _aionursery.start_child(nursery, target, args, name, context, shield, at_once)
            task.add_done_callback(place.give_back)
            return task
    except BaseException:
        place.give_back()
        raise
    if at_once:
        _aionursery.refuse_child(target)
        raise RuntimeError(
            "start_now() found no free place: as many children run as the nursery's limit allows; "
            "use start_soon(), or await start_when_free()"
        )
    awaitable = inspect.isawaitable(target)
    if args if awaitable else not callable(target):
        # What nothing can start is refused in the words of any other nursery.
        return _aionursery.start_child(nursery, target, args, name, context, shield, at_once)
    try:
        ticket = place.line_up()
        run = target if awaitable else functools.partial(target, *args)
        order = (name, context, shield, False)
        task = _aionursery.start_child(nursery, _in_turn, (ticket, run), *order)
        task.add_done_callback(functools.partial(_end, place, target))
    except BaseException:
        place.give_back()
        _aionursery.refuse_child(target)
        raise
    return task


async def start_when_free(
    self: Nursery,
    target: Any,
    /,
    *args: Any,
    name: object = None,
    context: Context | None = None,
    shield: bool = False,
) -> Task[Any]:
    """Wait until the nursery's limit leaves a place, start a child in it and return its task.

    Takes what `start_soon` takes, and is the way to feed a nursery from a long or endless source:
    nothing of a child exists before there is a place for it. A coroutine that gets none because the
    wait is cancelled is closed. Without a limit there is always a place. Raises NurseryClosed once
    the block has ended, RuntimeError before entry.
    """
    gate: Gate | None = _aionursery.gate_of(self)
    if gate is None or gate._free or asyncio.isfuture(target):
        return self.start_soon(target, *args, name=name, context=context, shield=shield)
    place = Place(gate)
    handed_over = False
    try:
        # The reservation has no name: an error's frames would hold it, and the nursery wait for it.
        with _aionursery.reserve(self):
            await place.line_up()
            # From here on it is refused where it is started.
            handed_over = True
            return start_in_free_place(self, place, target, args, name, context, shield)
    except BaseException:
        place.give_back()
        if not handed_over:
            _aionursery.refuse_child(target)
        raise


async def free_place(nursery: Nursery) -> Place | None:
    """Wait for a place of a nursery, in its body, and take it; None where there is no limit.

    A body that has it only as it is cancelled is cancelled here: nothing is to start any more.
    """
    gate: Gate | None = _aionursery.gate_of(nursery)
    if gate is None:
        return None
    place = Place(gate)
    try:
        if not place.take_free():
            await place.line_up()
            await _aionursery.checkpoint_if_cancelled()
    except BaseException:
        place.give_back()
        raise
    return place


def start_in_free_place(
    nursery: Nursery,
    place: Place | None,
    target: Any,
    args: tuple[Any, ...],
    name: object = None,
    context: Context | None = None,
    shield: bool = False,
) -> Task[Any]:
    """Start a child in a place that was waited for; None where there is no limit."""
    task = _aionursery.start_child(nursery, target, args, name, context, shield, False)
    if place is not None:
        task.add_done_callback(place.give_back)
    return task


async def _in_turn(
    ticket: asyncio.Future[None], target: Awaitable[Any] | Callable[[], Awaitable[Any]]
) -> Any:
    """Wait for a place, then run."""
    await ticket
    return await (target if inspect.isawaitable(target) else target())


def _end(place: Place, target: object, _: object) -> None:
    """A child that waited, or waits, for its place has ended."""
    place.give_back()
    _aionursery.refuse_child(target)
