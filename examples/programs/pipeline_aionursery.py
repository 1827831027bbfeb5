"""A pipeline that ends by itself: one reads, three parse, one counts, and none is far ahead."""

from collections import Counter
from contextlib import suppress

import loopback

import aionursery
from aionursery import Nursery, ReceiveChannel, SendChannel, open_channel


async def read(lines: SendChannel[str]) -> None:
    with lines:
        async for line in loopback.log_lines(1000, ahead=10):
            await lines.send(line)


async def parse(lines: ReceiveChannel[str], statuses: SendChannel[int]) -> None:
    with lines, statuses:
        async for line in lines:
            with suppress(ValueError):
                await statuses.send(await loopback.parse(line))


async def main() -> None:
    send_line, lines = open_channel[str](5)
    send_status, statuses = open_channel[int](5)
    async with Nursery() as nursery:
        nursery.start_soon(read, send_line)
        with lines, send_status:
            for _ in range(3):
                nursery.start_soon(parse, lines.clone(), send_status.clone())
        count = Counter([status async for status in statuses])
    print(sorted(count.items()))


if __name__ == "__main__":
    aionursery.run(main())
