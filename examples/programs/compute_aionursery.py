"""Work in processes and threads, and an end after half a second to what has none."""

import time
import zlib

import aionursery
from aionursery import Nursery, check_cancelled


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
            check_cancelled()
            time.sleep(0.01)
    finally:
        print("the thread ends")


async def main() -> None:
    async with Nursery() as nursery:
        counts = [nursery.start_process(primes, n, n + 10_000) for n in range(2, 40_000, 10_000)]
        sums = [nursery.start_thread(checksum, byte) for byte in range(4)]
    print(sum(task.result() for task in counts), "primes")
    print([f"{task.result():08x}" for task in sums])

    with aionursery.move_on_after(0.5):
        async with Nursery() as nursery:
            nursery.start_process(compute_for_ever)
            nursery.start_thread(poll_for_ever)
    print("all has ended")


if __name__ == "__main__":
    aionursery.run(main())
