"""Work in processes and threads, and an end after half a second to what has none."""

# anyio's groups may swallow an exception, for all that pyright knows.
# pyright: reportPossiblyUnboundVariable=false

import time
import zlib

import anyio
from anyio import from_thread, to_process, to_thread


def primes(start: int, stop: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(start, stop))


def checksum(byte: int) -> int:
    return zlib.crc32(bytes([byte]) * 10_000_000)


def compute_for_ever() -> None:
    while True:
        pass


def poll_for_ever() -> None:
    try:
        while True:
            from_thread.check_cancelled()
            time.sleep(0.01)
    finally:
        print("the thread ends")


async def main() -> None:
    async with anyio.create_task_group() as group:
        counts = [
            group.create_task(to_process.run_sync(primes, n, n + 10_000, cancellable=True))
            for n in range(2, 40_000, 10_000)
        ]
        sums = [group.create_task(to_thread.run_sync(checksum, byte)) for byte in range(4)]
    print(sum(task.return_value for task in counts), "primes")
    print([f"{task.return_value:08x}" for task in sums])

    with anyio.move_on_after(0.5):
        async with anyio.create_task_group() as group:
            group.create_task(to_process.run_sync(compute_for_ever, cancellable=True))
            group.create_task(to_thread.run_sync(poll_for_ever))
    print("all has ended")


if __name__ == "__main__":
    anyio.run(main)
