"""An ASGI service whose jobs outlive the request: two at a time, ten seconds for them at SIGTERM.

A job that fails ends the service.
"""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import loopback
from anyio.abc import TaskGroup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

limiter = anyio.Semaphore(2)


async def job(name: str) -> None:
    async with limiter:
        await anyio.sleep(0.1)
        if name == "bad":
            raise RuntimeError("a bad job")
        print(name, "is done")


async def accept(request: Request) -> Response:
    request.state.group.start_soon(job, request.path_params["name"])
    return Response(status_code=202)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, TaskGroup]]:
    try:
        async with anyio.create_task_group() as group:
            yield {"group": group}
            group.cancel_scope.deadline = anyio.current_time() + 10
    except* Exception:
        # The server does not look after an application that has started.
        signal.raise_signal(signal.SIGTERM)
        raise


app = Starlette(routes=[Route("/{name}", accept, methods=["POST"])], lifespan=lifespan)

if __name__ == "__main__":
    loopback.run_service(app)
