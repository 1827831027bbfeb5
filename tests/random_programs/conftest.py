"""While these tests run, the collector looks at all. It must never change what a test draws."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def thawed() -> Iterator[None]:
    """Undo the freezing for Hypothesis, which asks the collector what refers to its generators."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()
