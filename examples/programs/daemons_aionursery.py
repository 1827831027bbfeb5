"""Daemons that are started again when they fail: three times within a minute at most.

SIGTERM and SIGINT ask them to end, and cancel them after five seconds, or at the second signal. The
log is there until the last daemon has ended.
"""

import loopback

import aionursery
from aionursery import Event, Nursery, ReceiveChannel, SendChannel, graceful, supervise


async def log(lines: ReceiveChannel[str]) -> None:
    async for line in lines:
        print(line)


async def measure(stopping: Event, lines: SendChannel[str]) -> None:
    while not stopping.is_set():
        await lines.send(f"reading {await loopback.reading()}")


async def clean(stopping: Event, lines: SendChannel[str]) -> None:
    while not stopping.is_set():
        with aionursery.move_on_after(1):
            await stopping.wait()
    await lines.send("cleaned for the last time")


async def main() -> None:
    send, lines = aionursery.open_channel[str](0)
    async with graceful(Nursery(), grace=5) as nursery:
        nursery.start_service(log, lines)
        for daemon in (measure, clean):
            nursery.start_soon(
                supervise(daemon, nursery.stopping, send, max_restarts=3, within=60, backoff=0.01)
            )
    print("down")


if __name__ == "__main__":
    aionursery.run(main())
