"""An ASGI service whose jobs outlive the request: two at a time, ten seconds for them at SIGTERM.

A job that fails ends the service.
"""

import loopback
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import aionursery
from aionursery.asgi import LifespanNursery


async def job(name: str) -> None:
    await aionursery.sleep(0.1)
    if name == "bad":
        raise RuntimeError("a bad job")
    print(name, "is done")


async def accept(request: Request) -> Response:
    request.state.nursery.start_soon(job, request.path_params["name"])
    return Response(status_code=202)


starlette = Starlette(routes=[Route("/{name}", accept, methods=["POST"])])
app = LifespanNursery(starlette, grace=10, limit=2)

if __name__ == "__main__":
    loopback.run_service(app)
