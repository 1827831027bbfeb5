"""The modules that trio's tests find in place of trio's.

Owns which of trio's modules are its own (its tests, and what it makes of the facade's words) and
which are the facade's. Anything else of trio's cannot be imported, so that no test quietly runs on
trio itself.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import signal
import sys
import types
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from . import clock, locks, nurseries, running, scopes, tasks, waits

#: What is trio's own.
ITS_OWN = (
    "trio._abc",
    "trio._channel",
    "trio._core._concat_tb",
    "trio._core._exceptions",
    "trio._core._parking_lot",
    "trio._core._tests",
    "trio._deprecate",
    "trio._sync",
    "trio._tests",
    "trio._util",
    "trio.testing._checkpoints",
    "trio.testing._sequencer",
)

LOCKS = ("CapacityLimiter", "Condition", "Event", "Lock", "Semaphore", "StrictFIFOLock")

_SCOPES = {
    "CancelScope": scopes.CancelScope,
    "current_effective_deadline": scopes.current_effective_deadline,
}

_TIMEOUTS = {
    "TooSlowError": TimeoutError,
    "fail_after": scopes.fail_after,
    "fail_at": scopes.fail_at,
    "move_on_after": scopes.move_on_after,
    "move_on_at": scopes.move_on_at,
    "sleep": waits.sleep,
    "sleep_forever": waits.sleep_forever,
    "sleep_until": waits.sleep_until,
}

_NURSERIES = {
    "Nursery": nurseries.Nursery,
    "TASK_STATUS_IGNORED": nurseries.TASK_STATUS_IGNORED,
    "TaskStatus": nurseries.TaskStatus,
    "open_nursery": nurseries.open_nursery,
}

_LOWLEVEL = {
    "Abort": waits.Abort,
    "RaiseCancelT": waits.RaiseCancelT,
    "Task": tasks.Task,
    "TrioToken": running.TrioToken,
    "cancel_shielded_checkpoint": waits.cancel_shielded_checkpoint,
    "checkpoint": waits.checkpoint,
    "checkpoint_if_cancelled": waits.checkpoint_if_cancelled,
    "current_clock": clock.current_clock,
    "current_root_task": tasks.current_root_task,
    "current_task": tasks.current_task,
    "current_trio_token": running.current_trio_token,
    "currently_ki_protected": lambda: False,
    "enable_ki_protection": lambda function: function,
    "in_trio_run": tasks.in_run,
    "in_trio_task": tasks.in_task,
    "reschedule": waits.reschedule,
    "wait_task_rescheduled": waits.wait_task_rescheduled,
}

_RUNNING = {
    "RunFinishedError": running.RunFinishedError,
    "current_time": clock.current_time,
    "run": running.run,
}

_TESTING = {
    "MockClock": clock.MockClock,
    "wait_all_tasks_blocked": waits.wait_all_tasks_blocked,
    "trio_test": None,
}


class Gate(MetaPathFinder):
    """Refuses what is trio's and neither its own here nor the facade's."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name.split(".")[0] != "trio":
            return
        if not any(name == own or name.startswith(own + ".") for own in ITS_OWN):
            raise ModuleNotFoundError(f"the facade has no {name}", name=name)


def put(*, our_locks: bool) -> None:
    """Put the facade in place of trio; with our locks where ours have what trio's have."""
    if "trio" in sys.modules:
        raise RuntimeError("trio itself has been imported")
    spec = importlib.util.find_spec("trio")
    assert spec is not None and spec.origin is not None
    home = Path(spec.origin).parent
    sys.meta_path.insert(0, Gate())

    trio = module("trio", home)
    core = module("trio._core", home / "_core")
    testing = module("trio.testing", home / "testing")
    lowlevel = module("trio.lowlevel", None, _LOWLEVEL)
    vars(trio).update(_SCOPES | _TIMEOUTS | _NURSERIES | _RUNNING)
    vars(core).update(_SCOPES | _NURSERIES | _LOWLEVEL | _RUNNING | _TESTING)
    vars(testing).update(_TESTING)
    trio.Cancelled = core.Cancelled = asyncio.CancelledError
    trio.lowlevel = lowlevel
    module("trio._timeouts", None, _TIMEOUTS)
    module("trio._threads", None, {"to_thread_run_sync": running.to_thread_run_sync})
    module(
        "trio._core._run",
        None,
        {"DEADLINE_HEAP_MIN_PRUNE_THRESHOLD": 1000, "_count_context_run_tb_frames": None},
    )
    module("trio._core._tests.test_ki", None, {"ki_self": interrupt})

    its_own(
        "trio._core._exceptions",
        (trio, core),
        "BrokenResourceError",
        "BusyResourceError",
        "ClosedResourceError",
        "EndOfChannel",
        "TrioInternalError",
        "WouldBlock",
    )
    its_own(
        "trio._core._parking_lot",
        (core, lowlevel),
        "ParkingLot",
        "remove_parking_lot_breaker",
    )
    add_breaker = waits.breaker_of(sys.modules["trio._core._parking_lot"])
    core.add_parking_lot_breaker = lowlevel.add_parking_lot_breaker = add_breaker
    its_own("trio._deprecate", (trio,), "TrioDeprecationWarning")
    if our_locks:
        vars(importlib.import_module("trio._sync")).update(locks.locks(core.WouldBlock))
    its_own("trio._sync", (trio,), *LOCKS)
    its_own("trio._channel", (trio,), "as_safe_channel", "open_memory_channel")
    its_own("trio.testing._checkpoints", (testing,), "assert_checkpoints")
    its_own("trio.testing._sequencer", (testing,), "Sequencer")


def module(name: str, home: Path | None, names: dict[str, Any] | None = None) -> Any:
    """Make a module of the facade's; one with a home is a package, whose own modules lie there."""
    made = types.ModuleType(name, "trio's names, made by the facade.")
    if home is not None:
        made.__path__ = [str(home)]
    vars(made).update(names or {})
    sys.modules[name] = made
    parent, _, last = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], last, made)
    return made


def its_own(name: str, homes: tuple[Any, ...], *names: str) -> None:
    """Load a module of trio's own, and give these of its names to modules of the facade's."""
    loaded = importlib.import_module(name)
    for home in homes:
        for word in names:
            setattr(home, word, getattr(loaded, word))


def interrupt() -> None:
    """Do what Ctrl-C does."""
    signal.raise_signal(signal.SIGINT)
