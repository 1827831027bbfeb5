"""A loop that is closed while a thread still runs: what becomes of it, and of the token."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import pytest

import aionursery
from aionursery import (
    CancelScope,
    CapacityLimiter,
    Nursery,
    current_default_thread_limiter,
    to_thread,
)

from .helpers import turns
from .loop_kinds import KINDS, LOOPS


async def abandon(let, limiter=None):
    """Leave a thread behind, which runs until it is let."""
    with CancelScope() as scope:
        async with Nursery() as nursery:
            nursery.start_thread(let.wait, limiter=limiter, abandon=True)
            await turns(1)
            scope.cancel()


async def line_up(let, limiter=None):
    """Leave a thread behind, and a call that waits for its token."""
    limiter = limiter or current_default_thread_limiter()
    limiter.total_tokens = 1
    await abandon(let, limiter)
    asyncio.get_running_loop().create_task(to_thread(int, limiter=limiter))
    await turns(2)
    assert limiter.statistics().tasks_waiting == 1


@pytest.mark.parametrize("kind", KINDS, ids=LOOPS)
@pytest.mark.parametrize("program", [abandon, line_up])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_r10_a_closed_loop_goes_once_the_thread_that_it_has_abandoned_ends(kind, program, caplog):
    caplog.set_level("CRITICAL", "asyncio")
    let = threading.Event()

    def run():
        loop = kind()
        loop.run_until_complete(program(let))
        loop.close()
        return weakref.ref(loop)

    gone = run()
    let.set()
    for _ in range(1000):
        gc.collect()
        if gone() is None:
            break
        time.sleep(0.001)
    assert gone() is None


@pytest.mark.parametrize("kind", KINDS, ids=LOOPS)
@pytest.mark.parametrize("waits", [False, True])
def test_the_token_of_a_thread_that_has_outlived_its_loop_is_given_back(kind, waits):
    let = threading.Event()
    limiter = CapacityLimiter(1)

    def run(main):
        loop = kind()
        try:
            return loop.run_until_complete(main)
        finally:
            loop.close()

    async def next_call():
        call = asyncio.ensure_future(to_thread(lambda: "called", limiter=limiter))
        await turns(3)
        let.set()
        with aionursery.fail_after(10):
            return await call

    run(abandon(let, limiter))
    assert limiter.borrowed_tokens == 1
    if not waits:
        let.set()
    assert run(next_call()) == "called"
    assert limiter.borrowed_tokens == 0
