"""The suites of what is written for anyio, with its own backend and with our engine.

    python -m tests.peers [SUITE ...]      in an environment with tests/peers/requirements.txt

Owns the fetching of the sdists, the two runs of each and what may be said of them: a test must end
with our engine as it does without. What fails in both says nothing of ours; it is counted, and
named with `-v`. Ends with 1 if a test ends otherwise, also when it is run again by itself.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conformance.cpython import ROOT, read_record, run_worker
from tests.conformance.expected import Result, count

SUITES: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("suites.toml").read_text(encoding="utf-8")
)
CACHE = ROOT / "target" / "peers"

#: Seconds for a run of a suite.
BOUND = 1500

#: How many tests that end differently may be an accident, and are run again, each by itself.
ACCIDENTS = 20


class BrokenError(Exception):
    """A suite could not be fetched, or its run came to no end."""


def sdist(name: str, version: str) -> Path:
    """The unpacked sdist; downloaded if it is not there."""
    home = CACHE / f"{name}-{version}"
    if home.exists():
        return home
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        # What builds it may come as a wheel.
        chosen = ["--no-deps", "--no-binary", name, "--dest", folder, f"{name}=={version}"]
        download = subprocess.run(
            [*pip, *chosen], capture_output=True, text=True, timeout=BOUND, check=False
        )
        if download.returncode:
            raise BrokenError(f"{name}'s sdist cannot be downloaded: {download.stderr}")
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            safe: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(folder, **safe)
        (made,) = (path for path in Path(folder).iterdir() if path.is_dir())
        made.rename(home)
    return home


def run(name: str, backend: bool, chosen: list[str]) -> dict[str, Result]:
    """Run a suite, or tests of it, in one process."""
    suite = SUITES[name]
    home = sdist(name, suite["version"])
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        record = Path(folder, "record.jsonl")
        arguments = ["--quiet", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "log_cli=false"]
        arguments += ["--continue-on-collection-errors", "--rootdir", str(home)]
        arguments += ["-c", str(home / "pyproject.toml"), *suite.get("options", []), *chosen]
        job: dict[str, object] = {
            "home": str(home),
            "backend": backend,
            "record": str(record),
            "arguments": arguments,
        }
        code, output = run_worker("tests.peers.worker", job, BOUND)
        results: dict[str, Result] = {}
        complete, running = read_record(record, results)
        if not complete:
            if running is None:
                raise BrokenError(f"{name} ended with {code}, outside of any test:\n{output}")
            results[running] = Result("crashed", f"ended the process with {code}:\n{output}")
    return results


def different(stock: Mapping[str, Result], ours: Mapping[str, Result]) -> list[str]:
    """The tests that did not end in the same way."""
    nothing = Result("not run")
    return [
        test
        for test in sorted({*stock, *ours})
        if stock.get(test, nothing).kind != ours.get(test, nothing).kind
    ]


def judge(name: str, verbose: bool) -> int:
    """Run a suite twice, print what came of it, and return how many tests end otherwise."""
    version = SUITES[name]["version"]
    installed = importlib.metadata.version(name)
    if installed != version:
        raise BrokenError(f"{name} {installed} is installed, and its tests are those of {version}")
    chosen = SUITES[name]["tests"]
    stock, ours = run(name, False, chosen), run(name, True, chosen)
    found = different(stock, ours)
    if len(found) <= ACCIDENTS:
        for test in found:
            for results, backend in ((stock, False), (ours, True)):
                again = run(name, backend, [f"tests/{test}"])
                results.update({test: again[test]} if test in again else {})
        found = different(stock, ours)
    print(f"{name} {version}")
    print(f"  anyio's own {count(stock)}\n  our engine  {count(ours)}", flush=True)
    for test in found:
        kinds = [it[test].kind if test in it else "not run" for it in (stock, ours)]
        print(f"  {test}: {kinds[0]} on anyio's own backend, {kinds[1]} on our engine")
        print((ours if kinds[1] != "passed" else stock).get(test, Result("")).detail)
    if verbose:
        failed = [test for test in stock if stock[test].kind == "failed" and test not in found]
        for test in failed:
            print(f"  {test}: fails on both\n{stock[test].detail.splitlines()[-1:]}")
    if not any(result.kind == "passed" for result in stock.values()):
        raise BrokenError(f"no test of {name} has passed")
    return len(found)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("-v", dest="verbose", action="store_true", help="name what fails on both")
    options = parser.parse_args()
    wrong = 0
    for name in options.suites or SUITES:
        try:
            wrong += judge(name, options.verbose)
        except BrokenError as exc:
            print(exc)
            wrong += 1
    print(f"{wrong} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
