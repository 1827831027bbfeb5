"""How each test of a run of pytest's ended, written line by line.

Owns the record of a worker: the parent reads from it where a process died. It must never choose or
change a test.
"""

from __future__ import annotations

import json
import sys
from typing import NoReturn, TextIO

import pytest


class Recorder:
    """A plugin that writes what pytest tells."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.failures: dict[str, list[str]] = {}

    def name(self, nodeid: str) -> str:
        """Return what a test is called in the record."""
        raise NotImplementedError

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

    def write(self, nodeid: str, kind: str, detail: str = "") -> None:
        line = {"test": self.name(nodeid), "kind": kind, "detail": detail}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def run(self, arguments: list[str]) -> NoReturn:
        """Run pytest, say that the record is complete if it is, and end the process."""
        code = pytest.main(arguments, plugins=[self])
        nothing_chosen = code == pytest.ExitCode.NO_TESTS_COLLECTED
        if nothing_chosen or code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self.file.write(json.dumps({"kind": "complete"}) + "\n")
            self.file.flush()
        sys.exit(code)
