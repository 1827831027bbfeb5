"""Our own waits as objects: awaited by several, handed round, cancelled, closed and thrown into."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

import aionursery

from .helpers import turns


async def test_r23_a_wait_that_was_cancelled_before_it_began_takes_callbacks(world):
    wait = aionursery.sleep(1)
    assert wait.cancel()
    trace = []
    wait.add_done_callback(trace.append)
    assert trace == []
    await turns(2)
    assert trace == [wait] and wait.cancelled()
    assert wait.get_loop() is asyncio.get_running_loop()


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, uvloop.Loop])
@pytest.mark.parametrize("how", ["cancel", "set_result"])
def test_r7_a_wait_that_ends_after_its_loop_was_closed_says_so_once(kind, how):
    loop = kind()
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    async def main():
        if how == "cancel":
            wait = aionursery.sleep(100)
        else:
            wait = aionursery._aionursery.loop_state(loop).create_future()
        wait.add_done_callback(print)
        return wait.cancel if how == "cancel" else lambda: wait.set_result(1)

    end = loop.run_until_complete(main())
    loop.close()
    assert end() in (True, None)
    (report,) = reports
    assert "could not be scheduled" in report["message"]
    assert "closed" in str(report["exception"])
