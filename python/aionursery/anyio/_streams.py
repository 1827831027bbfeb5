"""anyio's memory object streams, as the ends of a channel of the engine's.

A stream that is made where the caller's backend is not ours is anyio's own. Must never decide which
item goes where: the channel does.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, WouldBlock
from anyio._core import _streams as own
from anyio.streams import memory

from .. import _aionursery as engine
from .. import _channel_parts as parts
from ._lookup import is_ours

_create: Any = own.create_memory_object_stream
_checkpoint = engine.checkpoint

#: What a channel's end raises, and what anyio raises for it.
_ERRORS: dict[type[Exception], type[Exception]] = {
    parts.WouldBlock: WouldBlock,
    parts.EndOfChannel: EndOfStream,
    parts.BrokenResourceError: BrokenResourceError,
    parts.ClosedResourceError: ClosedResourceError,
}
_FAILURES = tuple(_ERRORS)


class _Stream:
    """What both kinds have: an end, which is open or closed."""

    _end: Any
    _closed: bool

    def __init__(self, end: Any) -> None:
        self._end = end
        self._closed = False

    def __repr__(self) -> str:
        phase = "closed" if self._closed else "open"
        return f"<{type(self).__name__} {phase} at {id(self):#x}>"

    def clone(self) -> Any:
        if self._closed:
            raise ClosedResourceError
        return type(self)(self._end.clone())

    def close(self) -> None:
        self._end.close()
        self._closed = True

    def statistics(self) -> memory.MemoryObjectStreamStatistics:
        return memory.MemoryObjectStreamStatistics(*self._end.statistics())


class MemoryObjectSendStream(_Stream, memory.MemoryObjectSendStream[Any]):
    """anyio's `MemoryObjectSendStream`."""

    def send_nowait(self, item: Any) -> None:
        try:
            self._end.send_nowait(item)
        except _FAILURES as failure:
            raise _ERRORS[type(failure)] from None

    async def send(self, item: Any) -> None:
        await _checkpoint()
        try:
            await self._end.send(item)
        except _FAILURES as failure:
            raise _ERRORS[type(failure)] from None


class MemoryObjectReceiveStream(_Stream, memory.MemoryObjectReceiveStream[Any]):
    """anyio's `MemoryObjectReceiveStream`."""

    def receive_nowait(self) -> Any:
        try:
            return self._end.receive_nowait()
        except _FAILURES as failure:
            raise _ERRORS[type(failure)] from None

    async def receive(self) -> Any:
        await _checkpoint()
        try:
            return await self._end.receive()
        except _FAILURES as failure:
            raise _ERRORS[type(failure)] from None

    async def __anext__(self) -> Any:
        await _checkpoint()
        try:
            return await self._end.__anext__()
        except _FAILURES as failure:
            raise _ERRORS[type(failure)] from None


class create_memory_object_stream(own.create_memory_object_stream[Any]):
    """anyio's `create_memory_object_stream`."""

    def __new__(cls, max_buffer_size: float = 0, item_type: object = None) -> Any:
        is_infinite = max_buffer_size == math.inf
        fits = is_infinite or (isinstance(max_buffer_size, int) and max_buffer_size >= 0)
        if item_type is not None or not fits or not is_ours():
            return _create(max_buffer_size, item_type)
        places = sys.maxsize if is_infinite else min(int(max_buffer_size), sys.maxsize)
        send, receive = engine.make_channel(max_buffer_size, places, strict=True)
        return MemoryObjectSendStream(send), MemoryObjectReceiveStream(receive)


#: Functions of anyio's, each with what takes its place.
FUNCTIONS: list[tuple[Any, Any]] = [(_create, create_memory_object_stream)]
