"""Owns what is measured: for each row an application of the field's, and one pass through it.

A row is a context that yields the pass. Applications are called as uvicorn calls them: a task of
the loop's for each request, ASGI 2.3, and a `receive` that waits until the response has been sent.
One pass awaits that task, or begins a chain of requests of which nothing awaits one.
Must never know what anyio runs on, and must never count.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

Pass = Callable[[], Awaitable[None]]
#: An application, and the body of its answer to `GET /`.
Served = tuple[Any, bytes]
Row = Callable[[], AbstractAsyncContextManager[Pass]]

#: So many requests are in a chain.
CHAINED = 10

SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "server": ("127.0.0.1", 8000),
    "client": ("127.0.0.1", 50000),
    "scheme": "http",
    "method": "GET",
    "root_path": "",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [(b"host", b"127.0.0.1:8000"), (b"accept", b"*/*")],
}


class Request:
    """One request, and what the application has answered."""

    def __init__(self) -> None:
        self._read = False
        self._sent = asyncio.Event()
        self.status = 0
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._sent.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                self._sent.set()


def requests(app: Any, expected: bytes) -> Pass:
    loop = asyncio.get_running_loop()

    async def one() -> None:
        request = Request()
        await loop.create_task(app(SCOPE.copy(), request.receive, request.send))
        if request.status != 200 or request.body != expected:
            raise AssertionError(f"answered {request.status} {request.body!r}")

    return one


def chain(app: Any, expected: bytes) -> Pass:
    """A pass of `CHAINED` requests: each one's end begins the next, and nothing awaits a task."""
    loop = asyncio.get_running_loop()

    async def one() -> None:
        answered: list[Request] = []
        over = loop.create_future()

        def begin() -> None:
            request = Request()
            answered.append(request)
            task = loop.create_task(app(SCOPE.copy(), request.receive, request.send))
            task.add_done_callback(go_on)

        def go_on(_: asyncio.Task[None]) -> None:
            if len(answered) < CHAINED:
                begin()
            else:
                over.set_result(None)

        begin()
        await over
        for request in answered:
            if request.status != 200 or request.body != expected:
                raise AssertionError(f"answered {request.status} {request.body!r}")

    return one


def application(middlewares: int = 0) -> Any:
    """FastAPI's, with this many middlewares that do nothing but pass on."""
    from fastapi import FastAPI
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import Request as StarletteRequest
    from starlette.responses import Response

    async def dispatch(
        request: StarletteRequest, call_next: Callable[[StarletteRequest], Awaitable[Response]]
    ) -> Response:
        return await call_next(request)

    app = FastAPI()
    for _ in range(middlewares):
        app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    return app


def _json(middlewares: int) -> Served:
    app = application(middlewares)

    @app.get("/")
    async def answer() -> dict[str, str]:
        return {"hello": "world"}

    return app, b'{"hello":"world"}'


def fastapi_json() -> Served:
    return _json(0)


def middleware_1() -> Served:
    return _json(1)


def middleware_3() -> Served:
    return _json(3)


def streaming() -> Served:
    from starlette.responses import StreamingResponse

    app = application()

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"part"

    @app.get("/")
    async def answer() -> StreamingResponse:
        return StreamingResponse(parts())

    return app, b"part" * 3


def sync_endpoint() -> Served:
    app = application()

    @app.get("/")
    def answer() -> dict[str, str]:
        return {"hello": "world"}

    return app, b'{"hello":"world"}'


def group_of_ten() -> Served:
    import anyio

    app = application()

    async def child(found: list[int], index: int) -> None:
        await anyio.lowlevel.checkpoint()
        found.append(index)

    @app.get("/")
    async def answer() -> int:
        found: list[int] = []
        async with anyio.create_task_group() as group:
            for index in range(10):
                group.start_soon(child, found, index)
        return len(found)

    return app, b"10"


@asynccontextmanager
async def httpx_client() -> AsyncIterator[Pass]:
    """A request and its answer over loopback; the server is a protocol of asyncio's."""
    import httpx

    class Server(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient() as client:

        async def one() -> None:
            answer = await client.get(f"http://127.0.0.1:{port}/")
            if answer.content != b"hello":
                raise AssertionError(f"answered {answer.content!r}")

        yield one
    server.close()


@asynccontextmanager
async def ping_pong() -> AsyncIterator[Pass]:
    """An item to another task and back, through two memory object streams."""
    import anyio

    there_send, there_receive = anyio.create_memory_object_stream[int]()
    back_send, back_receive = anyio.create_memory_object_stream[int]()

    async def echo() -> None:
        async with there_receive, back_send:
            async for item in there_receive:
                await back_send.send(item)

    async with anyio.create_task_group() as group:
        group.start_soon(echo)

        async def one() -> None:
            await there_send.send(1)
            if await back_receive.receive() != 1:
                raise AssertionError("another item has come back")

        async with there_send, back_receive:
            yield one


@asynccontextmanager
async def to_thread() -> AsyncIterator[Pass]:
    import anyio.to_thread

    async def one() -> None:
        if await anyio.to_thread.run_sync(str.upper, "a") != "A":
            raise AssertionError("another value has come back")

    yield one


@asynccontextmanager
async def fail_after() -> AsyncIterator[Pass]:
    import anyio

    async def one() -> None:
        with anyio.fail_after(60):  # noqa: ASYNC100 - what it costs by itself
            pass

    yield one


@asynccontextmanager
async def mcp_session() -> AsyncIterator[Pass]:
    """A session, JSON-RPC over streams in memory: opened, a hundred calls of a tool, closed."""
    import mcp
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("bench", log_level="ERROR")

    @server.tool()
    async def add(first: int, second: int) -> int:
        return first + second

    async def one() -> None:
        async with mcp.Client(server, mode="legacy") as client:
            for _ in range(100):
                answer = await client.call_tool("add", {"first": 1, "second": 2})
                if answer.structured_content != {"result": 3}:
                    raise AssertionError(f"answered {answer}")

    yield one


#: What is served, by its name.
APPLICATIONS: dict[str, Callable[[], Served]] = {
    "fastapi_json": fastapi_json,
    "middleware_1": middleware_1,
    "middleware_3": middleware_3,
    "streaming": streaming,
    "sync_endpoint": sync_endpoint,
    "group_of_ten": group_of_ten,
}


def called(make: Callable[[], Served], call: Callable[[Any, bytes], Pass]) -> Row:
    """The row in which an application is called, in the process."""

    @asynccontextmanager
    async def row() -> AsyncIterator[Pass]:
        yield call(*make())

    return row


#: By its name: how often it is passed through while it is counted, and what is run.
ROWS: dict[str, tuple[int, Row]] = {
    **{name: (200, called(make, requests)) for name, make in APPLICATIONS.items()},
    **{f"{name}_chained": (20, called(make, chain)) for name, make in APPLICATIONS.items()},
    "httpx_client": (200, httpx_client),
    "ping_pong": (500, ping_pong),
    "to_thread": (500, to_thread),
    "fail_after": (500, fail_after),
    "mcp_session": (3, mcp_session),
}
