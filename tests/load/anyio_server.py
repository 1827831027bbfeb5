"""A server under load on anyio's backend on our engine: rude clients, websockets, a shutdown.

    python -m tests.load.anyio_server [--seconds 300] [--loop asyncio|uvloop] [--stock]

uvicorn serves a FastAPI application with middlewares, streams, task groups, threads and
websockets. Clients ask, and many go away in the middle: without reading, without ending what they
send, without closing. Then the server is told to end while they go on. Ends with 1 if the server
has logged an error, if a client was answered wrongly, if a task or a scope is left, or if
memory has grown. Owns both sides, in two processes. It must never count what a client that was
rude has got.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import anyio
import httpx
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

#: Bytes that a server's memory may grow by after its first quarter: noise of the allocator's.
GROWTH = 12 * 2**20
CLIENTS = 24


def application() -> Any:
    app = FastAPI()

    async def passing(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    for _ in range(2):
        app.add_middleware(BaseHTTPMiddleware, dispatch=passing)

    @app.get("/json")
    async def as_json() -> dict[str, str]:
        return {"hello": "world"}

    @app.get("/sync")
    def sync() -> str:
        return "sync"

    @app.post("/echo")
    async def echo(body: dict[str, int]) -> dict[str, int]:
        return body

    @app.get("/group")
    async def group() -> int:
        found: list[int] = []

        async def child(index: int) -> None:
            with anyio.fail_after(5):
                await anyio.sleep(0.001 * (index % 3))
            found.append(index)

        async with anyio.create_task_group() as children:
            for index in range(10):
                children.start_soon(child, index)
        return len(found)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> Any:
            for index in range(40):
                await anyio.sleep(0.001)
                yield b"%04d" % index * 256

        return StreamingResponse(parts())

    @app.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        try:
            async with anyio.create_task_group() as group:

                async def beat() -> None:
                    while True:
                        await anyio.sleep(0.05)
                        await socket.send_text("beat")

                group.start_soon(beat)
                while True:
                    await socket.send_text(await socket.receive_text())
        except* (WebSocketDisconnect, RuntimeError):
            # Gone; a beat may have found that out first.
            pass

    return app


class Errors(logging.Handler):
    """Keeps what is logged as an error, by any logger."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        # So uvicorn says that it cuts off clients that are still connected at its end.
        if "timeout graceful shutdown exceeded" not in text:
            self.texts.append(text)


