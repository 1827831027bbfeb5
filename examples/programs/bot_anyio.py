"""A chat bot that connects again: a heartbeat, half a second of silence at most, five restarts."""

import logging
from collections import deque

import anyio
import loopback
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream


async def beat(stream: ByteStream) -> None:
    while True:
        await stream.send(b"ping\n")
        await anyio.sleep(0.1)


async def session(port: int) -> None:
    async with (
        await anyio.connect_tcp("127.0.0.1", port) as stream,
        anyio.create_task_group() as group,
    ):
        group.start_soon(beat, stream)
        lines = BufferedByteReceiveStream(stream)
        while (line := await heard(lines)) != "quit":
            word, _, text = line.partition(" ")
            if word == "say":
                print(text)
                await stream.send(f"said {text}\n".encode())
        group.cancel("the bot has quit")


async def heard(lines: BufferedByteReceiveStream) -> str:
    with anyio.fail_after(0.5):
        line = await lines.receive_until(b"\n", 1000)
    return line.decode().strip()


async def supervise(port: int, max_restarts: int, within: float, backoff: float) -> None:
    failures: deque[float] = deque()
    while True:
        try:
            return await session(port)
        except Exception as error:
            now = anyio.current_time()
            failures.append(now)
            while failures[0] < now - within:
                failures.popleft()
            if len(failures) > max_restarts:
                raise
            pause = min(backoff * 2 ** (len(failures) - 1), 60)
            logging.error("restart in %s seconds", pause, exc_info=error)
        await anyio.sleep(pause)


async def main(port: int) -> None:
    await supervise(port, max_restarts=5, within=60, backoff=0.05)
    print("the bot has quit")


if __name__ == "__main__":
    with loopback.chat() as port:
        anyio.run(main, port)
