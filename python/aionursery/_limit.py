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
from typing import TYPE_CHECKING, Any, TypeAlias

from . import _aionursery
from ._waiter import waiter

if TYPE_CHECKING:
    from . import Nursery, Task

Ticket: TypeAlias = asyncio.Future[None]


class Gate:
    """The places of one nursery."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, limit: int) -> None:
        if not isinstance(limit, int):
            raise TypeError(f"limit must be an int or None, not {type(limit).__name__}")
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._free = limit
        self._waiting: OrderedDict[Ticket, None] = OrderedDict()

    def take_free(self) -> bool:
        """Take a place if one is free; return whether it was."""
        if self._free:
            self._free -= 1
            return True
        return False

    def give_back(self, _: object = None) -> None:
        """Hand a place to the first that waits for one."""
        while self._waiting:
            ticket, _ = self._waiting.popitem(last=False)
            if not ticket.done():
                ticket.set_result(None)
                return
        self._free += 1

    def line_up(self) -> Ticket:
        """Return what is done once a place has been taken for it."""
        ticket = waiter()
        if self.take_free():
            ticket.set_result(None)
        else:
            self._waiting[ticket] = None
        return ticket

    def turn_away(self, ticket: Ticket) -> None:
        """Give back what a ticket stands for: its place, or its place in the line."""
        if ticket.done() and not ticket.cancelled():
            self.give_back()
        else:
            self._waiting.pop(ticket, None)


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
    if gate.take_free():
        return start_in_taken_place(nursery, gate, target, args, name, context, shield, at_once)
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
    ticket = gate.line_up()
    child = _in_turn(ticket, target if awaitable else functools.partial(target, *args))
    task = _aionursery.start_child(nursery, child, (), name, context, shield, False)
    task.add_done_callback(functools.partial(_end, gate, ticket, target))
    return task


def start_in_taken_place(
    nursery: Nursery, gate: Gate, target: Any, args: tuple[Any, ...], *rest: Any
) -> Task[Any]:
    """Start a child in a place that was taken for it."""
    try:
        task = _aionursery.start_child(nursery, target, args, *rest)
    except BaseException:
        gate.give_back()
        raise
    task.add_done_callback(gate.give_back)
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
    try:
        reservation = _aionursery.reserve(self)
    except BaseException:
        _aionursery.refuse_child(target)
        raise
    with reservation:
        ticket = gate.line_up()
        try:
            await ticket
        except BaseException:
            gate.turn_away(ticket)
            _aionursery.refuse_child(target)
            raise
        return start_in_taken_place(self, gate, target, args, name, context, shield, False)


async def _in_turn(ticket: Ticket, target: Awaitable[Any] | Callable[[], Awaitable[Any]]) -> Any:
    """Wait for a place, then run."""
    await ticket
    return await (target if inspect.isawaitable(target) else target())


def _end(gate: Gate, ticket: Ticket, target: object, _: object) -> None:
    """A child that waited, or waits, for its place has ended."""
    gate.turn_away(ticket)
    _aionursery.refuse_child(target)
