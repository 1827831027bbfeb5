"""What type checkers must say of ordinary uses. It is checked, and run by `test_typing.py`."""

from __future__ import annotations

import asyncio
import contextvars
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack
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
        assert_type(nursery.start_service(count, "service", 2), Task[int])
        assert_type(nursery.start_service(nothing()), Task[None])
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


async def many_keep_their_types() -> None:
    one, two = count("one"), nothing
    assert_type(await aionursery.gather(one, two), tuple[int, None])
    assert_type(await aionursery.gather(Waits(), nothing(), count("three")), tuple[str, None, int])
    assert_type(await aionursery.gather(Waits(), Waits, Waits, Waits), tuple[str, str, str, str])
    assert_type(await aionursery.gather(*[Waits(), Waits()]), tuple[str, ...])
    assert_type(await aionursery.gather(count(text) for text in "abc"), list[int])
    assert_type(await aionursery.gather([nothing, nothing]), list[None])
    assert_type(await aionursery.map(count, ["a", "b"], limit=2), list[int])
    assert_type(await aionursery.race(count("won"), aionursery.sleep_forever), int | None)
    assert_type(await aionursery.race([Waits(), Waits()], stagger=0.1), str)
    async with Nursery(on_error=print, context=contextvars.copy_context()):
        pass
    async with Nursery(limit=2, relative_deadline=60) as nursery:
        tasks = [nursery.start_soon(count, "abc") for _ in range(3)]
        assert_type(await nursery.start_when_free(count, "d", 2), Task[int])
        assert_type(await nursery.start_when_free(nothing()), Task[None])
        async for task in aionursery.as_completed(tasks):
            assert_type(task.result(), int)
    assert_type(aionursery.current_time(), float)


@aionursery.as_safe_channel
async def letters(text: str) -> AsyncGenerator[str, None]:
    for letter in text:
        yield letter


async def serve(
    host: str, port: int = 80, *, task_status: aionursery.TaskStatus[tuple[str, int]]
) -> None:
    task_status.started((host, port))


async def ready(*, task_status: aionursery.TaskStatus[None]) -> None:
    task_status.started()


async def untyped(*args: object, task_status: Any) -> None:
    task_status.started(len(args))


async def what_starts_says_what_it_hands_over() -> None:
    async with Nursery() as nursery:
        assert_type(await nursery.start(serve, "localhost", 8080), tuple[str, int])
        assert_type(await nursery.start(serve, "localhost", name="server"), tuple[str, int])
        assert_type(await nursery.start(ready), None)
        untyped_value: int = await nursery.start(untyped, 1, 2)
        assert untyped_value == 2


async def returns_out_of_a_deadline(seconds: float) -> int:
    # No checker may miss a return after the block: fail_after raises and swallows nothing.
    with aionursery.fail_after(seconds):
        return await aionursery.sleep(0, 1)


async def returns_out_of_a_shield() -> int:
    with aionursery.shield(), aionursery.fail_at(aionursery.current_time() + 60):
        return await aionursery.sleep(0, 2)


async def a_quiet_deadline_may_leave_the_block() -> int | None:
    with aionursery.move_on_after(60):
        return await returns_out_of_a_deadline(60)
    return None


def takes_a_scope(scope: CancelScope) -> float:
    return scope.deadline


async def channels() -> None:
    send, receive = aionursery.open_channel[int](1)
    assert_type(send, aionursery.SendChannel[int])
    assert_type(receive.clone(), aionursery.ReceiveChannel[int])
    assert_type(await send.send(1), None)
    assert_type(await receive.receive(), int)
    send.send_nowait(2)
    assert_type(receive.receive_nowait(), int)
    assert_type(send.statistics(), aionursery.ChannelStatistics)
    async with send, receive:
        send.close()
        async for item in receive:
            assert_type(item, int)
    async with letters("abc") as channel:
        assert_type(channel, aionursery.ReceiveChannel[str])
        async for letter in channel:
            assert_type(letter, str)


def plain(text: str, times: int) -> bytes:
    aionursery.check_cancelled()
    assert_type(aionursery.from_thread.run(count, text, times), int)
    assert_type(aionursery.from_thread.run_sync(len, text), int)
    return text.encode() * times


async def threads_and_processes() -> None:
    limiter = aionursery.CapacityLimiter(1)
    assert_type(await aionursery.to_thread(plain, "a", 2, limiter=limiter), bytes)
    async with limiter:
        assert_type(limiter.statistics().borrowed_tokens, int)
    async with Nursery() as nursery:
        assert_type(nursery.start_thread(plain, "a", 2, abandon=True), Task[bytes])
        assert_type(nursery.start_process(abs, -1, grace=1), Task[int])
    assert_type(await aionursery.to_process(len, "abc"), int)


