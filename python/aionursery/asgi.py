"""A nursery for an ASGI application: its children survive the request and not the application.

Owns the lifespan protocol around an application. Must never answer a request: those it hands on.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from ._aionursery import Nursery
from ._called import TaskStatus
from ._refusals import check_span
from ._sync import Event

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def terminate(error: BaseException) -> None:
    """Send SIGTERM to this process, at which ASGI servers shut down."""
    signal.raise_signal(signal.SIGTERM)


class LifespanNursery:
    """An ASGI application around another that has a nursery from startup to shutdown.

    The nursery is in the ``state`` of each request's scope under ``"nursery"``: in Starlette and
    FastAPI ``request.state.nursery``, for the application's own lifespan ``scope["state"]``. At
    shutdown it is shut down with ``grace`` seconds before the application's own lifespan ends, so
    children still have what that has opened. With ``limit``, so many children run at once, and the
    others wait for their first step, as in `Nursery`.

    If a child fails, the nursery ends, its error goes to the loop's exception handler, and
    ``on_crash(error)`` is called, which by default sends SIGTERM to the process: no server looks
    after an application that has started. At the shutdown that follows, the server is told
    ``lifespan.shutdown.failed``, and the error is raised. Raises ValueError if ``grace`` is
    negative or a NaN, or ``limit`` below 1.
    """

    def __init__(
        self,
        app: Application,
        *,
        grace: float = 5.0,
        on_crash: Callable[[BaseException], object] = terminate,
        limit: int | None = None,
    ) -> None:
        Nursery(limit=limit)  # refuses what no nursery takes, here and not at the startup
        check_span("grace", grace)
        self._app = app
        self._grace = grace
        self._on_crash = on_crash
        self._limit = limit
        self._nursery: Nursery | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Run the lifespan, or hand a request on."""
        if scope["type"] != "lifespan":
            if self._nursery is not None:
                scope.setdefault("state", {})["nursery"] = self._nursery
            await self._app(scope, receive, send)
            return
        life = _Life(self._grace, self._on_crash, self._limit)
        try:
            async with Nursery() as outer:
                self._nursery = await outer.start(life.keep)
                scope.setdefault("state", {})["nursery"] = self._nursery
                try:
                    await life.run(self._app, scope, receive, send)
                finally:
                    # Where the lifespan ends without a shutdown, such as by a failed startup.
                    outer.cancel("the lifespan has ended")
        finally:
            self._nursery = None
        if life.error is not None:
            error, life.error = life.error, None
            try:
                raise error
            finally:
                del error


class _Life:
    """One run of the application: the nursery, and what has become of it."""

    def __init__(
        self, grace: float, on_crash: Callable[[BaseException], object], limit: int | None
    ) -> None:
        self._grace = grace
        self._on_crash = on_crash
        self._limit = limit
        self._stop = Event()
        self._ended = Event()
        self._asked = False
        self.error: BaseException | None = None

    async def keep(self, *, task_status: TaskStatus) -> None:
        """Host the nursery, in a task that its failure may cancel."""
        try:
            async with Nursery(limit=self._limit) as nursery:
                task_status.started(nursery)
                await self._stop.wait()
                nursery.shutdown(self._grace)
        except BaseExceptionGroup as error:
            self.error = error
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a child of the ASGI lifespan nursery has failed", "exception": error}
            )
            if not self._stop.is_set():
                self._on_crash(error)
        finally:
            self._ended.set()

    async def run(
        self, app: Application, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Run the application's own lifespan, or in its place one that does nothing."""

        async def asked() -> Message:
            self._asked = True
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._stop.set()
                await self._ended.wait()
            return message

        async def told(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete" and self.error is not None:
                message = {"type": "lifespan.shutdown.failed", "message": repr(self.error)}
            await send(message)

        try:
            await app(scope, asked, told)
        except Exception:
            if self._asked:
                raise
        else:
            if self._asked:
                return
        # The application has no lifespan.
        while True:
            message = await asked()
            kind = message["type"]
            await told({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
