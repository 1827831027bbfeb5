"""`aionursery.asgi`: a nursery from startup to shutdown, driven as a server would drive it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from aionursery import MultiError, Nursery, NurseryClosed
from aionursery.asgi import LifespanNursery

from .helpers import fail, forever, turns


class Server:
    """As much of a server as the lifespan protocol asks for."""

    def __init__(self, app):
        self.app = app
        self.inbox = asyncio.Queue()
        self.outbox = asyncio.Queue()
        self.scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}

    async def send(self, message):
        if message["type"].startswith("lifespan"):
            self.outbox.put_nowait(message)

    async def start(self):
        self.task = asyncio.ensure_future(self.app(self.scope, self.inbox.get, self.send))
        return await self.tell("lifespan.startup")

    async def tell(self, kind):
        self.inbox.put_nowait({"type": kind})
        return await self.outbox.get()

    async def stop(self):
        message = await self.tell("lifespan.shutdown")
        await asyncio.wait([self.task])
        return message

    async def request(self, path):
        scope = {"type": "http", "path": path, "state": self.scope["state"].copy()}
        await self.app(scope, None, self.send)


def application(trace, *, lifespan=True):
    """An application that starts children in requests, with or without a lifespan of its own."""

    async def child(name):
        trace.append(f"{name} begins")
        try:
            await forever()
        finally:
            await turns(1)
            trace.append(f"{name} ends")

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            if not lifespan:
                raise NotImplementedError
            assert isinstance(scope["state"]["nursery"], Nursery)
            assert (await receive())["type"] == "lifespan.startup"
            trace.append("app opens")
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            trace.append("app closes")
            await send({"type": "lifespan.shutdown.complete"})
            return
        nursery = scope["state"]["nursery"]
        if scope["path"] == "/fail":
            nursery.start_soon(fail(ValueError("crash"), after=1))
        else:
            nursery.start_soon(child, scope["path"])
        await turns(2)
        await send({"type": "http.response.start"})

    return app


@pytest.mark.parametrize("lifespan", [True, False])
async def test_children_survive_the_request_and_not_the_application(world, lifespan):
    trace = []
    server = Server(LifespanNursery(application(trace, lifespan=lifespan), grace=0))
    assert (await server.start())["type"] == "lifespan.startup.complete"
    await server.request("/one")
    await turns(5)
    trace.append("the request is over")
    assert (await server.stop())["type"] == "lifespan.shutdown.complete"
    server.task.result()
    work = ["/one begins", "the request is over", "/one ends"]
    assert trace == (["app opens", *work, "app closes"] if lifespan else work)


async def test_children_that_await_stopping_end_within_the_grace(world):
    trace = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        nursery = scope["state"]["nursery"]

        async def polite():
            await nursery.stopping.wait()
            await turns(3)
            trace.append("ended by itself")

        nursery.start_soon(polite)

    server = Server(LifespanNursery(app, grace=1_000))
    await server.start()
    await server.request("/")
    assert (await server.stop())["type"] == "lifespan.shutdown.complete"
    assert trace == ["ended by itself"]


@pytest.mark.reports
async def test_r6_a_crash_is_reported_stops_the_server_and_is_raised(world):
    trace, crashes = [], []
    app = LifespanNursery(application(trace), on_crash=crashes.append)
    server = Server(app)
    await server.start()
    await server.request("/one")
    await server.request("/fail")
    await turns(5)
    assert trace == ["app opens", "/one begins", "/one ends"]
    assert [str(error[0]) for error in crashes] == ["crash"]
    assert [report["exception"] for report in world.reports] == crashes
    assert not server.task.done(), "the server has not asked it to end"
    with pytest.raises(NurseryClosed):
        await server.request("/late")
    message = await server.stop()
    assert message["type"] == "lifespan.shutdown.failed"
    assert "crash" in message["message"]
    assert trace[-1] == "app closes"
    with pytest.raises(MultiError):
        server.task.result()


@pytest.mark.reports
async def test_an_error_at_shutdown_is_told_to_the_server_and_is_no_crash(world):
    crashes = []

    async def sore():
        try:
            await forever()
        finally:
            raise OSError("cannot close")

    server = Server(LifespanNursery(application([]), grace=0, on_crash=crashes.append))
    await server.start()
    server.scope["state"]["nursery"].start_soon(sore)
    await turns(2)
    assert (await server.stop())["type"] == "lifespan.shutdown.failed"
    assert crashes == []
    with pytest.raises(MultiError):
        server.task.result()


async def test_a_startup_that_fails_ends_the_nursery_and_is_raised(world):
    ended = []

    async def app(scope, receive, send):
        async def child():
            try:
                await forever()
            finally:
                ended.append("child")

        scope["state"]["nursery"].start_soon(child)
        await receive()
        await turns(2)
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise OSError("no database")

    server = Server(LifespanNursery(app))
    assert (await server.start())["type"] == "lifespan.startup.failed"
    await asyncio.wait([server.task])
    assert ended == ["child"]
    with pytest.raises(MultiError, match="nursery") as caught:
        server.task.result()
    assert isinstance(caught.value[0], OSError)


async def test_r15_a_lifespan_that_the_server_cancels_ends_all(world):
    trace = []
    server = Server(LifespanNursery(application(trace)))
    await server.start()
    await server.request("/one")
    server.task.cancel()
    await asyncio.wait([server.task])
    assert server.task.cancelled()
    assert trace == ["app opens", "/one begins", "/one ends"]


@pytest.mark.parametrize("grace", [-1, float("nan")])
def test_a_grace_that_is_no_time_is_refused(grace):
    with pytest.raises(ValueError, match="grace"):
        LifespanNursery(application([]), grace=grace)


PROGRAM = """
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import aionursery
from aionursery.asgi import LifespanNursery


