"""One process for trio's tests: reads a job from stdin, runs pytest, writes how each test ended.

Owns what happens inside that process: the facade in place of trio, each test in a run of its
own. Never judges, and leaves out nothing but the tests that are done.
"""

from __future__ import annotations

import faulthandler
import functools
import gc
import importlib.util
import inspect
import json
import os
import sys
from typing import Any, TextIO

import pytest

from tests.conformance import places
from tests.conformance.recorder import Recorder
from tests.conformance.trio_facade import clock, modules, running, under

CLOCKS = frozenset({"mock_clock", "autojump_clock"})

#: Asks that time goes on within a microsecond; uvloop's goes by milliseconds.
FINE_TIME = "test_current_time"


class Plugin(Recorder):
    """Runs the tests, and records them."""

    def __init__(self, job: dict[str, Any], file: TextIO) -> None:
        super().__init__(file)
        self.done = set(job["done"])
        self.bound = job["bound"]
        # pytest takes what is written to the standard streams; a hanging test's place is for us.
        self.last_words = os.fdopen(os.dup(sys.stderr.fileno()), "w")

    @pytest.fixture
    def mock_clock(self) -> clock.MockClock:
        return clock.MockClock()

    @pytest.fixture
    def autojump_clock(self) -> clock.MockClock:
        return clock.MockClock(autojump_threshold=0)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.name not in self.done]
        for item in items:
            own_time = item.name == FINE_TIME or CLOCKS.intersection(item.fixturenames)
            if not under.virtual and own_time:
                item.add_marker(pytest.mark.skip("its time is its own, and uvloop's is real"))
        for module in {item.getparent(pytest.Module) for item in items}:
            if module is not None and hasattr(module.obj, "time"):
                module.obj.time = clock.time_of_tests()

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        if not inspect.iscoroutinefunction(pyfuncitem.obj):
            return None
        names = pyfuncitem._fixtureinfo.argnames
        arguments = {name: pyfuncitem.funcargs[name] for name in names}
        clocks = [value for value in arguments.values() if isinstance(value, clock.MockClock)]
        given = clocks[0] if clocks else None
        running.run(functools.partial(pyfuncitem.obj, **arguments), clock=given)
        return True

    def pytest_collection_finish(self) -> None:
        # Each test and its end collect, some five times: that need not look at what is imported.
        gc.collect()
        gc.freeze()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        # What a test has left and never awaited is that test's, not the next one's.
        gc.collect()

    def name(self, nodeid: str) -> str:
        return nodeid.partition("::")[2]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        super().pytest_runtest_logstart(nodeid)
        faulthandler.dump_traceback_later(self.bound, exit=True, file=self.last_words)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        faulthandler.cancel_dump_traceback_later()
        super().pytest_runtest_logfinish(nodeid)


def main() -> None:
    job = json.load(sys.stdin)
    under.put(
        places.load(job["library"]),
        in_own_task=job["task"] == "ours",
        on_virtual_loop=job["loop"] == "virtual",
    )
    modules.put(our_locks=job["locks"] == "ours")
    if not under.virtual:
        # Its slow tests wait for seconds.
        importlib.import_module("trio._tests.pytest_plugin").RUN_SLOW = False
    spec = importlib.util.find_spec(f"trio.{job['module']}")
    assert spec is not None and spec.origin is not None
    # Plugins of pytest that are installed may know trio, and look for what the facade has not.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with open(job["record"], "w", encoding="utf-8") as file:
        Plugin(job, file).run([*job["arguments"], spec.origin])


if __name__ == "__main__":
    main()
