"""What programs call: aionursery, or asyncio with the same names as a control (`--plain`).

The control does not mean the same; it only lets the same steps reach asyncio's own tasks, to tell
what those do equally badly.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from typing import Any

import aionursery
from aionursery import _aionursery


def ours() -> Any:
    """Return the library under attack."""
    names = {name: getattr(aionursery, name) for name in dir(aionursery) if name[0] != "_"}
    return types.SimpleNamespace(
        **names,
        plain=False,
        counted=(
            aionursery.Nursery,
            aionursery.CancelScope,
            aionursery.Task,
            aionursery.SendChannel,
            aionursery.ReceiveChannel,
            _aionursery.Transfer,
            _aionursery.Wait,
            _aionursery.LoopState,
            asyncio.Future,
        ),
    )


class Scope:
    """An `asyncio.timeout` that can be cancelled."""

    def __init__(self, *, deadline: float | None = None, **_: object) -> None:
        self._timeout = asyncio.Timeout(None)
        self.deadline = deadline
        self.shield = False
        self.cleanup = None
        self.reason = self.source = None
        self.cancel_called = self.cancelled_caught = False

    def __enter__(self) -> Scope:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("no task")
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        if self.cancel_called and kind is asyncio.CancelledError:
            return self._task.uncancel() == 0
        return False

    def cancel(self, reason: object = None) -> None:
        if not self.cancel_called:
            self.cancel_called = True
            self._task.cancel(reason)

    def on_cancel(self, fn: Any, *_: object) -> Any:
        return lambda: fn is None


class Nursery(asyncio.TaskGroup):
    """A task group with a nursery's names."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.cancel_scope = Scope()

    def start_soon(self, target: Any, /, *args: Any, **kwargs: Any) -> Any:
        coro = target if asyncio.iscoroutine(target) else None
        if coro is None:
            coro = target(*args) if callable(target) else _await(target)
        name = kwargs.get("name")
        return self.create_task(coro, name=name, context=kwargs.get("context"))

    start_now = start_soon

    async def start(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        ready = asyncio.get_running_loop().create_future()
        self.create_task(fn(*args, task_status=_Status(ready)))
        return await ready

    def cancel(self, reason: object = None) -> None:
        for task in self.children:
            task.cancel(reason)

    cancel_remaining = cancel

    @property
    def children(self) -> list[Any]:
        return list(self._tasks)  # type: ignore[attr-defined]

    @property
    def closed(self) -> bool:
        return not self._tasks and self._exiting  # type: ignore[attr-defined]


class TreeVar:
    """A context variable, as far as the steps go."""

    def __init__(self, name: str) -> None:
        self._var: contextvars.ContextVar[Any] = contextvars.ContextVar(name)
        self.set, self.get, self.reset = self._var.set, self._var.get, self._var.reset


class End:
    """An end of a channel, as far as a queue goes: it is never closed."""

    def __init__(self, queue: asyncio.Queue[Any]) -> None:
        self._queue = queue
        self.send_nowait, self.receive_nowait = queue.put_nowait, queue.get_nowait
        self.send, self.receive = queue.put, queue.get

    def clone(self) -> End:
        return End(self._queue)

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def statistics(self) -> int:
        return self._queue.qsize()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> End:
        return self

    async def __anext__(self) -> Any:
        return await self._queue.get()


def _open_channel(capacity: float) -> tuple[End, End]:
    queue: asyncio.Queue[Any] = asyncio.Queue(1 if capacity == 0 else 3)
    return End(queue), End(queue)


class _Status:
    def __init__(self, ready: Any) -> None:
        self.ready = ready

    def started(self, value: object = None) -> None:
        if not self.ready.done():
            self.ready.set_result(value)


async def _await(target: Any) -> Any:
    return await target


def _factory(loop: Any, coro: Any, **kwargs: Any) -> Any:
    return asyncio.Task(coro, loop=loop, **kwargs)


def _scope(moment: float | None, **kwargs: Any) -> Scope:
    return Scope(deadline=moment)


async def _cancel_and_wait(task: Any) -> None:
    task.cancel()
    await asyncio.wait([task])


def plain() -> Any:
    """Return asyncio under our names."""
    sync = (
        "Event", "Lock", "Semaphore", "BoundedSemaphore", "Condition", "Queue", "PriorityQueue",
        "LifoQueue",
    )  # fmt: skip
    return types.SimpleNamespace(
        **{name: getattr(asyncio, name) for name in sync},
        Task=asyncio.Task,
        Nursery=Nursery,
        TaskGroup=Nursery,
        CancelScope=Scope,
        TreeVar=TreeVar,
        open_channel=_open_channel,
        fail_after=_scope,
        fail_at=_scope,
        move_on_after=_scope,
        move_on_at=_scope,
        shield=Scope,
        current_effective_deadline=lambda: float("inf"),
        sleep=asyncio.sleep,
        sleep_until=lambda _: asyncio.sleep(0),
        sleep_forever=lambda: asyncio.sleep(1000),
        checkpoint=lambda: asyncio.sleep(0),
        checkpoint_if_cancelled=lambda: asyncio.sleep(0),
        task_factory=_factory,
        eager_task_factory=getattr(asyncio, "eager_task_factory", _factory),
        warn_stuck_after=lambda _: None,
        plain=True,
        counted=(Nursery, Scope, asyncio.Task, asyncio.Future),
    )
