"""CPython's own tests of asyncio, with our classes in place of asyncio's.

Owns the list of suites and the processes in which they run: `python -m tests.conformance.cpython`.
Loads the tests from the interpreter's own `test` package; never changes one, never copies one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import places, worker
from tests.conformance.expected import Result, conclude, count, judge, list_tests, read_list

ROOT = Path(__file__).resolve().parents[2]

#: A single test that takes more seconds than this hangs.
TEST_BOUND = 60
#: So does a whole suite, whatever it does between its tests.
SUITE_BOUND = 600


@dataclass(frozen=True)
class Suite:
    """A module of `test.test_asyncio`, and what stands in place of what."""

    place: str
    module: str
    #: CPython has the module from this version on.
    since: tuple[int, int] = (3, 11)

    @property
    def name(self) -> str:
        return f"{self.place}/{self.module}"


SUITES = (
    Suite("task", "test_tasks"),
    Suite("task", "test_eager_task_factory", (3, 12)),
    Suite("task", "test_base_events"),
    Suite("task", "test_graph", (3, 14)),
    Suite("task", "test_free_threading", (3, 14)),
    Suite("eager", "test_eager_task_factory", (3, 12)),
    *(
        Suite("factory", module)
        for module in (
            "test_tasks",
            "test_timeouts",
            "test_waitfor",
            "test_futures",
            "test_futures2",
            "test_runners",
            "test_queues",
            "test_locks",
            "test_taskgroups",
            "test_context",
            "test_pep492",
            "test_threads",
            "test_streams",
            "test_server",
            "test_subprocess",
            "test_unix_events",
        )
    ),
    Suite("factory", "test_staggered", (3, 13)),
    Suite("factory", "test_graph", (3, 14)),
    Suite("taskgroup", "test_taskgroups"),
    Suite("taskgroup+factory", "test_taskgroups"),
    Suite("locks", "test_locks"),
    Suite("locks+factory", "test_locks"),
    Suite("queues", "test_queues"),
    Suite("queues+factory", "test_queues"),
)


class NotHereError(Exception):
    """This interpreter does not have the tests; the message says why."""


class BrokenError(Exception):
    """The suite did not come as far as its first test."""


def run_suite(
    suite: Suite,
    names: places.Names = places.OURS,
    *,
    patterns: Sequence[str] = (),
    bound: float = TEST_BOUND,
) -> dict[str, Result]:
    """Run a suite in processes of its own; one that dies is followed by one for the tests left."""
    results: dict[str, Result] = {}
    deadline = time.monotonic() + SUITE_BOUND
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        while True:
            record = Path(folder, "record.jsonl")
            record.unlink(missing_ok=True)
            job = {
                "place": suite.place,
                "module": suite.module,
                "names": dataclasses.asdict(names),
                "patterns": list(patterns),
                "done": list(results),
                "bound": bound,
                "record": str(record),
            }
            code, output = run_worker(worker.__name__, job, max(1, deadline - time.monotonic()))
            if code == worker.NO_TEST_PACKAGE:
                raise NotHereError(
                    f"{sys.executable} comes without CPython's own tests"
                    " (Debian: apt install libpython3-testsuite)"
                )
            if code == worker.NO_MODULE and sys.version_info < suite.since:
                since = "{}.{}".format(*suite.since)
                raise NotHereError(f"CPython has {suite.module} from {since} on")
            complete, running = read_record(record, results)
            if complete:
                return results
            if running is None:
                raise BrokenError(f"{suite.name} ended with {code} outside of any test:\n{output}")
            results[running] = Result("crashed", f"ended the process with {code}:\n{output}")


def run_worker(module: str, job: dict[str, object], bound: float) -> tuple[int | str, str]:
    """Give the job to a new process that runs the module; its exit code, and its last words."""
    environment = {
        name: value
        for name, value in os.environ.items()
        # What changes an interpreter's behaviour changes what its tests see; where its memory
        # comes from does not.
        if not name.startswith(("PYTHON", "PYTEST")) or name == "PYTHONMALLOC"
    }
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output,
        # Processes of pytest that share a folder remove old files at once, and warn of each other.
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=environment | {"PYTEST_DEBUG_TEMPROOT": folder},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            # The tests of signals send some to their process group.
            start_new_session=True,
        )
        code: int | str
        try:
            process.communicate(json.dumps(job), timeout=bound)
            code = process.returncode
        except subprocess.TimeoutExpired:
            code = f"no end after {bound:.0f} seconds"
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        return code, output.read()[-6000:]


def read_record(record: Path, results: dict[str, Result]) -> tuple[bool, str | None]:
    """Add what a process wrote to the results; whether it came to its end, and where it stood."""
    running = None
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    for line in map(json.loads, lines):
        if line["kind"] == "complete":
            return True, None
        if line["kind"] == "started":
            running = line["test"]
        else:
            results[line["test"]] = Result(line["kind"], line["detail"])
            running = None
    return False, running


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.cpython", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--baseline", action="store_true", help="put asyncio's own classes there")
    parser.add_argument(
        "--module", action="append", help="only this one, as test_tasks; repeatable"
    )
    parser.add_argument("--place", action="append", help="only this one, as task; repeatable")
    parser.add_argument("-k", dest="patterns", action="append", default=[], metavar="PATTERN")
    parser.add_argument("-v", dest="verbose", action="store_true", help="name every test")
    parser.add_argument("--bound", type=float, default=TEST_BOUND, help="seconds for one test")
    for option, field in (
        ("--task-class", "task"),
        ("--factory", "factory"),
        ("--eager-factory", "eager_factory"),
        ("--task-group", "task_group"),
    ):
        parser.add_argument(option, dest=field, metavar="MODULE:NAME")
    parser.add_argument("--primitives", metavar="MODULE")
    options = parser.parse_args(arguments)
    names = places.BASELINE if options.baseline else places.OURS
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(names)}
    names = dataclasses.replace(names, **{field: value for field, value in given.items() if value})
    chosen = [
        suite
        for suite in SUITES
        if (not options.module or suite.module in options.module)
        and (not options.place or suite.place in options.place)
    ]
    if not chosen:
        parser.error("no such suite; there are " + ", ".join(suite.name for suite in SUITES))
    complaints: list[str] = []
    for suite in chosen:
        start = time.monotonic()
        try:
            results = run_suite(suite, names, patterns=options.patterns, bound=options.bound)
        except NotHereError as exc:
            print(f"{suite.name:34} not here: {exc}", flush=True)
            continue
        except BrokenError as exc:
            print(f"{suite.name:34} broken", flush=True)
            complaints.append(str(exc))
            continue
        seconds = time.monotonic() - start
        print(f"{suite.name:34} {count(results)} ({seconds:.0f} s)", flush=True)
        if options.verbose:
            list_tests(results)
        complaints += judge(
            suite.name,
            results,
            read_list(),
            baseline=options.baseline,
            partial=bool(options.patterns),
        )
    return conclude(complaints)


if __name__ == "__main__":
    sys.exit(main())
