"""Starts millions of short children in one nursery with a limit, and prints what the memory does.

    python benches/flat.py [--children 10000000] [--limit 1000]

Owns one measurement that takes minutes, so no test and no row of `run.py` does it. Ends with 1 if
the resident set has grown by more than `ALLOWED` after the first tenth.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import aionursery
from aionursery import Nursery

#: How many MB may come of the allocator.
ALLOWED = 2.0


def resident() -> float:
    """Megabytes, from Linux's own count."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def child() -> None:
    await aionursery.sleep(0)


async def main(children: int, limit: int) -> list[float]:
    seen = []
    begin = time.perf_counter()
    async with Nursery(limit=limit) as nursery:
        for number in range(1, children + 1):
            await nursery.start_when_free(child)
            if number % (children // 10) == 0:
                seen.append(resident())
                seconds = time.perf_counter() - begin
                print(f"{number:>12,} children  {seen[-1]:8.1f} MB  {seconds:7.1f} s", flush=True)
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--children", type=int, default=10_000_000)
    parser.add_argument("--limit", type=int, default=1000)
    arguments = parser.parse_args()
    seen = aionursery.run(main(arguments.children, arguments.limit))
    grown = max(seen) - seen[0]
    print(f"grown by {grown:.1f} MB after the first tenth; {ALLOWED} are allowed")
    sys.exit(grown > ALLOWED)
