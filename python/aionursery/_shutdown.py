"""The orderly end of a nursery: `Nursery.stopping` asks, `Nursery.shutdown` bounds the wait.

It sets an event and a deadline; whatever ends after that, and how, the nursery decides.
"""

from __future__ import annotations

from ._aionursery import Nursery, stopping_of
from ._refusals import check_span
from ._sync import Event


def stopping(self: Nursery) -> Event:
    """An `Event` that `shutdown` sets: children await it, or look at it, and come to an end."""
    return stopping_of(self, Event)


def shutdown(self: Nursery, grace: float = 5.0) -> None:
    """Ask the body and the children to end, and cancel those that have not after ``grace`` seconds.

    Sets `stopping` and returns at once: the block waits, as it always does. What then is cancelled
    has the nursery's budget, and the block is left quietly. Children can still be started
    meanwhile. A further call can make the time shorter and never longer; ``math.inf`` only asks.
    Before entry, the seconds count from entry. Raises ValueError if ``grace`` is negative or a NaN,
    RuntimeError in a thread that is not the loop's.
    """
    check_span("grace", grace)
    self.cancel_scope.cancel_after(grace)
    stopping(self).set()
