"""A chat bot that connects again: a heartbeat, half a second of silence at most, five restarts."""

import asyncio
import logging
from collections import deque
from contextlib import closing

import loopback


async def beat(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"ping\n")
        await writer.drain()
        await asyncio.sleep(0.1)


async def session(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        async with asyncio.TaskGroup() as group:
            heart = group.create_task(beat(writer))
            while (line := await heard(reader)) != "quit":
                word, _, text = line.partition(" ")
                if word == "say":
                    print(text)
                    writer.write(f"said {text}\n".encode())
            heart.cancel()


async def heard(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(0.5):
        line = await reader.readuntil()
    return line.decode().strip()


async def supervise(port: int, max_restarts: int, within: float, backoff: float) -> None:
    failures: deque[float] = deque()
    while True:
        try:
            return await session(port)
        except Exception as error:
            now = asyncio.get_running_loop().time()
            failures.append(now)
            while failures[0] < now - within:
                failures.popleft()
            if len(failures) > max_restarts:
                raise
            pause = min(backoff * 2 ** (len(failures) - 1), 60)
            logging.error("restart in %s seconds", pause, exc_info=error)
        await asyncio.sleep(pause)


async def main(port: int) -> None:
    await supervise(port, max_restarts=5, within=60, backoff=0.05)
    print("the bot has quit")


if __name__ == "__main__":
    with loopback.chat() as port:
        asyncio.run(main(port))
