"""The uses that the type checkers are shown are also true: they run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_r23_what_the_type_checkers_are_shown_runs_as_typed():
    uses = Path(__file__).with_name("typing") / "uses.py"
    command = [sys.executable, "-X", "dev", "-W", "error", str(uses)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
