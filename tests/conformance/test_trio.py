"""trio's own tests hold on a facade over ours (R12, R13, R17 to R19, R21, R24)."""

from __future__ import annotations

import pytest

from tests.conformance.cpython import NotHereError
from tests.conformance.expected import TRIO_REASONS, read_list
from tests.conformance.trio_suite import SUITES, Suite, complaints_of, run_suite


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_trios_own_tests_hold(suite: Suite) -> None:
    try:
        results = run_suite(suite)
    except NotHereError as exc:
        pytest.skip(str(exc))
    complaints = complaints_of(suite, results)
    assert not complaints, "\n\n".join(complaints)


def test_every_listed_exception_names_a_suite_and_one_of_the_reasons() -> None:
    suites = {suite.name for suite in SUITES}
    for entry in read_list():
        if entry.suite.startswith("trio"):
            assert entry.suite in suites, entry
            assert entry.reason, entry
            assert entry.because in TRIO_REASONS, entry


def test_few_of_trios_tests_are_excepted() -> None:
    excepted = {
        (entry.suite, entry.test)
        for entry in read_list()
        if entry.suite.startswith("trio/") and entry.because != "engine"
    }
    tests = sum(suite.tests for suite in SUITES if suite.name.startswith("trio/"))
    assert len(excepted) < tests / 5