def memory() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def serve(kind: str, stock: bool) -> None:
    """Serve until the signal comes; then say on stdout what is left."""
    import uvicorn

    # uvicorn raises the signal again, once it has ended.
    signal.signal(signal.SIGTERM, lambda *_: None)
    errors = Errors()
    logging.getLogger().addHandler(errors)
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addHandler(errors)
    if not stock:
        import aionursery.anyio

        aionursery.anyio.install()
    from aionursery import task_factory

    if kind == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    if not stock:
        loop.set_task_factory(task_factory)
    asyncio.set_event_loop(loop)
    config = uvicorn.Config(
        application(),
        port=0,
        log_level="error",
        log_config=None,
        ws="websockets-sansio",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    sizes: list[int] = []

    async def main() -> None:
        serving = asyncio.ensure_future(server.serve())
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        print(json.dumps({"port": port}), flush=True)
        while not serving.done():
            gc.collect()
            sizes.append(memory())
            await asyncio.wait([serving], timeout=1)
        await serving
        del serving
        # What threads and transports have still to say.
        for _ in range(20):
            await asyncio.sleep(0.01)
        gc.collect()
        left = [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        scopes = 0
        if not stock:
            from aionursery._aionursery import loop_state

            scopes = sum(loop_state(asyncio.get_running_loop()).size())
        done = {"left": left, "size": scopes, "errors": errors.texts, "memory": sizes}
        print(json.dumps(done), flush=True)

    loop.run_until_complete(main())


class Clients:
    """Clients that ask and go away, and what they have been answered."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked = 0
        self.rude = 0
        self.wrong: list[str] = []
        self.ending = False
        limits = httpx.Limits(max_keepalive_connections=CLIENTS // 2)
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits)

    async def run(self, index: int, until: float) -> None:
        chance = random.Random(index)
        while time.monotonic() < until:
            act = chance.choice([self.ask, self.ask, self.ask, self.leave, self.talk])
            try:
                await asyncio.wait_for(act(chance), 20)
            except TimeoutError:
                self.wrong.append(f"{act.__name__} was not answered")
            except (OSError, asyncio.IncompleteReadError, EOFError) as exc:
                if self.ending:
                    return
                self.wrong.append(f"{act.__name__}: {exc!r}")

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, chance: random.Random) -> None:
        for _ in range(chance.randrange(1, 5)):
            path = chance.choice(["/json", "/sync", "/group", "/stream", "/echo"])
            try:
                if path == "/echo":
                    answer = await self.http.post(path, json={"a": 1})
                else:
                    answer = await self.http.get(path)
            except httpx.HTTPError as exc:
                if not self.ending:
                    self.wrong.append(f"{path}: {exc!r}")
                return
            self.asked += 1
            if answer.status_code != 200 and not self.ending:
                self.wrong.append(f"{path}: {answer.status_code}")

    async def leave(self, chance: random.Random) -> None:
        """Go away in the middle."""
        reader, writer = await self.open()
        self.rude += 1
        how = chance.randrange(4)
        if how == 0:
            writer.write(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
            await reader.read(chance.randrange(1, 9000))
        elif how == 1:
            writer.write(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{")
        elif how == 2:
            writer.write(b"GET /gro")
        else:
            writer.write(b"GET /group HTTP/1.1\r\nhost: a\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(chance.random() * 0.01)
        writer.transport.abort()

    async def talk(self, chance: random.Random) -> None:
        try:
            async with connect(f"ws://127.0.0.1:{self.port}/ws") as socket:
                for index in range(chance.randrange(1, 6)):
                    await socket.send(str(index))
                    while await socket.recv() != str(index):
                        pass
                    self.asked += 1
                if chance.random() < 0.5:
                    self.rude += 1
                    socket.transport.abort()
        except (WebSocketException, OSError) as exc:
            if not self.ending and "no close frame" not in str(exc):
                self.wrong.append(f"websocket: {exc!r}")


async def load(port: int, seconds: float, process: subprocess.Popen[str]) -> Clients:
    clients = Clients(port)
    until = time.monotonic() + seconds
    tasks = [asyncio.ensure_future(clients.run(index, until + 2)) for index in range(CLIENTS)]
    await asyncio.wait(tasks, timeout=seconds)
    # In the middle of it all.
    clients.ending = True
    process.send_signal(signal.SIGTERM)
    await asyncio.wait(tasks)
    await clients.http.aclose()
    return clients


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--stock", action="store_true", help="anyio's own backend")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.loop, options.stock)
        return 0
    command = [sys.executable, "-m", "tests.load.anyio_server", "--serve", "--loop", options.loop]
    command += ["--stock"] if options.stock else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        clients = asyncio.run(load(port, options.seconds, process))
        told, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    done = json.loads(told)
    sizes = done["memory"]
    early, late = max(sizes[: len(sizes) // 4 + 1]), max(sizes[-3:])
    print(
        f"{clients.asked} answers, {clients.rude} rude clients in {options.seconds:g} s; memory "
        f"{early / 2**20:.1f} MiB after a quarter, {late / 2**20:.1f} at the end"
    )
    complaints = [*done["errors"], *clients.wrong]
    complaints += [f"left: {task}" for task in done["left"]]
    # The task that asks is one member of the tree if it stands in a scope, which it does not.
    complaints += [f"{done['size']} scopes, tasks and nurseries are left"] if done["size"] else []
    complaints += ["memory has grown"] if late > early + GROWTH else []
    print(*complaints[:20], sep="\n", end="\n" if complaints else "")
    print(f"{len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
