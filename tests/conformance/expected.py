"""The list of tests that cannot hold, and what may be said of a run in the light of it.

Owns the reading of `exceptions.toml`. The list is meant to be empty; a test that stands in it and
passes is as wrong as one that fails and does not.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("exceptions.toml")


#: Why a test of trio's may stand there: it asks for trio's internals, for its texts, or for what is
#: asyncio's with us by promise. "engine" says that ours is wrong, or not decided.
TRIO_REASONS = ("internals", "texts", "asyncio", "engine")


@dataclass(frozen=True)
class Result:
    """How a test ended: "passed", "failed", "skipped" or "crashed"."""

    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Entry:
    """A test that is known not to pass."""

    suite: str
    test: str
    reason: str
    #: The versions for which this holds, as "3.11"; none for all.
    pythons: tuple[str, ...] = ()
    #: It fails with asyncio's own classes too, put in place in the same way.
    baseline: bool = False
    #: Whether it passes depends on how fast the machine is.
    sometimes: bool = False
    #: Of trio's tests, one of `TRIO_REASONS`.
    because: str = ""

    def holds(self, suite: str, *, baseline: bool, python: str) -> bool:
        return (
            self.suite == suite
            and (self.baseline or not baseline)
            and (not self.pythons or python in self.pythons)
        )


def read_list(path: Path = LIST) -> list[Entry]:
    """Read the list; a table may name several tests, and several suites for each."""
    entries = []
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    for section in ("exception", "engine"):
        for table in content.get(section, []):
            rest = dict(table)
            suites = rest.pop("suites", None) or [rest.pop("suite")]
            tests = rest.pop("tests", None) or [rest.pop("test")]
            rest["pythons"] = tuple(rest.get("pythons", ()))
            if section == "engine":
                rest["because"] = section
            entries += [Entry(suite, test, **rest) for suite in suites for test in tests]
    return entries


def this_python() -> str:
    return "{}.{}".format(*sys.version_info)


def judge(
    suite: str,
    results: Mapping[str, Result],
    entries: list[Entry],
    *,
    baseline: bool = False,
    partial: bool = False,
    python: str | None = None,
) -> list[str]:
    """Say what is wrong with a run; nothing, if all is as expected.

    `partial`: only some of the tests were to run, so a listed one may be absent.
    """
    python = python or this_python()
    known = {
        entry.test: entry
        for entry in entries
        if entry.holds(suite, baseline=baseline, python=python)
    }
    complaints = [
        f"{suite} {test}: {result.kind}\n{result.detail}"
        for test, result in results.items()
        if result.kind not in ("passed", "skipped") and test not in known
    ]
    for test, entry in known.items():
        result = results.get(test)
        if result is None and not partial:
            complaints.append(f"{suite} {test}: listed ({entry.reason}), but there is no such test")
        elif result is not None and result.kind in ("passed", "skipped") and not entry.sometimes:
            complaints.append(f"{suite} {test}: listed ({entry.reason}), but {result.kind}")
    if not partial and not any(result.kind == "passed" for result in results.values()):
        complaints.append(f"{suite}: no test has passed")
    return complaints


def count(results: Mapping[str, Result]) -> str:
    """`106 passed, 2 failed, 1 skipped`."""
    kinds = [result.kind for result in results.values()]
    return ", ".join(
        f"{kinds.count(kind)} {kind}"
        for kind in ("passed", "failed", "crashed", "skipped")
        if kind == "passed" or kind in kinds
    )


def conclude(complaints: Sequence[str]) -> bool:
    """Print what is wrong, and return whether anything is."""
    for complaint in complaints:
        print(f"\n== {complaint}")
    print("\nall as expected" if not complaints else f"\n{len(complaints)} complaints")
    return bool(complaints)


def list_tests(results: Mapping[str, Result]) -> None:
    """Print how each test ended."""
    for test, result in results.items():
        print(f"  {result.kind:8} {test}")
