"""trio's own tests, on a facade that gives trio's names on top of ours.

Owns the list of suites and the processes in which they run:
`python -m tests.conformance.trio_suite`.
Loads the tests from the installed trio; never changes one, never copies one.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import trio_worker
from tests.conformance.cpython import BrokenError, NotHereError, read_record, run_worker
from tests.conformance.expected import Result, conclude, count, judge, list_tests, read_list

#: A single test that takes more seconds than this hangs.
TEST_BOUND = 30
#: So does a whole suite.
SUITE_BOUND = 300

OURS = "tests.conformance.trio_facade.under:library"


@dataclass(frozen=True)
class Suite:
    """A module of trio's tests, and what it runs on."""

    module: str
    #: How many tests it has in the trio that `pyproject.toml` asks for.
    tests: int
    #: Whose task a test runs in: "ours" or "asyncio". Its children are always ours.
    task: str = "ours"
    #: "virtual", whose time is a test's own, or "uvloop".
    loop: str = "virtual"
    #: trio's locks are made of its own waits; "ours" puts our locks in place of four of them.
    locks: str = "trio"

    @property
    def name(self) -> str:
        place = {
            ("ours", "virtual", "trio"): "trio",
            ("asyncio", "virtual", "trio"): "trio-asyncio",
            ("ours", "uvloop", "trio"): "trio-uvloop",
            ("ours", "virtual", "ours"): "trio-locks",
        }[self.task, self.loop, self.locks]
        return f"{place}/{self.module.rpartition('.')[2]}"


EVERYWHERE = (
    ("_core._tests.test_run", 155),
    ("_core._tests.test_parking_lot", 11),
    ("_tests.test_channel", 32),
    ("_tests.test_timeouts", 12),
    ("_tests.test_sync", 38),
)

SUITES = (
    *(Suite(*module) for module in EVERYWHERE),
    Suite("_core._tests.test_cancelled", 12),
    Suite("_core._tests.test_exceptiongroup_gc", 2),
    *(Suite(*module, task="asyncio") for module in EVERYWHERE),
    *(Suite(*module, loop="uvloop") for module in EVERYWHERE),
    Suite("_tests.test_sync", 38, locks="ours"),
)


def run_suite(
    suite: Suite,
    library: str = OURS,
    *,
    patterns: str = "",
    bound: float = TEST_BOUND,
) -> dict[str, Result]:
    """Run a suite in processes of its own; one that dies is followed by one for the tests left."""
    if importlib.util.find_spec("trio") is None:
        raise NotHereError("trio is not installed")
    results: dict[str, Result] = {}
    deadline = time.monotonic() + SUITE_BOUND
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        settings = Path(folder, "pytest.ini")
        settings.write_text("[pytest]\nfilterwarnings = error\n")
        while True:
            record = Path(folder, "record.jsonl")
            record.unlink(missing_ok=True)
            job = {
                "library": library,
                **dataclasses.asdict(suite),
                "done": list(results),
                "bound": bound,
                "record": str(record),
                "arguments": [
                    *("--quiet", "-p", "no:cacheprovider"),
                    *("--rootdir", folder, "-c", str(settings)),
                    *(["-k", patterns] if patterns else []),
                ],
            }
            left = max(1, deadline - time.monotonic())
            code, output = run_worker(trio_worker.__name__, job, left)
            complete, running = read_record(record, results)
            if complete:
                return results
            if running is None:
                raise BrokenError(f"{suite.name} ended with {code} outside of any test:\n{output}")
            results[running] = Result("crashed", f"ended the process with {code}:\n{output}")


def complaints_of(suite: Suite, results: dict[str, Result], *, partial: bool = False) -> list[str]:
    """Say what is wrong with a run, also that there were not as many tests as there should be."""
    complaints = judge(suite.name, results, read_list(), partial=partial)
    if not partial and len(results) != suite.tests:
        complaints.append(f"{suite.name}: {len(results)} tests have run, not {suite.tests}")
    return complaints


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.trio_suite", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--module", action="append", help="only this one, as test_run; repeatable")
    parser.add_argument(
        "--place", action="append", help="only this one, as trio-uvloop; repeatable"
    )
    parser.add_argument("-k", dest="patterns", default="", help="an expression, as for pytest")
    parser.add_argument("-v", dest="verbose", action="store_true", help="name every test")
    parser.add_argument("--library", default=OURS, metavar="MODULE:NAME")
    options = parser.parse_args(arguments)
    chosen = [
        suite
        for suite in SUITES
        if (not options.module or suite.module.rpartition(".")[2] in options.module)
        and (not options.place or suite.name.partition("/")[0] in options.place)
    ]
    if not chosen:
        parser.error("no such suite; there are " + ", ".join(suite.name for suite in SUITES))
    complaints: list[str] = []
    for suite in chosen:
        try:
            results = run_suite(suite, options.library, patterns=options.patterns)
        except NotHereError as exc:
            print(exc)
            return 0
        except BrokenError as exc:
            complaints.append(str(exc))
            continue
        print(f"{suite.name:34} {count(results)}", flush=True)
        if options.verbose:
            list_tests(results)
        complaints += complaints_of(suite, results, partial=bool(options.patterns))
    return conclude(complaints)


if __name__ == "__main__":
    sys.exit(main())
