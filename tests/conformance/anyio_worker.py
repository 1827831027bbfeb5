"""One process for anyio's tests: reads a job from stdin, runs pytest, writes how each test ended.

Owns what happens inside that process. Leaves out what runs on trio and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TextIO

import pytest

from tests.conformance import places


class Plugin:
    """What pytest tells, line by line, so that the parent knows where a process died."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.failures: dict[str, list[str]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        left_out = [item for item in items if backend(item) == "trio"]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if backend(item) != "trio"]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.write(nodeid, "started")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome == "failed":
            self.failures.setdefault(report.nodeid, []).append(report.longreprtext)
        elif report.when == "call" or report.outcome == "skipped":
            self.write(report.nodeid, report.outcome)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if nodeid in self.failures:
            self.write(nodeid, "failed", "\n".join(self.failures.pop(nodeid)))

    def write(self, test: str, kind: str, detail: str = "") -> None:
        line = {"test": test.removeprefix("tests/"), "kind": kind, "detail": detail}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


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
        code = pytest.main(job["arguments"], plugins=[Plugin(file)])
        nothing_chosen = code == pytest.ExitCode.NO_TESTS_COLLECTED
        if nothing_chosen or code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            file.write(json.dumps({"kind": "complete"}) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
