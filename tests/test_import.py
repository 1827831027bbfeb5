"""What an import of ours does to the rest of the process: nothing."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import aionursery


@pytest.mark.parametrize("first", ["aionursery", "asyncio"])
def test_asyncio_keeps_its_fast_parts_whichever_is_imported_first(first):
    program = (
        f"import {first}\nimport aionursery, asyncio, _asyncio\n"
        "assert asyncio.Task is _asyncio.Task and asyncio.Future is _asyncio.Future\n"
        "assert asyncio.tasks._enter_task is _asyncio._enter_task\n"
        "print(issubclass(aionursery.Task, asyncio.Task))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_the_version_is_that_of_the_distribution():
    assert aionursery.__version__ == importlib.metadata.version("aionursery")
