"""Services: children that run for the body and the other children, and end after them.

Which one ends when is the nursery's to decide; this only starts them.
"""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any

from . import _aionursery

if TYPE_CHECKING:
    from . import Nursery, Task


def start_service(
    self: Nursery,
    target: Any,
    /,
    *args: Any,
    name: object = None,
    context: Context | None = None,
) -> Task[Any]:
    """Start a child that lives as long as the block, and return its task.

    Takes what `start_soon` takes. What body and children use, such as a log, a pool or a heartbeat,
    is still there while they end, even if they are cancelled: nothing outside cancels a service.
    Once they have ended, the services are cancelled one by one, the last started first, and each
    has the nursery's budget for cleaning up. One that returns earlier just ends; one that fails is
    a failure like any other child's. Services are not counted by the nursery's limit. Raises what
    `start_soon` raises.
    """
    start = _aionursery.start_child
    return start(self, target, args, name, context, False, False, service=True)
