"""What channels raise, and what a look at one gives.

The extension takes these while it is loaded, so this must never take a name out of the extension.
"""

from __future__ import annotations

from typing import NamedTuple


class WouldBlock(Exception):
    """A call that does not wait would have to: no item or no place is there."""


class EndOfChannel(Exception):
    """Every send end is closed and every item received."""


class BrokenResourceError(Exception):
    """Every receive end is closed: what is sent would reach nothing."""


class ClosedResourceError(Exception):
    """This end was closed before, or while it waited."""


class ChannelStatistics(NamedTuple):
    """A look at a channel: `SendChannel.statistics`."""

    buffered: int
    """Items that were sent and not received."""
    capacity: float
    """Items that are kept when nothing receives."""
    senders: int
    """Send ends that are open."""
    receivers: int
    """Receive ends that are open."""
    waiting_senders: int
    waiting_receivers: int
