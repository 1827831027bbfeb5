"""Channels: items that go from many senders to many receivers, each to one of them.

A channel has two kinds of ends. Each end can be cloned and is closed for itself: the last send end
that closes ends the iteration of the receivers, the last receive end that closes breaks the
senders. What is here opens a channel; the ends are the extension's. Must never run
for an item.
"""

from __future__ import annotations

import math
import sys
from typing import TypeVar

from ._aionursery import ReceiveChannel, SendChannel, make_channel

T = TypeVar("T")


class open_channel(tuple[SendChannel[T], ReceiveChannel[T]]):
    """Open a channel and return its two ends, a `SendChannel` and a `ReceiveChannel`.

    ``send, receive = open_channel[int](100)``. The capacity is how many items are kept while
    nothing receives: 0 lets a sender wait until its item is received, `math.inf` lets none wait.
    Raises TypeError if it is neither an int nor infinity, ValueError if it is negative.
    """

    # A class, so that it can be subscripted with the type of the items.
    __slots__ = ()

    def __new__(  # type: ignore[misc]
        cls, capacity: float, /
    ) -> tuple[SendChannel[T], ReceiveChannel[T]]:
        if capacity != math.inf and not isinstance(capacity, int):
            raise TypeError(f"capacity must be an int or math.inf, not {capacity!r}")
        if capacity < 0:
            raise ValueError(f"capacity must not be negative, not {capacity}")
        places = sys.maxsize if capacity == math.inf else min(int(capacity), sys.maxsize)
        return make_channel(capacity, places)
