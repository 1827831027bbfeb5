"""Children of a task group that are started in another event loop than the group's.

anyio's own backend runs such a child in the caller's loop, and changes the group from that loop's
thread. Here the child runs in the caller's loop, too, and a child of the group in the group's loop
stands for it: the group waits for that, is failed by it, and cancels it. The two tell each other by
`call_soon_threadsafe`. Must never touch what is another loop's in any other way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from .. import _aionursery as engine
from ._events import Event
from ._handles import make_handle
from ._scopes import CancelScope, cancel_message

_start = engine.Nursery.start_soon


class Child:
    """A child in the running loop of a group in another loop.

    With `said` set, it is the group's from its beginning; otherwise it is the caller's until it
    calls `started` of this, its task status.
    """

    task: asyncio.Task[Any]
    handle: Any

    def __init__(self, group: Any) -> None:
        self.group = group
        #: Where it runs, and where the group is.
        self.here = asyncio.get_running_loop()
        self.there: asyncio.AbstractEventLoop = group.event_loop
        #: Around all of it.
        self.scope = CancelScope()
        self.said = False
        self.refused = False
        self.value: Any = None
        #: It has said that it is ready, or has ended: for the caller, in its loop.
        self.news = Event()
        #: The same, and its end alone: for what stands for it, in the group's loop.
        self.own = Event()
        self.ended = Event()

    def begin(self, coro: Coroutine[Any, Any, Any], name: object, context: Context | None) -> None:
        """Start it here, and what stands for it there."""
        self.handle = make_handle(coro, name)
        self.task = engine.task_factory(
            self.here, self._run(), name=self.handle.name, context=context
        )
        self.task.add_done_callback(self._tell_end)
        if self.said:
            self.own.set()
        if not _tell(self.there, self._admit):
            self._refuse()

    async def start(self, coro: Coroutine[Any, Any, Any], name: object) -> Any:
        """Start it, and wait for what it gives to `started`; it is the caller's until then."""
        self.begin(coro, name, None)
        try:
            await self.news.wait()
        except BaseException:
            if not self.said:
                self.scope.cancel()
                with engine.shield():
                    await self.news.wait()
            raise
        if self.said:
            return self.value
        if self.refused:
            raise RuntimeError("This task group is not active; no new tasks can be started.")
        # Raises what it has raised, and a cancellation by hand.
        self.task.result()
        raise RuntimeError("Child exited without calling task_status.started()")

    def started(self, value: Any = None) -> None:
        """Make it the group's: it is given this as its task status."""
        if self.said:
            raise RuntimeError("called 'started' twice on the same task status")
        self.said = True
        self.value = value
        self.news.set()
        _tell(self.there, self.own.set)

    async def _run(self) -> None:
        __tracebackhide__ = True
        with self.scope:
            await self.handle._run_coro()

    def _tell_end(self, _: object) -> None:
        self.news.set()
        _tell(self.there, self._end)

    # What follows runs in the group's loop.

    def _end(self) -> None:
        self.ended.set()
        self.own.set()

    def _admit(self) -> None:
        try:
            _start(self.group, self._stand(), name=self.handle.name)
        except RuntimeError:
            # It has closed meanwhile.
            self._refuse()

    def _refuse(self) -> None:
        self.refused = True
        self._cancel()

    def _cancel(self) -> None:
        if not _tell(self.here, self.scope.cancel, cancel_message(self.scope, None)):
            # Its loop is closed: it never runs again.
            self._end()

    async def _stand(self) -> None:
        """Stand for it in the group."""
        __tracebackhide__ = True
        with engine.shield():
            await self.own.wait()
        if not self.said:
            # Its caller hears of it, and the group does not.
            return
        try:
            await self.ended.wait()
        except BaseException:
            self._cancel()
            with engine.shield():
                await self.ended.wait()
            self._raise()
            raise
        self._raise()

    def _raise(self) -> None:
        """Raise what it has raised."""
        task = self.task
        if task.done():
            try:
                task.result()
            finally:
                del task


def _tell(loop: asyncio.AbstractEventLoop, function: Any, *args: object) -> bool:
    """Have a loop call a function; return False if it is closed."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
        return False
    return True