async def child():
    try:
        await aionursery.sleep_forever()
    finally:
        print("the child has ended", flush=True)


async def start(request):
    request.state.nursery.start_soon(child)
    return PlainTextResponse("started")


async def crash(request):
    async def broken():
        raise ValueError("a crash")

    request.state.nursery.start_soon(broken)
    return PlainTextResponse("soon")


app = LifespanNursery(Starlette(routes=[Route("/", start), Route("/crash", crash)]), grace=0.1)
uvicorn.run(app, port=0, loop=LOOP)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal of POSIX")
@pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="needs uvicorn")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("path", ["/", "/crash"])
def test_uvicorn_ends_the_children_at_sigterm_and_itself_at_a_crash(path, loop):
    program = PROGRAM.replace("loop=LOOP", f"loop={loop!r}")
    command = [sys.executable, "-u", "-c", program]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for line in process.stderr:
                if "running on" in line:
                    address = line.split("running on ")[1].split(" ")[0]
                    break
            with urllib.request.urlopen(address + path, timeout=20) as response:
                assert response.status == 200
            if path == "/":
                os.kill(process.pid, signal.SIGTERM)
            output, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode != 0
    assert ("the child has ended" in output) == (path == "/")
    assert ("a crash" in errors) == (path == "/crash")
    assert ("Application shutdown failed" in errors) == (path == "/crash")


async def test_a_limit_bounds_how_many_children_run_at_once(world):
    running = []
    most = 0

    async def job(name):
        nonlocal most
        running.append(name)
        most = max(most, len(running))
        await turns(3)
        running.remove(name)

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        scope["state"]["nursery"].start_soon(job, scope["path"])

    server = Server(LifespanNursery(app, limit=2))
    await server.start()
    for number in range(5):
        await server.request(f"/{number}")
    assert await server.stop() == {"type": "lifespan.shutdown.complete"}
    assert (running, most) == ([], 2)


def test_a_limit_that_no_nursery_takes_is_refused_at_once():
    with pytest.raises(ValueError, match="limit must be at least 1"):
        LifespanNursery(application([]), limit=0)
