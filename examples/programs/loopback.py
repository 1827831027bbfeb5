"""What the seven programs meet outside: a web site, a chat server, mirrors, a log, a job server.

All of it lies on loopback or in memory, and misbehaves in ways that are the same in every run.
Owns nothing that a program is about; each is written three times, and all three meet the same.
"""

from __future__ import annotations

import asyncio
import collections
import http.server
import re
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers requests by a function that a subclass brings."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, text = self.answer()
        body = text.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            pass  # a client that was cancelled has gone

    def answer(self) -> tuple[int, str]:
        raise NotImplementedError

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that was cancelled has gone


@contextmanager
def serve(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """Serve on loopback, in threads; gives the port."""
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@contextmanager
def site(at_once: int) -> Iterator[str]:
    """A site of 60 pages: some fail at the first request, one always. Gives its address.

    Checks at the end that no more than a given number of requests were made at once, and that
    each page was asked for no more than three times.
    """
    asked: collections.Counter[int] = collections.Counter()
    lock = threading.Lock()
    now = most = 0

    class Site(Pages):
        def answer(self) -> tuple[int, str]:
            nonlocal now, most
            number = int(self.path[1:] or 0)
            with lock:
                asked[number] += 1
                now += 1
                most = max(most, now)
            time.sleep(0.002)
            with lock:
                now -= 1
            if number == 13 or (number % 7 == 3 and asked[number] == 1):
                return 503, "busy"
            links = [n for n in (2 * number + 1, 2 * number + 2, number // 2) if n < 60]
            return 200, " ".join(f'<a href="/{n or ""}">' for n in links)

    with serve(Site) as port:
        yield f"http://127.0.0.1:{port}"
    if most > at_once or max(asked.values()) > 3:
        raise SystemExit(f"{most} requests at once; {asked}")


@contextmanager
def mirrors(*behaviours: str) -> Iterator[list[str]]:
    """Mirrors of a page: a slow one answers after a minute, a broken one with 503."""

    class Mirror(Pages):
        def answer(self) -> tuple[int, str]:
            behaviour = self.path.rpartition("-")[2]
            if behaviour == "slow":
                time.sleep(60)
            return (503, "") if behaviour == "broken" else (200, f"the page of {self.path[1:]}")

    with serve(Mirror) as port:
        yield [
            f"http://127.0.0.1:{port}/mirror-{number}-{behaviour}"
            for number, behaviour in enumerate(behaviours, 1)
        ]


@contextmanager
def chat() -> Iterator[int]:
    """A chat server, whose connections fail in turn; gives the port.

    The first hangs: it answers nothing. The second hangs up after a command. The third has gone at
    once. The fourth waits for two signs of life and says "quit".
    """
    connections = iter(range(1, 100))

    class Chat(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            number = next(connections)
            if number == 1:
                self.rfile.read()
            elif number == 2:
                self.wfile.write(b"say hello\n")
                self.hear(b"said hello\n", 1)
            elif number >= 4:
                self.hear(b"ping\n", 2)
                self.wfile.write(b"say goodbye\nquit\n")
                self.hear(b"said goodbye\n", 1)

        def hear(self, wanted: bytes, times: int) -> None:
            while times and (line := self.rfile.readline()):
                self.wfile.write(b"pong\n" if line == b"ping\n" else b"")
                times -= line == wanted

    with serve(Chat) as port:
        yield port


#: How far the log has been read, and how far its lines have been worked off.
read = worked = 0


async def log_lines(count: int, ahead: int) -> AsyncIterator[str]:
    """A log of a number of lines, of which each tenth is broken.

    Ends the program if more than a given number of lines are read that were not worked off.
    """
    global read
    for number in range(count):
        if read - worked > ahead:
            raise SystemExit(f"{read - worked} lines were read and not worked off")
        read += 1
        await asyncio.sleep(0)
        yield "?" if number % 10 == 9 else f"GET /{number} {200 + number % 3}"


async def parse(line: str) -> int:
    """Return the status that a line of the log has. Raises ValueError for a broken line."""
    global worked
    await asyncio.sleep(0.0001)
    worked += 1
    found = re.fullmatch(r"GET \S+ (\d+)", line)
    if found is None:
        raise ValueError(line)
    return int(found[1])


def run_service(app: Callable[..., Any]) -> None:
    """Run an ASGI application on loopback until SIGTERM; say where it listens."""
    loop = "uvloop" if "uvloop" in sys.modules else "asyncio"
    config = uvicorn.Config(app, loop=loop, log_level="error", lifespan="on")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        server.run(sockets=[listening])


#: What is still to come of a sensor: readings, and a reading that fails.
readings = iter(["lost", "1", "2", "lost", "3", "stop", "4"])


async def reading() -> str:
    """Read a sensor, which loses its connection twice; at the end this process gets SIGTERM."""
    await asyncio.sleep(0.01)
    found = next(readings)
    if found == "lost":
        raise ConnectionError("the sensor is lost")
    if found == "stop":
        signal.raise_signal(signal.SIGTERM)
        return await reading()
    return found
