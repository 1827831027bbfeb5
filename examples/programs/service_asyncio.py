"""An ASGI service whose jobs outlive the request: two at a time, ten seconds for them at SIGTERM.

A job that fails ends the service.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import loopback
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

limiter = asyncio.Semaphore(2)


async def job(name: str) -> None:
    async with limiter:
        await asyncio.sleep(0.1)
        if name == "bad":
            raise RuntimeError("a bad job")
        print(name, "is done")


async def accept(request: Request) -> Response:
    request.state.group.create_task(job(request.path_params["name"]))
    return Response(status_code=202)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, asyncio.TaskGroup]]:
    try:
        async with asyncio.timeout(None) as time_limit, asyncio.TaskGroup() as group:
            yield {"group": group}
            time_limit.reschedule(asyncio.get_running_loop().time() + 10)
    except* TimeoutError:
        pass
    except* Exception:
        # The server does not look after an application that has started.
        signal.raise_signal(signal.SIGTERM)
        raise


app = Starlette(routes=[Route("/{name}", accept, methods=["POST"])], lifespan=lifespan)

if __name__ == "__main__":
    loopback.run_service(app)
