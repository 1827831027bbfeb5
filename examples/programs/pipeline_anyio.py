"""A pipeline that ends by itself: one reads, three parse, one counts, and none is far ahead."""

# anyio's groups may swallow an exception, for all that pyright knows.
# pyright: reportPossiblyUnboundVariable=false

from collections import Counter
from contextlib import suppress

import anyio
import loopback
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream


async def read(lines: MemoryObjectSendStream[str]) -> None:
    with lines:
        async for line in loopback.log_lines(1000, ahead=10):
            await lines.send(line)


async def parse(
    lines: MemoryObjectReceiveStream[str], statuses: MemoryObjectSendStream[int]
) -> None:
    with lines, statuses:
        async for line in lines:
            with suppress(ValueError):
                await statuses.send(await loopback.parse(line))


async def main() -> None:
    send_line, lines = anyio.create_memory_object_stream[str](5)
    send_status, statuses = anyio.create_memory_object_stream[int](5)
    async with anyio.create_task_group() as group:
        group.start_soon(read, send_line)
        with lines, send_status:
            for _ in range(3):
                group.start_soon(parse, lines.clone(), send_status.clone())
        with statuses:
            count = Counter([status async for status in statuses])
    print(sorted(count.items()))


if __name__ == "__main__":
    anyio.run(main)
