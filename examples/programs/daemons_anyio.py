"""Daemons that are started again when they fail: three times within a minute at most.

SIGTERM and SIGINT ask them to end, and cancel them after five seconds, or at the second signal. The
log is there until the last daemon has ended.
"""

import logging
import signal
from collections import deque
from collections.abc import Awaitable, Callable

import anyio
import loopback
from anyio import CancelScope, Event
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

Daemon = Callable[[Event, MemoryObjectSendStream[str]], Awaitable[None]]


async def log(lines: MemoryObjectReceiveStream[str]) -> None:
    async for line in lines:
        print(line)


async def measure(stopping: Event, lines: MemoryObjectSendStream[str]) -> None:
    while not stopping.is_set():
        await lines.send(f"reading {await loopback.reading()}")


async def clean(stopping: Event, lines: MemoryObjectSendStream[str]) -> None:
    while not stopping.is_set():
        with anyio.move_on_after(1):
            await stopping.wait()
    await lines.send("cleaned for the last time")


async def supervise(
    daemon: Daemon, stopping: Event, lines: MemoryObjectSendStream[str], backoff: float
) -> None:
    failures: deque[float] = deque()
    while True:
        try:
            return await daemon(stopping, lines)
        except Exception as error:
            now = anyio.current_time()
            failures.append(now)
            while failures[0] < now - 60:
                failures.popleft()
            if len(failures) > 3:
                raise
            pause = min(backoff * 2 ** (len(failures) - 1), 60)
            logging.error("restart in %s seconds", pause, exc_info=error)
        await anyio.sleep(pause)


async def stop_at_signal(stopping: Event, scope: CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if stopping.is_set():
                scope.cancel("a second signal")
            stopping.set()
            scope.deadline = anyio.current_time() + 5


async def main() -> None:
    stopping = Event()
    send, lines = anyio.create_memory_object_stream[str](0)
    with send, lines:
        async with anyio.create_task_group() as services:
            services.start_soon(log, lines)
            async with anyio.create_task_group() as daemons:
                services.start_soon(stop_at_signal, stopping, daemons.cancel_scope)
                for daemon in (measure, clean):
                    daemons.start_soon(supervise, daemon, stopping, send, 0.01)
            services.cancel("all daemons have ended")
    print("down")


if __name__ == "__main__":
    anyio.run(main)
