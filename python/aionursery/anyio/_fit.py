"""Whether the installed anyio fits: its version, and each private name that is used.

Owns the list of these names. Must never change anything.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator

if importlib.util.find_spec("anyio") is None:
    raise ImportError(
        "aionursery.anyio needs anyio; install anyio 4.14 or later: pip install 'anyio>=4.14,<5'",
        name="anyio",
    )

#: The first version that fits, and the first that does not.
VERSIONS = (4, 14), (5, 0)

#: The names in anyio's asyncio backend that ours takes the place of, or uses.
BACKEND = {
    "AsyncIOBackend": (
        "cancel_shielded_checkpoint",
        "check_cancelled",
        "checkpoint",
        "checkpoint_if_cancelled",
        "create_cancel_scope",
        "create_event",
        "create_task_group",
        "current_default_thread_limiter",
        "current_effective_deadline",
        "current_time",
        "get_current_task",
        "get_running_tasks",
        "run",
        "run_async_from_thread",
        "run_sync_in_worker_thread",
        "sleep",
        "wait_all_tasks_blocked",
    ),
    "AsyncIOTaskInfo": ("has_pending_cancellation",),
    "CancelScope": ("cancel", "cancel_called", "cancelled_caught", "deadline", "shield"),
    "Event": ("set", "wait", "is_set", "statistics"),
    "Runner": (),
    "TaskGroup": ("create_task", "start"),
    "TestRunner": (),
    "WorkerThread": ("MAX_IDLE_TIME", "stop"),
    "_task_states": (),
    "_threadpool_idle_workers": (),
    "_threadpool_workers": (),
    "backend_class": (),
    "find_root_task": (),
    "sleep": (),
}

#: The names elsewhere in anyio.
ELSEWHERE = {
    "anyio._core._eventloop": (
        "get_async_backend",
        "loaded_backends",
        "set_current_async_library",
        "sniffio",
        "threadlocals",
    ),
    "anyio._core._streams": ("create_memory_object_stream",),
    "anyio._core._synchronization": ("Event", "EventStatistics"),
    "anyio._core._tasks": ("CancelScope", "TaskHandle", "fail_after"),
    "anyio.abc": ("TaskGroup",),
    "anyio.lowlevel": ("checkpoint",),
    "anyio.streams.memory": (
        "MemoryObjectReceiveStream",
        "MemoryObjectSendStream",
        "MemoryObjectStreamStatistics",
    ),
    "anyio.abc._tasks": ("call_for_coroutine", "get_callable_name"),
}

#: What a task's handle keeps.
HANDLE = ("_cancel_scope", "_coro", "_exception", "_finished_event", "_name", "_return_value")


class AnyioMismatchError(RuntimeError):
    """The installed anyio is not one that `aionursery.anyio` fits; nothing was changed."""


def check() -> None:
    """Raise AnyioMismatchError if the installed anyio does not fit."""
    version = importlib.metadata.version("anyio")
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    first, last = VERSIONS
    if not first <= found < last:
        raise AnyioMismatchError(
            f"aionursery.anyio fits anyio from {first[0]}.{first[1]} on and before {last[0]}, and "
            f"{version} is installed; anyio was left as it is"
        )
    missing = list(_missing())
    if missing:
        raise AnyioMismatchError(
            f"aionursery.anyio does not fit anyio {version}, which lacks {', '.join(missing)}; "
            "anyio was left as it is"
        )


def _missing() -> Iterator[str]:
    backend = importlib.import_module("anyio._backends._asyncio")
    for name, attributes in BACKEND.items():
        owner = getattr(backend, name, None)
        if owner is None:
            yield f"{backend.__name__}.{name}"
            continue
        yield from (
            f"{backend.__name__}.{name}.{attribute}"
            for attribute in attributes
            if not hasattr(owner, attribute)
        )
    for where, names in ELSEWHERE.items():
        module = importlib.import_module(where)
        yield from (f"{where}.{name}" for name in names if not hasattr(module, name))
    slots = getattr(getattr(module_of_handles(), "TaskHandle", None), "__slots__", ())
    yield from (f"TaskHandle.{name}" for name in HANDLE if name not in slots)


def module_of_handles() -> object:
    """Return the module in which anyio keeps its task handles."""
    return importlib.import_module("anyio._core._tasks")
