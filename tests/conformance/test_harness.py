"""The harness itself: it sees what is wrong, and says nothing of what is right."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from typing import Any

import pytest

from tests.conformance import places
from tests.conformance.cpython import BrokenError, NotHereError, Suite, run_suite
from tests.conformance.expected import Entry, Result, judge


class Miscounting(asyncio.Task):  # type: ignore[type-arg]
    """A task that has lost count of its cancellations."""

    def uncancel(self) -> int:
        return 7


class Deadly(asyncio.Task):  # type: ignore[type-arg]
    """A task that takes the interpreter with it."""

    def uncancel(self) -> int:
        os._exit(3)


class Restless(asyncio.Task):  # type: ignore[type-arg]
    """A task that never says how often it is cancelled."""

    def uncancel(self) -> int:
        while True:
            pass


def factory_of(task_class: type[asyncio.Task[Any]]) -> Any:
    return lambda loop, coro, **options: task_class(coro, loop=loop, **options)


miscounting_factory = factory_of(Miscounting)

SOME_TESTS = ["CTask_CFuture_Tests.*uncancel*", "CTask_CFuture_Tests.*cancel_message*"]


def run_with(task: type, **options: Any) -> dict[str, Result]:
    names = dataclasses.replace(places.BASELINE, task=f"{__name__}:{task.__name__}")
    try:
        return run_suite(Suite("task", "test_tasks"), names, patterns=SOME_TESTS, **options)
    except NotHereError as exc:
        pytest.skip(str(exc))


def test_asyncios_own_task_passes() -> None:
    try:
        results = run_suite(
            Suite("task", "test_tasks"), places.BASELINE, patterns=["CTask_CFuture_Tests.*"]
        )
    except NotHereError as exc:
        pytest.skip(str(exc))
    assert judge("task/test_tasks", results, [], partial=True) == []
    assert sum(result.kind == "passed" for result in results.values()) > 100


def test_a_wrong_task_fails_by_name() -> None:
    results = run_with(Miscounting)
    assert "failed" in {result.kind for result in results.values()}
    assert judge("task/test_tasks", results, [], partial=True)


def test_a_test_that_ends_the_process_is_named_and_the_others_still_run() -> None:
    results = run_with(Deadly)
    crashed = [test for test, result in results.items() if result.kind == "crashed"]
    assert crashed
    assert len(results) > len(crashed)


def test_a_test_that_hangs_is_named_with_the_place_where_it_hangs() -> None:
    results = run_with(Restless, bound=2)
    crashed = [result for result in results.values() if result.kind == "crashed"]
    assert crashed
    assert all("in uncancel" in result.detail for result in crashed)


def test_a_factory_that_makes_other_tasks_than_it_should_is_refused() -> None:
    names = dataclasses.replace(places.BASELINE, factory=f"{__name__}:miscounting_factory")
    try:
        with pytest.raises(BrokenError, match="check --task-class, --factory"):
            run_suite(Suite("factory", "test_timeouts"), names)
    except NotHereError as exc:
        pytest.skip(str(exc))


def test_a_module_that_a_python_should_have_is_not_skipped() -> None:
    with pytest.raises(BrokenError, match="outside of any test"):
        run_suite(Suite("factory", "test_of_nothing"), places.BASELINE)


def test_an_older_python_may_lack_a_module() -> None:
    later = (sys.version_info.major, sys.version_info.minor + 1)
    with pytest.raises(NotHereError):
        run_suite(Suite("factory", "test_of_the_future", later), places.BASELINE)


PASSED, FAILED = Result("passed"), Result("failed", "why")


def test_a_failure_that_is_not_listed_is_a_complaint() -> None:
    assert judge("a/b", {"T.x": FAILED, "T.y": PASSED}, []) == ["a/b T.x: failed\nwhy"]


def test_a_listed_failure_is_none() -> None:
    assert judge("a/b", {"T.x": FAILED, "T.y": PASSED}, [Entry("a/b", "T.x", "so")]) == []


@pytest.mark.parametrize("result", [PASSED, Result("skipped")], ids=lambda result: result.kind)
def test_a_listed_test_that_does_not_fail_is_a_complaint(result: Result) -> None:
    results = {"T.x": result, "T.y": PASSED}
    (complaint,) = judge("a/b", results, [Entry("a/b", "T.x", "so")])
    assert "listed" in complaint


def test_a_listed_test_that_does_not_exist_is_a_complaint_unless_the_run_was_partial() -> None:
    entries = [Entry("a/b", "T.x", "so")]
    assert judge("a/b", {"T.y": PASSED}, entries)
    assert judge("a/b", {"T.y": PASSED}, entries, partial=True) == []


def test_an_entry_of_another_version_or_of_ours_alone_does_not_hold() -> None:
    results = {"T.x": FAILED, "T.y": PASSED}
    other = Entry("a/b", "T.x", "so", pythons=("3.12",))
    assert judge("a/b", results, [other], python="3.13")
    assert judge("a/b", results, [other], python="3.12") == []
    assert judge("a/b", results, [Entry("a/b", "T.x", "so")], baseline=True)
    assert judge("a/b", results, [Entry("a/b", "T.x", "so", baseline=True)], baseline=True) == []


def test_a_run_in_which_nothing_passes_is_a_complaint() -> None:
    assert judge("a/b", {}, []) == ["a/b: no test has passed"]
