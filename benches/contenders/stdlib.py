"""Owns how the standard library takes part: TaskGroup, TaskGroup with eager tasks, gather."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from contenders import children
from contenders.case import Case, Contender, run_eagerly, run_on_asyncio
from contenders.coroutine_style import Stop, Toolkit, blocked
from contenders.coroutine_style import cases as cases_of


def _stop(group: asyncio.TaskGroup) -> None:
    # What the documentation recommends: until 3.15 a TaskGroup has no cancel().
    raise Stop


TASKGROUP = Toolkit(
    open=asyncio.TaskGroup,
    spawn="create_task",
    sleep=asyncio.sleep,
    event=asyncio.Event,
    queue=asyncio.Queue,
    timeout=asyncio.timeout,
    timeout_is_async=True,
    cancel=_stop,
)


async def _gather(clock: Any, size: int, child: Callable[[], Any]) -> None:
    start = asyncio.create_task
    with clock:
        await asyncio.gather(*[start(child()) for _ in range(size)])


async def _gather_event(clock: Any, size: int) -> None:
    start, child = asyncio.create_task, children.waits
    with clock:
        happened = asyncio.Event()
        tasks = [start(child(happened)) for _ in range(size)]
        await blocked()
        happened.set()
        await asyncio.gather(*tasks)


async def _gather_future(clock: Any, size: int) -> None:
    start, child = asyncio.create_task, children.awaits
    new_future = asyncio.get_running_loop().create_future
    with clock:
        futures = [new_future() for _ in range(size)]
        tasks = [start(child(one)) for one in futures]
        await blocked()
        for one in futures:
            one.set_result(None)
        await asyncio.gather(*tasks)


async def _gather_queue(clock: Any, size: int) -> None:
    start, child = asyncio.create_task, children.takes
    with clock:
        queue: asyncio.Queue[int] = asyncio.Queue()
        tasks = [start(child(queue)) for _ in range(size)]
        await blocked()
        for number in range(size):
            queue.put_nowait(number)
        await asyncio.gather(*tasks)


async def _gather_child(clock: Any, size: int) -> None:
    start, waiting, waited_for = asyncio.create_task, children.awaits, children.yields_once
    with clock:
        await asyncio.gather(*[start(waiting(start(waited_for()))) for _ in range(size)])


async def _gather_cancel(clock: Any, size: int) -> None:
    start, child, never = asyncio.create_task, children.waits, asyncio.Event()
    tasks = [start(child(never)) for _ in range(size)]
    await blocked()
    with clock:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _gather_one(clock: Any, size: int) -> None:
    start, child = asyncio.create_task, children.returns_at_once
    with clock:
        for _ in range(size):
            await asyncio.gather(start(child()))


async def _gather_memory(meter: Any, size: int, what: str) -> None:
    start, never = asyncio.create_task, asyncio.Event()
    with meter:
        # gather's own record of each child is part of its price, so it is called before the end.
        if what == "event":
            tasks = [start(children.waits(never)) for _ in range(size)]
        else:
            tasks = [start(children.sleeps(asyncio.sleep, 3600)) for _ in range(size)]
        everything = asyncio.gather(*tasks, return_exceptions=True)
        await blocked()
    for task in tasks:
        task.cancel()
    await everything


async def _gather_echo(clock: Any, size: int) -> None:
    from contenders.echo import echo_server, request

    start = asyncio.create_task
    async with echo_server() as (session, url):
        with clock:
            await asyncio.gather(*[start(request(session, url)) for _ in range(size)])


def _sleeps(seconds: float) -> Any:
    return children.sleeps(asyncio.sleep, seconds)


def _gather_cases() -> dict[str, Case]:
    at_once = partial(_gather, child=children.returns_at_once)
    return {
        "at_once": at_once,
        "function": at_once,
        "sleep0": partial(_gather, child=children.yields_once),
        "own_sleep0": partial(_gather, child=partial(_sleeps, 0)),
        "sleep": partial(_gather, child=partial(_sleeps, 0.01)),
        "event": _gather_event,
        "future": _gather_future,
        "queue": _gather_queue,
        "child": _gather_child,
        "cancel": _gather_cancel,
        "one_child": _gather_one,
        "echo": _gather_echo,
        "memory_event": partial(_gather_memory, what="event"),
        "memory_sleep": partial(_gather_memory, what="sleep"),
        "scale_1000": at_once,
        "scale_10000": at_once,
        "scale_100000": at_once,
    }


def contenders() -> list[Contender]:
    taskgroup = cases_of(TASKGROUP)
    found = [Contender("taskgroup", "TaskGroup", run_on_asyncio, taskgroup)]
    if sys.version_info >= (3, 12):
        eager_rows = ("at_once", "drop_in", "sleep0", "sleep", "event", "future", "queue", "child")
        eager = {row: taskgroup[row] for row in (*eager_rows, "cancel", "one_child", "echo")}
        found.append(Contender("taskgroup_eager", "TaskGroup, eager tasks", run_eagerly, eager))
    found.append(Contender("gather", "gather (create_task)", run_on_asyncio, _gather_cases()))
    return found
