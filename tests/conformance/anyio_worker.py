"""One process for anyio's tests: reads a job from stdin, runs pytest, writes how each test ended.

Owns what happens inside that process. Leaves out what runs on trio and, where `localhost` has no
address of IPv6, what needs one: that leaves sockets open, of which later tests are accused.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import threading
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import places
from tests.conformance.recorder import Recorder

#: Where the plugin lies that puts anyio's backend on our engine.
WITH_BACKEND = str(Path(__file__).with_name("with_backend"))

#: How many times longer a run of pytest may take than the test that starts it says.
PATIENCE = 20


class Plugin(Recorder):
    """Records the tests, without those that run on trio."""

    def name(self, nodeid: str) -> str:
        return nodeid.removeprefix("tests/")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        ipv6 = has_ipv6()
        left_out = {
            item for item in items if backend(item) == "trio" or ("ipv6" in item.name and not ipv6)
        }
        config.hook.pytest_deselected(items=[*left_out])
        items[:] = [item for item in items if item not in left_out]
        for module in {item.getparent(pytest.Module) for item in items}:
            if module is not None and hasattr(module.obj, "gc"):
                module.obj.gc = types.SimpleNamespace(**vars(gc) | {"collect": collect})

    def pytest_runtest_setup(self) -> None:
        # Some tests count the threads before and after.
        join_stopping_threads()


def collect() -> int:
    """What a test of anyio's gets for `gc.collect`: first the threads go that were told to.

    One of the tests asks whether a loop is gone while a worker thread that is ending may still hold
    it, on asyncio's own tasks as on any.
    """
    join_stopping_threads()
    return gc.collect()


def join_stopping_threads() -> None:
    """Wait for the worker threads of earlier tests that have been told to stop."""
    for thread in threading.enumerate():
        if getattr(thread, "stopping", False):
            thread.join(timeout=5)


def has_ipv6() -> bool:
    """Whether `localhost` is an address of IPv6, too."""
    try:
        return bool(socket.getaddrinfo("localhost", None, socket.AF_INET6))
    except OSError:
        return False


def backend(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    value = callspec.params.get("anyio_backend") if callspec is not None else None
    return value[0] if isinstance(value, tuple) else value


def put_backend() -> None:
    """Have anyio's backend on our engine in this run of pytest, and in those of its tests."""
    sys.path.append(WITH_BACKEND)
    paths = filter(None, [WITH_BACKEND, os.environ.get("PYTHONPATH")])
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ["PYTEST_PLUGINS"] = "anyio_on_the_engine"


def give_time() -> None:
    """Give the runs of pytest that tests start more than three seconds, on a busy machine."""
    run = pytest.Pytester.run

    def patient(this: pytest.Pytester, *arguments: Any, **options: Any) -> pytest.RunResult:
        if options.get("timeout") is not None:
            options["timeout"] *= PATIENCE
        return run(this, *arguments, **options)

    pytest.Pytester.run = patient  # type: ignore[method-assign]


def serve(job: dict[str, Any], plugin: type[Plugin], ours: Iterable[str]) -> None:
    """Run the job's tests. They are a package by the name of `tests`, as ours are: forget those."""
    for name in ours:
        del sys.modules[name]
    # A worker process of anyio's loads the main module, and this one imports our `tests`.
    sys.modules["__main__"].__file__ = None
    os.chdir(job["home"])
    sys.path[0] = job["home"]
    with open(job["record"], "w", encoding="utf-8") as file:
        if job["backend"]:
            put_backend()
        give_time()
        plugin(file).run(job["arguments"])


def main() -> None:
    # A shell has what it starts in the background ignore the signal, which tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job = json.load(sys.stdin)
    if job["names"] is not None:
        names = places.Names(**job["names"])
        places.put("factory+runner", names)
        if sys.version_info >= (3, 12):
            # anyio's tests take it from there for their loop with eager tasks.
            asyncio.eager_task_factory = places.load(names.eager_factory)
    serve(job, Plugin, ("tests", "tests.conformance"))


if __name__ == "__main__":
    main()
