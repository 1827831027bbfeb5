"""A chat bot that connects again: a heartbeat, half a second of silence at most, five restarts."""

import asyncio
from contextlib import closing

import loopback

import aionursery
from aionursery import Nursery, fail_after, supervise


async def beat(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"ping\n")
        await writer.drain()
        await aionursery.sleep(0.1)


async def session(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        async with Nursery() as nursery:
            nursery.start_service(beat, writer)
            while (line := await heard(reader)) != "quit":
                word, _, text = line.partition(" ")
                if word == "say":
                    print(text)
                    writer.write(f"said {text}\n".encode())


async def heard(reader: asyncio.StreamReader) -> str:
    with fail_after(0.5):
        line = await reader.readuntil()
    return line.decode().strip()


async def main(port: int) -> None:
    await supervise(session, port, max_restarts=5, within=60, backoff=0.05)
    print("the bot has quit")


if __name__ == "__main__":
    with loopback.chat() as port:
        aionursery.run(main(port))
