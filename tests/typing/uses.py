"""What type checkers must say of ordinary uses. It is checked, and run by `test_typing.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, assert_type

import aionursery
from aionursery import CancelScope, MultiError, Nursery, Task


async def count(text: str, times: int = 1) -> int:
    return len(text) * times


async def nothing() -> None:
    return None


class Waits:
    """Something that can be awaited and is no coroutine."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "waited"


async def children_keep_their_type() -> None:
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    future.set_result(b"set")
    async with Nursery() as nursery:
        assert_type(nursery, Nursery)
        assert_type(nursery.start_soon(count("coroutine")), Task[int])
        assert_type(nursery.start_soon(count, "function", 2), Task[int])
        assert_type(nursery.start_soon(nothing), Task[None])
        assert_type(nursery.start_soon(nothing, name="named", shield=True), Task[None])
        assert_type(nursery.start_soon(Waits()), Task[str])
        assert_type(nursery.start_soon(Waits), Task[str])
        assert_type(nursery.start_soon(future), Task[bytes])
        assert_type(nursery.start_soon(asyncio.shield(count("shielded"))), Task[int])
        assert_type(nursery.start_now(count("at once")), Task[int])
        now = nursery.start_now(count, "at once", 2)
        assert_type(now, Task[int])
        assert_type(await now, int)
        assert_type(now.result(), int)
        assert_type(nursery.children, list[Task[Any]])
        assert_type(nursery.cancel_scope, CancelScope)
        assert_type(nursery.closed, bool)
        assert_type(await now.cancel_and_wait(), None)
        as_asyncio: asyncio.Task[int] = now
        assert_type(await asyncio.gather(as_asyncio, now), tuple[int, int])


async def scopes_and_waits() -> None:
    with aionursery.fail_after(1) as scope:
        assert_type(scope, CancelScope)
        scope.deadline += 1
        scope.shield = False
        scope.cleanup = None
    with aionursery.move_on_after(None), aionursery.shield():
        assert_type(aionursery.current_effective_deadline(), float)
    assert_type(await aionursery.sleep(0), None)
    assert_type(await aionursery.sleep(0, "slept"), str)
    assert_type(await aionursery.checkpoint(), None)
    queue: aionursery.Queue[int] = aionursery.Queue()
    queue.put_nowait(1)
    assert_type(await queue.get(), int)


async def errors() -> None:
    async def fails() -> None:
        raise ValueError("typed")

    caught: list[ExceptionGroup[Exception]] = []
    try:
        async with Nursery() as nursery:
            nursery.start_soon(fails)
    except MultiError as error:
        caught.append(error)
        assert_type(len(error), int)
        for one in error:
            one.add_note("seen")
        error[0].add_note("indexed")
    made = MultiError([ValueError()])
    assert_type(made.names, tuple[str | None, ...])
    assert_type(made, MultiError[ValueError])
    assert_type(made[0], ValueError | ExceptionGroup[ValueError])
    assert [type(one) for one in caught[0].exceptions] == [ValueError]


async def groups() -> None:
    async with aionursery.TaskGroup() as group:
        assert_type(group.create_task(count("grouped")), Task[int])


async def main() -> str:
    await children_keep_their_type()
    await scopes_and_waits()
    await errors()
    await groups()
    return "done"


if __name__ == "__main__":
    assert_type(aionursery.run(main()), str)
