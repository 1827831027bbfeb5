"""Owns the programs that open no nursery, run with asyncio's tasks and with our task factory."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from contenders import children
from contenders.case import (
    Case,
    Contender,
    our_eager_factory,
    our_factory,
    run_eagerly,
    run_on_asyncio,
)


async def _create_task(clock: Any, size: int) -> None:
    start, child = asyncio.create_task, children.yields_once
    with clock:
        for task in [start(child()) for _ in range(size)]:
            await task


async def _gather(clock: Any, size: int) -> None:
    child = children.yields_once
    with clock:
        await asyncio.gather(*[child() for _ in range(size)])


async def _taskgroup(clock: Any, size: int) -> None:
    child = children.yields_once
    with clock:
        async with asyncio.TaskGroup() as group:
            start = group.create_task
            for _ in range(size):
                start(child())


async def _graphql(clock: Any, size: int) -> None:
    from graphql import (
        GraphQLField,
        GraphQLInt,
        GraphQLList,
        GraphQLObjectType,
        GraphQLSchema,
        graphql,
    )

    async def value(item: int, info: Any) -> int:
        await asyncio.sleep(0)
        return item

    item = GraphQLObjectType("Item", {"value": GraphQLField(GraphQLInt, resolve=value)})
    items = GraphQLField(GraphQLList(item), resolve=lambda root, info: range(size))
    schema = GraphQLSchema(GraphQLObjectType("Query", {"items": items}))
    with clock:
        result = await graphql(schema, "{ items { value } }")
    if result.errors or len(result.data["items"]) != size:
        raise AssertionError(f"the query failed: {result.errors}")


async def _starlette(clock: Any, size: int) -> None:
    import httpx
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    class AddsHeader(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x-seen"] = "yes"
            return response

    async def hello(request: Any) -> Any:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", hello)], middleware=[Middleware(AddsHeader)])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        with clock:
            for _ in range(size):
                response = await client.get("/")
                if response.headers["x-seen"] != "yes":
                    raise AssertionError("the middleware did not run")


CASES: dict[str, Case] = {
    "programs_create_task": _create_task,
    "programs_gather": _gather,
    "programs_taskgroup": _taskgroup,
    "programs_graphql": _graphql,
    "programs_starlette": _starlette,
}


def contenders() -> list[Contender]:
    def factory(key: str, title: str, run: Any, name: str) -> Contender:
        return Contender(
            key, title, run, CASES, section="programs", ours=True, needs={"*": (name,)}
        )

    found = [
        factory("our_task", "our task_factory", our_factory, "task_factory"),
        Contender("task", "asyncio's task", run_on_asyncio, CASES, section="programs"),
    ]
    if sys.version_info >= (3, 12):
        found += [
            factory("our_eager", "our eager factory", our_eager_factory, "eager_task_factory"),
            Contender("eager", "asyncio's eager", run_eagerly, CASES, section="programs"),
        ]
    return found
