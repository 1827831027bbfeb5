"""anyio's own tests pass with our task factory where they pass with asyncio's task (R23).

With its backend on our engine they do, too, but for those in the list.
"""

from __future__ import annotations

import pytest

from tests.conformance.anyio_sdist import BACKEND, compare, run_both
from tests.conformance.cpython import NotHereError
from tests.conformance.expected import count, read_list


def test_anyios_own_tests_pass_as_with_asyncios_task() -> None:
    try:
        plain, ours = run_both()
    except NotHereError as exc:
        pytest.skip(str(exc))
    complaints = compare(plain, ours, read_list())
    assert not complaints, "\n\n".join(complaints)
    assert count(plain) == count(ours)


def test_anyios_own_tests_pass_with_its_backend_on_our_engine() -> None:
    try:
        plain, ours = run_both(BACKEND)
    except NotHereError as exc:
        pytest.skip(str(exc))
    complaints = compare(plain, ours, read_list(), suite="anyio-backend")
    assert not complaints, "\n\n".join(complaints)
    assert plain.keys() == ours.keys()
