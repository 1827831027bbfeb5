"""Owns the aiohttp server and client of the echo row; must never start the requests itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

BODY = b"x" * 1024


async def _echo(request: Any) -> Any:
    from aiohttp import web

    return web.Response(body=await request.read())


@asynccontextmanager
async def echo_server() -> AsyncIterator[tuple[Any, str]]:
    import aiohttp
    from aiohttp import web

    app = web.Application()
    app.router.add_post("/", _echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as session:
            yield session, f"http://127.0.0.1:{port}/"
    finally:
        await runner.cleanup()


async def request(session: Any, url: str) -> None:
    async with session.post(url, data=BODY) as response:
        if await response.read() != BODY:
            raise AssertionError("the echo differs from what was sent")
