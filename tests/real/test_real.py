"""R22, R23: libraries that know nothing of us do their work on our tasks, and are cancelled in the
middle of it."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import aiohttp.web
import asyncpg
import httpx
import pytest
import redis.asyncio

import aionursery
from aionursery import Nursery


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a program with our factory on a loop."""
    if request.param == "uvloop":
        import uvloop

        return lambda main: aionursery.run(main, loop_factory=uvloop.new_event_loop)
    return aionursery.run


class Site:
    """An aiohttp server on loopback; counts what was begun and what was cut off."""

    def __init__(self) -> None:
        self.begun = 0
        self.cut = 0

    async def hello(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        # From 3.12 on aiohttp makes the task that runs here by asyncio's class itself; what is made
        # by the loop is ours.
        task = asyncio.create_task(asyncio.sleep(0))
        assert isinstance(task, aionursery.Task)
        await task
        return aiohttp.web.Response(text=f"hello {request.match_info['name']}")

    async def hang(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        self.begun += 1
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cut += 1
            raise
        return aiohttp.web.Response()

    async def __aenter__(self) -> Site:
        app = aiohttp.web.Application()
        app.router.add_get("/hello/{name}", self.hello)
        app.router.add_get("/hang", self.hang)
        self.runner = aiohttp.web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self.runner.setup()
        site = aiohttp.web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


async def until(condition) -> None:
    """Wait for what another task does, at most 20 seconds."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it has not happened"
        await asyncio.sleep(0.005)


def test_r23_an_aiohttp_server_and_client_do_their_work_and_are_cancelled(run):
    async def main():
        async with Site() as site, aiohttp.ClientSession() as session:

            async def get(path):
                async with session.get(site.url + path) as response:
                    return await response.text()

            async with Nursery() as nursery:
                tasks = [nursery.start_soon(get, f"/hello/{n}") for n in range(100)]
            assert [task.result() for task in tasks] == [f"hello {n}" for n in range(100)]

            async with Nursery() as nursery:
                hanging = [nursery.start_soon(get, "/hang") for _ in range(10)]
                await until(lambda: site.begun == 10)
                nursery.cancel("enough")
            assert all(task.cancelled() for task in hanging)
            await until(lambda: site.cut == 10)
            assert await get("/hello/again") == "hello again"

    run(main())


def test_r23_httpx_does_its_work_and_is_cancelled(run):
    async def main():
        async with Site() as site, httpx.AsyncClient(base_url=site.url, timeout=30) as client:
            async with Nursery() as nursery:
                tasks = [nursery.start_soon(client.get(f"/hello/{n}")) for n in range(50)]
            assert [task.result().text for task in tasks] == [f"hello {n}" for n in range(50)]

            with aionursery.move_on_after(0.2) as scope:
                await client.get("/hang")
            assert scope.cancelled_caught
            assert asyncio.current_task().cancelling() == 0

            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.get("/hang")
            assert (await client.get("/hello/again")).text == "hello again"

    run(main())


def test_r23_asyncpg_does_its_work_and_is_cancelled(run, postgres_url):
    async def main():
        async with asyncpg.create_pool(postgres_url, min_size=2, max_size=4) as pool:

            async def double(n):
                async with pool.acquire() as connection, connection.transaction():
                    return await connection.fetchval("select $1::int * 2", n)

            async with Nursery() as nursery:
                tasks = [nursery.start_soon(double, n) for n in range(100)]
            assert [task.result() for task in tasks] == [n * 2 for n in range(100)]

            # Cancelled in the middle of a query: the connection goes back to the pool, usable.
            async with Nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(pool.fetchval("select pg_sleep(3600)"))
                await until(lambda: pool.get_idle_size() == 0 and pool.get_size() == 4)
                await asyncio.sleep(0.05)
                nursery.cancel()
            with aionursery.fail_after(20):
                async with Nursery() as nursery:
                    tasks = [nursery.start_soon(double, n) for n in range(8)]
            assert [task.result() for task in tasks] == [n * 2 for n in range(8)]

            with aionursery.move_on_after(0.1) as scope:
                await pool.fetchval("select pg_sleep(3600)")
            assert scope.cancelled_caught
            assert await pool.fetchval("select 1") == 1

    run(main())


def test_r23_redis_does_its_work_and_is_cancelled(run, redis_url):
    async def main():
        client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
        try:
            async with Nursery() as nursery:
                for n in range(100):
                    nursery.start_soon(client.set(f"key{n}", n))
            async with Nursery() as nursery:
                tasks = [nursery.start_soon(client.get(f"key{n}")) for n in range(100)]
            assert [task.result() for task in tasks] == [str(n) for n in range(100)]

            # Cancelled while it blocks: the connection is dropped, not handed to the next.
            with aionursery.move_on_after(0.2) as scope:
                await client.blpop("never", timeout=0)
            assert scope.cancelled_caught

            async def subscribe(got):
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe("news")
                    async for message in pubsub.listen():
                        got.append(message["data"])

            got: list[object] = []
            async with Nursery() as nursery:
                nursery.start_soon(subscribe, got)
                await until(lambda: len(got) == 1)
                await client.publish("news", "today")
                await until(lambda: len(got) == 2)
                nursery.cancel()
            assert got[1] == "today"
            assert await client.get("key7") == "7"
        finally:
            await client.aclose()

    run(main())
