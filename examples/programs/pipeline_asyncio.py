"""A pipeline that ends by itself: one reads, three parse, one counts, and none is far ahead."""

import asyncio
from collections import Counter
from contextlib import suppress

import loopback


async def read(lines: asyncio.Queue[str | None]) -> None:
    async for line in loopback.log_lines(1000, ahead=10):
        await lines.put(line)
    await lines.put(None)


async def parse(lines: asyncio.Queue[str | None], statuses: asyncio.Queue[int | None]) -> None:
    while (line := await lines.get()) is not None:
        with suppress(ValueError):
            await statuses.put(await loopback.parse(line))
    await lines.put(None)  # for the next one


async def parse_all(lines: asyncio.Queue[str | None], statuses: asyncio.Queue[int | None]) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(parse(lines, statuses))
    await statuses.put(None)


async def main() -> None:
    lines = asyncio.Queue[str | None](5)
    statuses = asyncio.Queue[int | None](5)
    count = Counter[int]()
    async with asyncio.TaskGroup() as group:
        group.create_task(read(lines))
        group.create_task(parse_all(lines, statuses))
        while (status := await statuses.get()) is not None:
            count[status] += 1
    print(sorted(count.items()))


if __name__ == "__main__":
    asyncio.run(main())
