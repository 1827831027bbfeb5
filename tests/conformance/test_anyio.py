"""anyio's own tests pass with our task factory where they pass with asyncio's task (R23).

With its backend on our engine they do, too, but for those in the list.
"""

from __future__ import annotations

import pytest

from tests.conformance.anyio_sdist import BACKEND, compare, run_beside_plain
from tests.conformance.cpython import NotHereError
from tests.conformance.expected import count, read_list
from tests.conformance.places import OURS


def test_anyios_own_tests_pass_with_our_tasks_and_with_its_backend_on_our_engine() -> None:
    # One test for both: the run with asyncio's tasks, which both are held against, is made once.
    try:
        plain, ours, backend = run_beside_plain(OURS, BACKEND)
    except NotHereError as exc:
        pytest.skip(str(exc))
    entries = read_list()
    complaints = compare(plain, ours, entries)
    complaints += compare(plain, backend, entries, suite="anyio-backend")
    assert not complaints, "\n\n".join(complaints)
    assert count(plain) == count(ours)
    assert plain.keys() == backend.keys()
