"""A plugin of pytest's that puts anyio's backend on our engine.

For the runs of pytest that anyio's tests of its own plugin start, too: they find it by
PYTEST_PLUGINS and PYTHONPATH. It must never import anyio before pytest has rewritten it, which is a
plugin of its.
"""

from __future__ import annotations


def pytest_sessionstart() -> None:
    import aionursery.anyio

    aionursery.anyio.install()
