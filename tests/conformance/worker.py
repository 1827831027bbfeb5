"""One process, one module of CPython's tests: reads a job from stdin, writes what it sees.

Owns the running. Never judges: the parent does. Each test leaves a line when it starts and one
when it ends, so that the parent knows which test hung or brought the process down.
"""

from __future__ import annotations

import faulthandler
import fnmatch
import importlib
import importlib.util
import json
import sys
import unittest
from collections.abc import Iterator
from typing import Any, TextIO

from tests.conformance import places

#: How the worker ends where the interpreter has no such tests.
NO_TEST_PACKAGE = 70
NO_MODULE = 71


class Record(unittest.TestResult):
    """Writes the life of each test to a file, and kills the process if one does not end."""

    def __init__(self, file: TextIO, bound: float) -> None:
        super().__init__()
        self.file = file
        self.bound = bound
        self.kind = "passed"
        self.details: list[str] = []

    def write(self, test: Any, kind: str, detail: str = "") -> None:
        line = {"test": short_id(test), "kind": kind, "detail": detail}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self.kind, self.details = "passed", []
        self.write(test, "started")
        faulthandler.dump_traceback_later(self.bound, exit=True)

    def stopTest(self, test: Any) -> None:
        faulthandler.cancel_dump_traceback_later()
        self.write(test, self.kind, "\n".join(self.details))
        super().stopTest(test)

    def note(self, test: Any, kind: str, detail: str) -> None:
        if not isinstance(test, unittest.TestCase):
            # What fails outside of a test (`setUpModule`) has no start and no end.
            self.write(test, kind, detail)
            return
        if self.kind != "failed":
            self.kind = kind
        self.details.append(detail)

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self.note(test, "failed", self.failures[-1][1])

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self.note(test, "failed", self.errors[-1][1])

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            text = "".join(self._exc_info_to_string(err, test))
            self.note(test, "failed", f"{subtest}\n{text}")

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self.note(test, "skipped", reason)

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self.note(test, "failed", "it passes, and CPython says that it cannot")


def short_id(test: Any) -> str:
    """`Case.test_name`, without the module."""
    return ".".join(test.id().split(".")[-2:]) if isinstance(test, unittest.TestCase) else str(test)


def flatten(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from flatten(entry)
        else:
            yield entry


def matches(test: str, patterns: list[str]) -> bool:
    """As `-k` of unittest: a part of the name, or a pattern with stars."""
    return not patterns or any(
        fnmatch.fnmatchcase(test, pattern if "*" in pattern else f"*{pattern}*")
        for pattern in patterns
    )


def main() -> None:
    job = json.load(sys.stdin)
    if importlib.util.find_spec("test") is None or not importlib.util.find_spec(
        "test.test_asyncio"
    ):
        sys.exit(NO_TEST_PACKAGE)
    name = f"test.test_asyncio.{job['module']}"
    if importlib.util.find_spec(name) is None:
        sys.exit(NO_MODULE)
    names = places.Names(**job["names"])
    places.put(job["place"], names)
    module = importlib.import_module(name)
    done = set(job["done"])
    chosen = unittest.TestSuite(
        test
        for test in flatten(unittest.defaultTestLoader.loadTestsFromModule(module))
        if places.concerns(job["place"], type(test), names)
        and matches(short_id(test), job["patterns"])
        and short_id(test) not in done
    )
    with open(job["record"], "a", encoding="utf-8") as file:
        chosen.run(Record(file, job["bound"]))
        file.write(json.dumps({"kind": "complete"}) + "\n")


if __name__ == "__main__":
    main()
