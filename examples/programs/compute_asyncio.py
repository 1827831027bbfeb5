"""Work in processes and threads, and an end after half a second to what has none."""

import asyncio
import multiprocessing
import threading
import time
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def primes(start: int, stop: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(start, stop))


def checksum(byte: int) -> int:
    return zlib.crc32(bytes([byte]) * 10_000_000)


def compute_for_ever() -> None:
    while True:
        pass


def poll_for_ever(cancelled: threading.Event) -> None:
    while not cancelled.is_set():
        time.sleep(0.01)
    print("the thread ends")


def answer(send: Connection, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        send.send((fn(*args), None))
    except Exception as error:
        send.send((None, error))


async def in_process(fn: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a process of its own, which is killed if this is cancelled."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    async with at_once:
        process = context.Process(target=answer, args=(send, fn, args))
        await asyncio.to_thread(process.start)
        try:
            value, error = await asyncio.to_thread(receive.recv)
        finally:
            process.kill()
            await asyncio.to_thread(process.join)
    if error is not None:
        raise error
    return value


async def in_thread(fn: Callable[[threading.Event], Any]) -> Any:
    """Call a function in a thread, tell it if this is cancelled, and wait for its end."""
    cancelled = threading.Event()
    call = asyncio.ensure_future(asyncio.to_thread(fn, cancelled))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([call])
        raise


at_once = asyncio.Semaphore(multiprocessing.cpu_count())


async def main() -> None:
    async with asyncio.TaskGroup() as group:
        counts = [
            group.create_task(in_process(primes, n, n + 10_000)) for n in range(2, 40_000, 10_000)
        ]
        sums = [group.create_task(asyncio.to_thread(checksum, byte)) for byte in range(4)]
    print(sum(task.result() for task in counts), "primes")
    print([f"{task.result():08x}" for task in sums])

    try:
        async with asyncio.timeout(0.5), asyncio.TaskGroup() as group:
            group.create_task(in_process(compute_for_ever))
            group.create_task(in_thread(poll_for_ever))
    except TimeoutError:
        pass
    print("all has ended")


if __name__ == "__main__":
    asyncio.run(main())
