"""Real programs run where their servers are: `make test-real`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from . import servers

REASON = "needs PostgreSQL and Redis: run `make test-real`"


def pytest_ignore_collect() -> bool | None:
    return None if os.environ.get("AIONURSERY_REAL") else True


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with servers.redis() as url:
        yield url
