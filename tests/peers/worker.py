"""One process for a suite that is written for anyio: reads a job from stdin, runs pytest, records.

Owns what happens inside that process. A file that cannot be collected is recorded as a test that
has failed, so that a suite of nothing passes for nothing.
"""

from __future__ import annotations

import json
import sys

import pytest

from tests.conformance.anyio_worker import Plugin, serve


class PeerPlugin(Plugin):
    """Records the tests of a suite, without those that run on trio."""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.write(report.nodeid, "failed", report.longreprtext)


def main() -> None:
    job = json.load(sys.stdin)
    serve(job, PeerPlugin, [name for name in sys.modules if name.partition(".")[0] == "tests"])


if __name__ == "__main__":
    main()
