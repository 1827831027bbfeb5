"""Tasks that await each other in a circle: to cancel one is a RecursionError, as with asyncio's."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

import aionursery

from .helpers import turns
from .loop_kinds import LOOPS

#: Which task each one awaits. The last has a tail, which leads into a circle.
CIRCLES = {"two": [1, 0], "three": [1, 2, 0], "a tail and three": [1, 2, 3, 4, 2]}
MAKERS = {
    "ours": [aionursery.Task],
    "ours and asyncio's": [aionursery.Task, asyncio.Task],
    "asyncio's": [asyncio.Task],
}


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("circle", CIRCLES)
@pytest.mark.parametrize("makers", MAKERS)
def test_r23_to_cancel_tasks_that_await_each_other_is_a_recursion_error(kind, circle, makers):
    loop, tasks = LOOPS[kind](), []

    async def wait_for(number):
        await tasks[number]

    async def main():
        for place, awaited in enumerate(CIRCLES[circle]):
            make = MAKERS[makers][place % len(MAKERS[makers])]
            tasks.append(make(wait_for(awaited), loop=loop))
            # Nothing can end them.
            tasks[-1]._log_destroy_pending = False
        await turns(2)
        for task in tasks:
            with pytest.raises(RecursionError):
                task.cancel()
        await turns(2)
        assert not any(task.done() for task in tasks)

    loop.run_until_complete(main())
    loop.close()
    gone = [weakref.ref(task) for task in tasks]
    tasks.clear()
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)


@pytest.mark.parametrize("kind", LOOPS)
def test_r23_a_long_chain_that_is_no_circle_is_cancelled(kind):
    async def main():
        first = tasks[0]
        await turns(2)
        assert first.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)

    async def wait_for(number):
        await (tasks[number + 1] if number + 1 < 100 else asyncio.sleep(60))

    loop, tasks = LOOPS[kind](), []
    tasks.extend(aionursery.Task(wait_for(number), loop=loop) for number in range(100))
    loop.run_until_complete(main())
    loop.close()
