"""Daemons that are started again when they fail: three times within a minute at most.

SIGTERM and SIGINT ask them to end, and cancel them after five seconds, or at the second signal. The
log is there until the last daemon has ended.
"""

import asyncio
import logging
import signal
from asyncio import Event, Queue
from collections import deque
from collections.abc import Awaitable, Callable

import loopback

Daemon = Callable[[Event, Queue[str]], Awaitable[None]]


async def log(lines: Queue[str]) -> None:
    while True:
        print(await lines.get())
        lines.task_done()


async def measure(stopping: Event, lines: Queue[str]) -> None:
    while not stopping.is_set():
        await lines.put(f"reading {await loopback.reading()}")


async def clean(stopping: Event, lines: Queue[str]) -> None:
    while not stopping.is_set():
        try:
            async with asyncio.timeout(1):
                await stopping.wait()
        except TimeoutError:
            pass
    await lines.put("cleaned for the last time")


async def supervise(daemon: Daemon, stopping: Event, lines: Queue[str], backoff: float) -> None:
    failures: deque[float] = deque()
    while True:
        try:
            return await daemon(stopping, lines)
        except Exception as error:
            now = asyncio.get_running_loop().time()
            failures.append(now)
            while failures[0] < now - 60:
                failures.popleft()
            if len(failures) > 3:
                raise
            pause = min(backoff * 2 ** (len(failures) - 1), 60)
            logging.error("restart in %s seconds", pause, exc_info=error)
        await asyncio.sleep(pause)


async def run_daemons(stopping: Event, lines: Queue[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for daemon in (measure, clean):
            group.create_task(supervise(daemon, stopping, lines, 0.01))


async def main() -> None:
    loop = asyncio.get_running_loop()
    stopping = Event()
    lines = Queue[str](1)
    logging_task = asyncio.create_task(log(lines))
    daemons = asyncio.create_task(run_daemons(stopping, lines))

    def stop() -> None:
        if stopping.is_set():
            daemons.cancel()
        stopping.set()
        loop.call_later(5, daemons.cancel)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await asyncio.wait([daemons])
        await lines.join()
    finally:
        daemons.cancel()
        logging_task.cancel()
        await asyncio.wait([daemons, logging_task])
    if not daemons.cancelled():
        daemons.result()
    print("down")


if __name__ == "__main__":
    asyncio.run(main())
