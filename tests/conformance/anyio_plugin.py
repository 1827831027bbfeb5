"""A pytest plugin for the process that runs anyio's tests: our factory on every loop, a record.

Owns what happens inside that process. Leaves out what runs on trio, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.conformance import places


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--conformance-names", help="what is put in place, as JSON")
    group.addoption("--conformance-record", help="the file for the results")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Record(Path(config.getoption("--conformance-record"))))
    given = config.getoption("--conformance-names")
    if given is None:
        return
    names = places.Names(**json.loads(given))
    places.put("factory+runner", names)
    if sys.version_info >= (3, 12):
        # anyio's tests take it from there for their loop with eager tasks.
        asyncio.eager_task_factory = places.load(names.eager_factory)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if backend(item) == "trio"]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if backend(item) != "trio"]


def backend(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    value = callspec.params.get("anyio_backend") if callspec is not None else None
    return value[0] if isinstance(value, tuple) else value


class Record:
    """Writes how each test ended."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w", encoding="utf-8", buffering=1)
        self.failures: dict[str, str] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.write(nodeid, "started")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome == "failed":
            self.failures[report.nodeid] = report.longreprtext
        elif report.when == "call" or report.outcome == "skipped":
            self.write(report.nodeid, report.outcome)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if nodeid in self.failures:
            self.write(nodeid, "failed", self.failures.pop(nodeid))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self.file.write(json.dumps({"kind": "complete"}) + "\n")
        self.file.close()

    def write(self, test: str, kind: str, detail: str = "") -> None:
        line = {"test": test.removeprefix("tests/"), "kind": kind, "detail": detail}
        self.file.write(json.dumps(line) + "\n")
