"""CPython's own tests of asyncio hold with our classes in place of asyncio's (R22, R23)."""

from __future__ import annotations

import pytest

from tests.conformance.cpython import SUITES, NotHereError, Suite, run_suite
from tests.conformance.expected import judge, read_list, this_python


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_cpythons_own_tests_hold(suite: Suite) -> None:
    try:
        results = run_suite(suite)
    except NotHereError as exc:
        pytest.skip(str(exc))
    complaints = judge(suite.name, results, read_list())
    assert not complaints, "\n\n".join(complaints)


def test_every_listed_exception_names_a_suite_and_a_reason() -> None:
    suites = {suite.name for suite in SUITES} | {"anyio", "anyio-backend"}
    for entry in read_list():
        assert entry.suite in suites or entry.suite.startswith("trio"), entry
        assert entry.reason, entry


def test_the_base_tests_of_tasks_are_all_there_on_python_3_11() -> None:
    if this_python() != "3.11":
        pytest.skip("the number is that of 3.11")
    try:
        results = run_suite(
            Suite("task", "test_tasks"),
            patterns=["CTask_PyFuture_Tests.*", "CTask_CFuture_SubclassTests.*"],
        )
    except NotHereError as exc:
        pytest.skip(str(exc))
    assert len(results) == 212
