"""Structured concurrency for asyncio: nurseries, cancel scopes, deadlines and shields."""

from . import _methods as _methods  # completes Nursery
from . import from_thread as from_thread
from ._aionursery import (
    CancelScope,
    Nursery,
    ReceiveChannel,
    SendChannel,
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
from ._called import TaskStatus
from ._capacity import CapacityLimiter, CapacityLimiterStatistics
from ._channel_parts import (
    BrokenResourceError,
    ChannelStatistics,
    ClosedResourceError,
    EndOfChannel,
    WouldBlock,
)
from ._channels import open_channel
from ._errors import BaseMultiError, Cancelled, MultiError, NurseryClosed
from ._factory import eager_task_factory
from ._graceful import graceful
from ._processes import current_default_process_limiter, to_process
from ._race import race
from ._results import as_completed, gather
from ._results import map as map  # not in __all__: `import *` hides no builtin
from ._runner import Runner, run
from ._safe_channel import as_safe_channel
from ._supervise import SupervisorError, supervise
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
from ._threads import check_cancelled, current_default_thread_limiter, to_thread
from ._tree_var import TreeToken, TreeVar
from ._worker_processes import BrokenWorkerProcess

__version__ = "1.0.0b1"

__all__ = [
    "BaseMultiError",
    "BoundedSemaphore",
    "BrokenResourceError",
    "BrokenWorkerProcess",
    "CancelScope",
    "Cancelled",
    "CapacityLimiter",
    "CapacityLimiterStatistics",
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
    "SupervisorError",
    "Task",
    "TaskGroup",
    "TaskStatus",
    "TreeToken",
    "TreeVar",
    "WouldBlock",
    "as_completed",
    "as_safe_channel",
    "check_cancelled",
    "checkpoint",
    "checkpoint_if_cancelled",
    "current_default_process_limiter",
    "current_default_thread_limiter",
    "current_effective_deadline",
    "current_time",
    "eager_task_factory",
    "fail_after",
    "fail_at",
    "from_thread",
    "gather",
    "graceful",
    "move_on_after",
    "move_on_at",
    "open_channel",
    "race",
    "run",
    "shield",
    "sleep",
    "sleep_forever",
    "sleep_until",
    "supervise",
    "task_factory",
    "to_process",
    "to_thread",
    "warn_stuck_after",
]


def _bear_the_packages_name() -> None:
    """Say of everything public that it is this package's: in tracebacks, in pickles, in help."""
    for name in [*__all__, "map"]:
        public = globals()[name]
        if getattr(public, "__module__", "").startswith(f"{__name__}."):
            public.__module__ = __name__


_bear_the_packages_name()
