"""What tests of `aionursery.anyio` share: a run on each kind of loop, and the engine in place."""

from __future__ import annotations

import pytest

from .loop_kinds import LOOPS

anyio = pytest.importorskip("anyio")

import aionursery.anyio as face  # noqa: E402

KINDS = pytest.mark.parametrize("kind", LOOPS)

#: Seconds for what another thread does at once.
BOUND = 20


def run(main, kind="asyncio"):
    return run_in(main, LOOPS[kind])


def run_in(main, loop_factory):
    return anyio.run(main, backend="asyncio", backend_options={"loop_factory": loop_factory})


@pytest.fixture
def engine():
    with face.installed():
        yield
