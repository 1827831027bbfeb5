"""Structured concurrency for asyncio: nurseries, cancel scopes, deadlines and shields."""

from . import _methods  # noqa: F401  (completes Nursery)
from ._aionursery import (
    CancelScope,
    Nursery,
    Task,
    checkpoint,
    checkpoint_if_cancelled,
    current_effective_deadline,
    current_time,
    fail_after,
    fail_at,
    move_on_after,
    move_on_at,
    shield,
    sleep,
    sleep_forever,
    sleep_until,
    task_factory,
    warn_stuck_after,
)
from ._channels import (
    BrokenResourceError,
    ChannelStatistics,
    ClosedResourceError,
    EndOfChannel,
    ReceiveChannel,
    SendChannel,
    WouldBlock,
    open_channel,
)
from ._errors import BaseMultiError, Cancelled, MultiError, NurseryClosed
from ._factory import eager_task_factory
from ._parts import TaskStatus
from ._race import race
from ._results import as_completed, gather
from ._results import map as map  # not in __all__: `import *` hides no builtin
from ._runner import Runner, run
from ._safe_channel import as_safe_channel
from ._sync import (
    BoundedSemaphore,
    Condition,
    Event,
    LifoQueue,
    Lock,
    PriorityQueue,
    Queue,
    Semaphore,
)
from ._taskgroup import TaskGroup

__all__ = [
    "BaseMultiError",
    "BoundedSemaphore",
    "BrokenResourceError",
    "CancelScope",
    "Cancelled",
    "ChannelStatistics",
    "ClosedResourceError",
    "Condition",
    "EndOfChannel",
    "Event",
    "LifoQueue",
    "Lock",
    "MultiError",
    "Nursery",
    "NurseryClosed",
    "PriorityQueue",
    "Queue",
    "ReceiveChannel",
    "Runner",
    "Semaphore",
    "SendChannel",
    "Task",
    "TaskGroup",
    "TaskStatus",
    "WouldBlock",
    "as_completed",
    "as_safe_channel",
    "checkpoint",
    "checkpoint_if_cancelled",
    "current_effective_deadline",
    "current_time",
    "eager_task_factory",
    "fail_after",
    "fail_at",
    "gather",
    "move_on_after",
    "move_on_at",
    "open_channel",
    "race",
    "run",
    "shield",
    "sleep",
    "sleep_forever",
    "sleep_until",
    "task_factory",
    "warn_stuck_after",
]
