"""The collector takes a loop that was closed, with all that still stood in it (R3, R31)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .loop_kinds import LOOPS

#: The child comes before its loop in the collector's list, since it alone is held when that looks
#: for the first time. It is all that leads to the nursery's join, which ends the nursery's children
#: as it goes.
ENDED_WHILE_IT_GOES = """
import asyncio, gc
import aionursery

loop = {loop}()
loop.set_exception_handler(lambda *_: None)
gc.disable()

async def waits():
    await loop.create_future()

async def host(children):
    nursery = aionursery.Nursery()
    await nursery.__aenter__()
    child = nursery.start_soon(waits())
    await asyncio.sleep(0)
    child.join = nursery.__aexit__(None, None, None)
    child.join.send(None)
    children.append(child)
    del nursery, child
    loop.stop()
    await waits()

children = []
task = aionursery.Task(host(children), loop=loop)
loop.run_forever()
loop.close()
del task, loop
gc.collect()
del children
gc.collect()
print("alive")
"""

#: How a program makes each kind of loop.
MAKERS = {
    "asyncio": "asyncio.new_event_loop",
    "selector": "asyncio.SelectorEventLoop",
    "uvloop": "__import__('uvloop').new_event_loop",
}


@pytest.mark.parametrize("kind", LOOPS)
def test_r31_a_child_that_is_ended_while_the_collector_takes_it_is_in_no_tree(kind):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", ENDED_WHILE_IT_GOES.format(loop=MAKERS[kind])],
        # Memory that was given back is overwritten.
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and done.stdout == "alive\n", done.stderr
