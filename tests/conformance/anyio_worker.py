"""One process for anyio's tests: reads a job from stdin, runs pytest, writes how each test ended.

Owns what happens inside that process. Leaves out what runs on trio and nothing else.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import types

import pytest

from tests.conformance import places
from tests.conformance.recorder import Recorder


class Plugin(Recorder):
    """Records the tests, without those that run on trio."""

    def name(self, nodeid: str) -> str:
        return nodeid.removeprefix("tests/")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        left_out = [item for item in items if backend(item) == "trio"]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if backend(item) != "trio"]
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


def backend(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    value = callspec.params.get("anyio_backend") if callspec is not None else None
    return value[0] if isinstance(value, tuple) else value


def main() -> None:
    job = json.load(sys.stdin)
    if job["names"] is not None:
        names = places.Names(**job["names"])
        places.put("factory+runner", names)
        if sys.version_info >= (3, 12):
            # anyio's tests take it from there for their loop with eager tasks.
            asyncio.eager_task_factory = places.load(names.eager_factory)
    # anyio's tests are a package by the name of `tests`, as ours are.
    for name in ("tests", "tests.conformance"):
        del sys.modules[name]
    os.chdir(job["home"])
    sys.path[0] = job["home"]
    with open(job["record"], "w", encoding="utf-8") as file:
        Plugin(file).run(job["arguments"])


if __name__ == "__main__":
    main()
