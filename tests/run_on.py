"""Runs a program on the kind of loop that is named: python run_on.py uvloop program.py

Owns the loop that `asyncio` makes where none is asked for. Must never change the program.
"""

from __future__ import annotations

import asyncio.events
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    kind, program = sys.argv[1:]
    if kind == "uvloop":
        import uvloop

        asyncio.new_event_loop = asyncio.events.new_event_loop = uvloop.new_event_loop
    sys.argv[:] = [program]
    sys.path[0] = str(Path(program).parent)
    runpy.run_path(program, run_name="__main__")
