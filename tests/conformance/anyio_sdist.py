"""anyio's own tests of its asyncio backend, with our task factory on every loop, or our backend.

Owns the fetching of anyio's sdist and the runs that are compared, one with asyncio's own tasks and
others with ours: `python -m tests.conformance.anyio_sdist`. With `--backend` the second one has
anyio's backend on our engine. The tests are run where the sdist was
unpacked, under `target/`, with anyio's own settings of pytest.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import importlib.metadata
import importlib.util
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conformance import places
from tests.conformance.cpython import ROOT, BrokenError, NotHereError, read_record, run_worker
from tests.conformance.expected import (
    Entry,
    Result,
    conclude,
    count,
    judge,
    list_tests,
    read_list,
    this_python,
)

CACHE = ROOT / "target" / "conformance"

#: The tests of what a task has to do with, and of what stands on top of it.
MODULES = (
    "test_taskgroups",
    "test_synchronization",
    "test_eventloop",
    "test_from_thread",
    "test_to_thread",
    "test_debugging",
    "test_contextmanagers",
    "test_concurrency_utils",
    "test_futures",
    "test_lowlevel",
    "test_pytest_plugin",
    "test_signals",
    "test_subprocesses",
    "streams/test_memory",
    "streams/test_buffered",
    "streams/test_stapled",
)

#: How many failures that are not listed may be an accident of the machine: they are run again, each
#: by itself.
ACCIDENTS = 5

#: What anyio's `conftest.py` and its settings of pytest ask for.
NEEDED = ("trustme", "pytest_mock", "pytest_timeout", "psutil")

#: Seconds for a run; anyio's settings bound each test.
BOUND = 600


class _Backend:
    """In place of names: anyio's backend on our engine."""


BACKEND = _Backend()


def sdist() -> Path:
    """The unpacked sdist of the anyio that is installed; downloaded if it is not there."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise NotHereError(f"anyio's tests need {', '.join(missing).replace('_', '-')}")
    version = importlib.metadata.version("anyio")
    home = CACHE / f"anyio-{version}"
    if home.exists():
        return home
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        download = subprocess.run(
            [*pip, "--no-deps", "--no-binary", ":all:", "--dest", folder, f"anyio=={version}"],
            capture_output=True,
            text=True,
            timeout=BOUND,
        )
        if download.returncode:
            raise NotHereError(f"anyio's sdist cannot be downloaded: {download.stderr}")
        (archive,) = Path(folder).glob("anyio-*.tar.gz")
        with tarfile.open(archive) as tar:
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(folder, **safe)
        try:
            Path(folder, home.name).rename(home)
        except OSError:
            # Another process was faster.
            if not home.exists():
                raise
    return home


def modules_here() -> tuple[list[str], list[str]]:
    """The modules of `MODULES` that the installed anyio has, and its others."""
    tests = sdist() / "tests"
    found = [path.relative_to(tests).with_suffix("") for path in sorted(tests.rglob("test_*.py"))]
    names = [path.as_posix() for path in found]
    return [name for name in MODULES if name in names], sorted({*names} - {*MODULES})


def suite_of(names: places.Names | _Backend | None) -> str:
    """What the list of exceptions calls a run."""
    return "anyio-backend" if names is BACKEND else "anyio"


def run(
    names: places.Names | _Backend | None, modules: Sequence[str], patterns: str = ""
) -> dict[str, Result]:
    """Run these modules; with asyncio's own tasks if there is nothing to put in place.

    Some of anyio's tests give a thread a few seconds. On a busy machine one fails now and then,
    with any task: it must then pass by itself.
    """
    results = run_process(names, patterns, [f"tests/{module}.py" for module in modules])
    listed = {
        entry.test
        for entry in read_list()
        if entry.holds(suite_of(names), baseline=names is None, python=this_python())
    }
    failed = [test for test, result in results.items() if result.kind == "failed"]
    failed = [test for test in failed if test not in listed]
    if len(failed) <= ACCIDENTS:
        for test in failed:
            first = results[test].detail
            (again,) = run_process(names, "", [f"tests/{test}"]).values()
            results[test] = dataclasses.replace(again, detail=f"{first}\n{again.detail}")
    return results


def run_process(
    names: places.Names | _Backend | None, patterns: str, chosen: Sequence[str]
) -> dict[str, Result]:
    """Run the chosen files or tests in one process."""
    home = sdist()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        record = Path(folder, "record.jsonl")
        job = {
            "home": str(home),
            "names": dataclasses.asdict(names) if isinstance(names, places.Names) else None,
            "backend": names is BACKEND,
            "record": str(record),
            "arguments": [
                *("--quiet", "-p", "no:cacheprovider"),
                *("--rootdir", str(home), "-c", str(home / "pyproject.toml")),
                *(["-k", patterns] if patterns else []),
                *chosen,
            ],
        }
        code, output = run_worker("tests.conformance.anyio_worker", job, BOUND)
        results: dict[str, Result] = {}
        complete, running = read_record(record, results)
        if not complete:
            ending = f"ended the process with {code}:\n{output}"
            if running is None:
                raise BrokenError(f"anyio's tests, outside of any test, {ending}")
            results[running] = Result("crashed", ending)
        return results


def run_beside_plain(
    *in_place: places.Names | _Backend, modules: Sequence[str] = (), patterns: str = ""
) -> list[dict[str, Result]]:
    """The results with asyncio's own tasks, and with each that is put in their place.

    Of these modules, or of all that the installed anyio has.
    """
    modules = modules or modules_here()[0]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda names: run(names, modules, patterns), (None, *in_place)))


def compare(
    plain: Mapping[str, Result],
    ours: Mapping[str, Result],
    entries: list[Entry],
    *,
    partial: bool = False,
    suite: str = "anyio",
) -> list[str]:
    """What is wrong: in either run by itself, and where ours did not pass what asyncio's did."""
    return [
        *judge("anyio", plain, entries, baseline=True, partial=partial),
        *judge(suite, ours, entries, partial=partial),
        *(
            f"anyio {test}: {ours[test].kind if test in ours else 'not run'} with our tasks, "
            "passed with asyncio's"
            for test, result in plain.items()
            if result.kind == "passed" and (test not in ours or ours[test].kind == "skipped")
        ),
    ]