async def services() -> None:
    async with Nursery() as nursery:
        assert_type(nursery.stopping, aionursery.Event)
        nursery.start_soon(nursery.stopping.wait)
        nursery.shutdown(grace=1)
        assert_type(nursery.start_soon(aionursery.supervise(count, "a", 2)), Task[int])
    assert_type(await aionursery.supervise(nothing, max_restarts=None, backoff=0), None)
    assert_type(await aionursery.supervise(Waits, within=1, backoff=lambda n: n * 0.5), str)
    assert_type(aionursery.SupervisorError([KeyError()])[0], Exception | ExceptionGroup[Exception])
    async with aionursery.graceful(Nursery(limit=2), grace=1) as stoppable:
        assert_type(stoppable, Nursery)
    async with aionursery.graceful(aionursery.TaskGroup(), [signal.SIGTERM]) as group:
        assert_type(group, aionursery.TaskGroup)


async def scopes_and_waits() -> None:
    with aionursery.fail_after(1) as scope:
        assert_type(scope, CancelScope)
        scope.deadline += 1
        scope.cancel_after(60)
        remove = scope.on_cancel(abs, -1)
        assert_type(remove(), bool)
        scope.shield = False
        scope.cleanup = None
    with aionursery.move_on_after(None), aionursery.shield():
        assert_type(aionursery.current_effective_deadline(), float)
    takes_a_scope(aionursery.fail_after(1))
    takes_a_scope(aionursery.shield())
    takes_a_scope(aionursery.shield(deadline=1))
    assert_type(await aionursery.sleep(0), None)
    assert_type(await aionursery.sleep(0, "slept"), str)
    assert_type(await aionursery.checkpoint(), None)
    queue: aionursery.Queue[int] = aionursery.Queue()
    queue.put_nowait(1)
    assert_type(await queue.get(), int)


async def blocks_in_an_exit_stack() -> None:
    send, receive = aionursery.open_channel[int](1)
    async with AsyncExitStack() as stack:
        assert_type(await stack.enter_async_context(Nursery()), Nursery)
        group = await stack.enter_async_context(aionursery.TaskGroup())
        assert_type(group, aionursery.TaskGroup)
        stoppable = await stack.enter_async_context(aionursery.graceful(Nursery()))
        assert_type(stoppable, Nursery)
        await stack.enter_async_context(aionursery.CapacityLimiter(1))
        assert_type(await stack.enter_async_context(send), aionursery.SendChannel[int])
        assert_type(await stack.enter_async_context(receive), aionursery.ReceiveChannel[int])
        assert_type(stack.enter_context(aionursery.move_on_after(60)), CancelScope)


async def tree_variables() -> None:
    var = aionursery.TreeVar[str]("var")
    token = var.set("set")
    assert_type(token, aionursery.TreeToken[str])
    assert_type(var.get(), str)
    assert_type(var.get(None), str | None)
    var.reset(token)
    counted = aionursery.TreeVar("counted", default=1)
    assert_type(counted, aionursery.TreeVar[int])
    with counted.being(2):
        assert_type(counted.get(), int)


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


class NamedGroup(aionursery.TaskGroup):
    """A group that has arguments of its own."""

    def __init__(self, name: str, *, times: int = 1) -> None:
        super().__init__()
        self.name = name
        self.times = times


async def groups() -> None:
    async with aionursery.TaskGroup() as group:
        assert_type(group, aionursery.TaskGroup)
        assert_type(group.create_task(count("grouped")), Task[int])
    async with NamedGroup("named", times=2) as named:
        assert_type(named, NamedGroup)
        assert_type(named.create_task(count(named.name, named.times)), Task[int])


async def main() -> str:
    await children_keep_their_type()
    await many_keep_their_types()
    await what_starts_says_what_it_hands_over()
    assert await returns_out_of_a_deadline(60) == 1
    assert await returns_out_of_a_shield() == 2
    assert await a_quiet_deadline_may_leave_the_block() == 1
    await channels()
    await threads_and_processes()
    await services()
    await scopes_and_waits()
    await blocks_in_an_exit_stack()
    await tree_variables()
    await errors()
    await groups()
    return "done"


if __name__ == "__main__":
    assert_type(aionursery.run(main()), str)
