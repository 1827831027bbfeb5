"""Many at once, and what they give: `gather`, `map` and `as_completed`.

Each of the first two is a nursery around its children, so all is joined and no error lost. Must
never start anything outside of one.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Generic, TypeAlias, TypeVar, cast, overload

from . import _aionursery
from ._aionursery import Nursery
from ._limit import free_place, start_in_free_place
from ._refusals import check_async_function, is_awaitable, not_awaitable
from ._waiter import waiter

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")
Item = TypeVar("Item")

#: What runs: an awaitable, or an async function that takes nothing.
Target: TypeAlias = Awaitable[T] | Callable[[], Awaitable[T]]


def is_target(target: object) -> bool:
    """Whether it can be awaited or called."""
    return inspect.isawaitable(target) or callable(target)


def targets_of(function: str, given: tuple[Any, ...]) -> tuple[list[Target[Any]], bool]:
    """List what is to run; return whether it was given as an iterable.

    What cannot run is refused before anything does, and every coroutine is closed.
    """
    iterable = len(given) == 1 and not is_target(given[0])
    found: list[Target[Any]] = []
    try:
        if iterable and not isinstance(given[0], Iterable):
            raise TypeError(
                f"{function}() takes awaitables and async functions, or an iterable of them, "
                f"not {given[0]!r}"
            )
        found.extend(given[0] if iterable else given)
        for target in found:
            if not is_target(target):
                raise TypeError(
                    f"{function}() takes awaitables and async functions, not {target!r}; call a "
                    "plain function with to_thread(fn, ...)"
                )
    except BaseException:
        refuse(found)
        raise
    return found, iterable


def refuse(targets: Iterable[object]) -> None:
    """Close the coroutines among what will not run."""
    for target in targets:
        _aionursery.refuse_child(target)


@overload
async def gather(target: Target[T1], /) -> tuple[T1]: ...
@overload
async def gather(target: Target[T1], second: Target[T2], /) -> tuple[T1, T2]: ...
@overload
async def gather(
    target: Target[T1], second: Target[T2], third: Target[T3], /
) -> tuple[T1, T2, T3]: ...
@overload
async def gather(
    target: Target[T1], second: Target[T2], third: Target[T3], fourth: Target[T4], /
) -> tuple[T1, T2, T3, T4]: ...
@overload
async def gather(
    target: Target[T1],
    second: Target[T2],
    third: Target[T3],
    fourth: Target[T4],
    fifth: Target[T5],
    /,
) -> tuple[T1, T2, T3, T4, T5]: ...
@overload
async def gather(
    target: Target[T1],
    second: Target[T2],
    third: Target[T3],
    fourth: Target[T4],
    fifth: Target[T5],
    sixth: Target[T6],
    /,
) -> tuple[T1, T2, T3, T4, T5, T6]: ...
@overload
async def gather(targets: Iterable[Target[T]], /) -> list[T]: ...
@overload
async def gather(*targets: Target[T]) -> tuple[T, ...]: ...
async def gather(*targets: Any) -> tuple[Any, ...] | list[Any]:
    """Run all at once and return their results in the order given.

    ``gather(fetch(1), fetch_other)`` returns a tuple, ``gather(iterable)`` a list. Each target is
    an awaitable, or an async function that takes nothing. The first that fails cancels the others,
    and once all have ended a `MultiError` has everything that failed. Raises CancelledError if a
    target was cancelled by hand; TypeError, before anything runs, for what cannot be awaited.
    """
    found, iterable = targets_of("gather", targets)
    left = deque(found)
    tasks = []
    try:
        async with Nursery() as nursery:
            while left:
                tasks.append(nursery.start_soon(left.popleft()))
    finally:
        refuse(left)
    results = [task.result() for task in tasks]
    return results if iterable else tuple(results)


async def map(
    fn: Callable[[Item], Awaitable[T]],
    items: Iterable[Item] | AsyncIterable[Item],
    /,
    *,
    limit: int | None = None,
) -> list[T]:
    """Call an async function for each item, ``limit`` at once, and return the results in order.

    An item is taken when there is a place for it, so the source may be long, lazy or asynchronous.
    Without a limit all run at once. The first call that fails cancels the others, and no further
    item is taken; once all have ended, a `MultiError` has everything that failed. Raises ValueError
    if the limit is less than 1.
    """
    results: list[Any] = []

    async def run(index: int, item: Item) -> None:
        made = fn(item)
        try:
            results[index] = await made
        except TypeError:
            # Only now: a look at each takes a twentieth of the instructions of a call.
            if is_awaitable(made):
                raise
            raise not_awaitable("map", fn, made) from None
        finally:
            # An error's frames lead here: a failed task would be in a cycle with its error.
            del made

    check_async_function("map", fn)
    async with Nursery(limit=limit) as nursery:
        # Each is taken once there is a place: the first has one.
        place = await free_place(nursery)
        if isinstance(items, AsyncIterable):
            async for item in items:
                results.append(None)
                start_in_free_place(nursery, place, run, (len(results) - 1, item))
                place = await free_place(nursery)
                # The source may have given this item in the turn of a failure (R12a).
                await _aionursery.checkpoint_if_cancelled()
        else:
            for item in items:
                results.append(None)
                start_in_free_place(nursery, place, run, (len(results) - 1, item))
                place = await free_place(nursery)
    return cast("list[T]", results)


class as_completed(AsyncIterator[asyncio.Task[T]], Generic[T]):
    """Iterate over tasks in the order in which they end.

    ``async for task in as_completed(tasks)`` gives each task once it is done, as asyncio's function
    does from CPython 3.13 on: ``task.result()`` returns its result or raises its error. The tasks
    run whether they are waited for or not; they are their nursery's, which joins them if the loop
    is left early. `push` adds further ones. A step that is cancelled loses none.
    """

    def __init__(self, tasks: Iterable[asyncio.Task[T]] = (), /) -> None:
        self._left = 0
        self._ended: deque[asyncio.Task[T]] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        found = list(tasks)
        try:
            for task in found:
                self.push(task)
        except BaseException:
            refuse(found)
            raise

    def push(self, task: asyncio.Task[T], /) -> None:
        """Add a task; one that has ended already comes at once.

        Raises TypeError for what is no task, such as a coroutine.
        """
        if not asyncio.isfuture(task):
            raise TypeError(
                f"as_completed() takes tasks, not {task!r}; start them in a nursery, "
                "nursery.start_soon(...)"
            )
        self._left += 1
        if task.done():
            self._end(task)
        else:
            task.add_done_callback(self._end)

    def __len__(self) -> int:
        """How many tasks have not been given yet."""
        return self._left

    def __aiter__(self) -> as_completed[T]:
        return self

    async def __anext__(self) -> asyncio.Task[T]:
        while not self._ended:
            if len(self._waiting) >= self._left:
                raise StopAsyncIteration
            ready = waiter()
            self._waiting.append(ready)
            try:
                await ready
            except BaseException:
                if ready.done() and not ready.cancelled():
                    self._wake()
                elif ready in self._waiting:
                    self._waiting.remove(ready)
                raise
        self._left -= 1
        return self._ended.popleft()

    def _end(self, task: asyncio.Task[T]) -> None:
        self._ended.append(task)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            ready = self._waiting.popleft()
            if not ready.done():
                ready.set_result(None)
                return