def differing(plain: Mapping[str, Result], ours: Mapping[str, Result]) -> list[str]:
    """The tests that have not ended in the same way."""
    kinds = [{test: result.kind for test, result in found.items()} for found in (plain, ours)]
    return [test for test in {**plain, **ours} if kinds[0].get(test) != kinds[1].get(test)]


def compare_rest() -> list[str]:
    """Run what has little to do with tasks beside anyio's own backend; say what ends otherwise.

    Some of it needs a network. What fails on both sides says nothing of ours.
    """
    chosen = [f"tests/{module}.py" for module in modules_here()[1]]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        plain, ours = pool.map(lambda names: run_process(names, "", chosen), (None, BACKEND))
    print(f"{'others':10} {count(plain)}\n{'in place':10} {count(ours)}")
    wrong = differing(plain, ours)
    if len(wrong) <= ACCIDENTS:
        # A socket that a test leaves behind is another's warning.
        for test in wrong:
            for names, results in ((None, plain), (BACKEND, ours)):
                results.update(run_process(names, "", [f"tests/{test}"]))
        wrong = differing(plain, ours)
    return [
        f"anyio {test}: {ours[test].kind if test in ours else 'not run'} on our engine, "
        f"{plain[test].kind if test in plain else 'not run'} on anyio's own backend\n"
        + (ours[test].detail if test in ours else "")
        for test in wrong
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.anyio_sdist", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--baseline", action="store_true", help="put asyncio's own classes there")
    parser.add_argument("--backend", action="store_true", help="put anyio's backend on our engine")
    parser.add_argument(
        "--all", action="store_true", help="with --backend, anyio's other tests, too"
    )
    parser.add_argument("--module", action="append", help="only this one, as test_taskgroups")
    parser.add_argument("-k", dest="patterns", default="", help="an expression, as for pytest")
    parser.add_argument("-v", dest="verbose", action="store_true", help="name every test")
    parser.add_argument("--factory", metavar="MODULE:NAME")
    parser.add_argument("--eager-factory", metavar="MODULE:NAME")
    parser.add_argument("--task-class", dest="task", metavar="MODULE:NAME")
    options = parser.parse_args(arguments)
    names: places.Names | _Backend = places.BASELINE if options.baseline else places.OURS
    given = {field: getattr(options, field) for field in ("factory", "eager_factory", "task")}
    if isinstance(names, places.Names):
        chosen = {field: value for field, value in given.items() if value}
        names = dataclasses.replace(names, **chosen)
    if options.backend:
        names = BACKEND
    try:
        modules = options.module or ()
        plain, ours = run_beside_plain(names, modules=modules, patterns=options.patterns)
        rest = compare_rest() if options.all and options.backend else []
    except NotHereError as exc:
        print(exc)
        return 0
    except BrokenError as exc:
        print(exc)
        return 1
    if options.verbose:
        list_tests(ours)
    for name, results in (("asyncio", plain), ("in place", ours)):
        for test, result in results.items():
            if result.kind == "passed" and result.detail:
                print(f"{name:10} passed only by itself: {test}")
    print(f"{'asyncio':10} {count(plain)}\n{'in place':10} {count(ours)}")
    partial = bool(options.module or options.patterns)
    complaints = compare(plain, ours, read_list(), partial=partial, suite=suite_of(names))
    return conclude([*complaints, *rest])


if __name__ == "__main__":
    sys.exit(main())
