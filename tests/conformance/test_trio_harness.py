"""The harness of trio's tests itself: what is wrong fails by name, and trio is never tested."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import aionursery
from tests.conformance.cpython import ROOT, BrokenError, NotHereError
from tests.conformance.expected import Result, read_list
from tests.conformance.trio_suite import SUITES, Suite, complaints_of, run_suite

SUITE = SUITES[0]

#: Tests that need a checkpoint that lets others run, and one that is cancelled.
SOME_TESTS = "basic_interleave or cancel_points or basic_timeout or current_task"


async def deaf_checkpoint() -> None:
    """Lets no other task run, and does not hear of a cancellation."""


async def deadly_checkpoint() -> None:
    """Takes the interpreter with it."""
    os._exit(3)


async def restless_checkpoint() -> None:
    """Never ends, and lets no other task run."""
    while True:
        pass


def once(**options: Any) -> Any:
    """A scope that cancels only once."""
    return aionursery.CancelScope(**options | {"cleanup": None})


def library(**names: Any) -> Any:
    return types.SimpleNamespace(**vars(aionursery) | names)


deaf = library(checkpoint=deaf_checkpoint)
deadly = library(checkpoint=deadly_checkpoint)
restless = library(checkpoint=restless_checkpoint)
lenient = library(CancelScope=once)


def run_with(name: str, patterns: str = SOME_TESTS, **options: Any) -> dict[str, Result]:
    try:
        return run_suite(SUITE, f"{__name__}:{name}", patterns=patterns, **options)
    except NotHereError as exc:
        pytest.skip(str(exc))


def failed(results: dict[str, Result]) -> set[str]:
    return {test for test, result in results.items() if result.kind == "failed"}


def test_a_checkpoint_that_is_none_fails_by_name() -> None:
    results = run_with("deaf")
    assert {"test_basic_interleave", "test_cancel_points"} <= failed(results)
    assert complaints_of(SUITE, results, partial=True)


def test_a_scope_that_cancels_only_once_fails_by_name() -> None:
    assert "test_cancel_shielding" in failed(run_with("lenient", "cancel_shielding"))


def test_a_test_that_ends_the_process_is_named_and_the_others_still_run() -> None:
    results = run_with("deadly")
    assert results["test_basic_interleave"].kind == "crashed"
    assert results["test_current_task"].kind == "passed"


def test_a_test_that_hangs_is_named_with_the_place_where_it_hangs() -> None:
    results = run_with("restless", "basic_interleave", bound=2)
    assert results["test_basic_interleave"].kind == "crashed"
    assert "in restless_checkpoint" in results["test_basic_interleave"].detail


def test_a_module_that_is_not_there_is_not_skipped() -> None:
    with pytest.raises(BrokenError, match="outside of any test"):
        run_suite(Suite("_tests.test_of_nothing", 1))


def test_too_few_tests_are_a_complaint() -> None:
    suite = Suite("_core._tests.test_exceptiongroup_gc", 3)
    (complaint,) = complaints_of(suite, {"test_a": Result("passed"), "test_b": Result("passed")})
    assert "2 tests have run, not 3" in complaint


def test_a_table_names_several_tests_of_several_suites(tmp_path: Path) -> None:
    path = tmp_path / "list.toml"
    path.write_text(
        """
[[exception]]
suites = ["trio/a", "trio-uvloop/a"]
tests = ["x", "y"]
because = "texts"
reason = "so"

[[engine]]
suite = "trio/a"
test = "z"
reason = "R1"
"""
    )
    entries = read_list(path)
    assert [(entry.suite, entry.test, entry.because) for entry in entries] == [
        ("trio/a", "x", "texts"),
        ("trio/a", "y", "texts"),
        ("trio-uvloop/a", "x", "texts"),
        ("trio-uvloop/a", "y", "texts"),
        ("trio/a", "z", "engine"),
    ]


def test_trio_itself_cannot_be_imported_under_the_facade() -> None:
    program = """
from tests.conformance.trio_facade import modules, nurseries, waits
modules.put(our_locks=False)
import trio, trio._core, trio.lowlevel
assert trio.open_nursery is trio._core.open_nursery is nurseries.open_nursery
assert trio.lowlevel.checkpoint is waits.checkpoint
for name in ("trio._core._io_epoll", "trio._core._traps", "trio.socket", "trio._subprocess"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(name)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
