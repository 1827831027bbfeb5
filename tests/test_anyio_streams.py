"""anyio's memory object streams on the engine: anyio's by type, errors and order, and channels of
the engine's inside. anyio's own tests of them run in `conformance/test_anyio.py`.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import math

import pytest

anyio = pytest.importorskip("anyio")

from anyio.streams.memory import (  # noqa: E402
    MemoryObjectReceiveStream,
    MemoryObjectSendStream,
    MemoryObjectStreamStatistics,
)

import aionursery.anyio as face  # noqa: E402

from .on_the_engine import KINDS, run  # noqa: E402

ANYIO = tuple(map(int, importlib.metadata.version("anyio").split(".")[:2]))


def is_ours(stream):
    return type(stream).__module__.startswith("aionursery.")


@KINDS
def test_a_stream_is_one_of_anyios_and_its_statistics_are(kind):
    async def main():
        send, receive = anyio.create_memory_object_stream[int](math.inf)
        with send, receive, send.clone():
            assert is_ours(send) and is_ours(receive)
            assert isinstance(send, MemoryObjectSendStream)
            assert isinstance(receive, MemoryObjectReceiveStream)
            send.send_nowait(1)
            await send.send(2)
            found = receive.statistics()
            assert type(found) is MemoryObjectStreamStatistics
            assert found == (2, math.inf, 2, 1, 0, 0)
            return await receive.receive(), receive.receive_nowait()

    with face.installed():
        assert run(main, kind) == (1, 2)


@KINDS
def test_its_errors_are_anyios(kind):
    async def main():
        send, receive = anyio.create_memory_object_stream[int](1)
        send.send_nowait(1)
        with pytest.raises(anyio.WouldBlock):
            send.send_nowait(2)
        assert await receive.receive() == 1
        with pytest.raises(anyio.WouldBlock):
            receive.receive_nowait()
        other = send.clone()
        send.close()
        for call in (send.send_nowait, send.send):
            with pytest.raises(anyio.ClosedResourceError):
                await call(1)
        with pytest.raises(anyio.ClosedResourceError):
            send.clone()
        other.close()
        with pytest.raises(anyio.EndOfStream):
            receive.receive_nowait()
        with pytest.raises(anyio.EndOfStream):
            await receive.receive()
        assert [item async for item in receive] == []
        receive.close()
        receive.close()
        for call in (receive.receive_nowait, receive.receive, receive.__anext__):
            with pytest.raises(anyio.ClosedResourceError):
                await call()
        send, receive = anyio.create_memory_object_stream[int]()
        with send:
            receive.close()
            for call in (send.send_nowait, send.send):
                with pytest.raises(anyio.BrokenResourceError):
                    await call(1)

    with face.installed():
        run(main, kind)


#: anyio's own streams tell what waits at an end that its own end is closed, from this version on.
TELLS_ITS_OWN = (4, 16)


def told_of_a_close(kind):
    """What waits at each end is told when each is closed; None where it goes on waiting."""

    async def main():
        async def call(function, *args):
            try:
                await function(*args)
            except Exception as error:
                told.append(type(error))

        told = []
        for closes in ("send", "receive"):
            for waits in ("send", "receive"):
                send, receive = anyio.create_memory_object_stream[int]()
                with send, receive:
                    async with anyio.create_task_group() as group:
                        if waits == "send":
                            group.start_soon(call, send.send, 1)
                        else:
                            group.start_soon(call, receive.receive)
                        await anyio.wait_all_tasks_blocked()
                        before = len(told)
                        (send if closes == "send" else receive).close()
                        await anyio.wait_all_tasks_blocked()
                        if len(told) == before:
                            told.append(None)
                        group.cancel_scope.cancel()
        return told

    return run(main, kind)


@KINDS
def test_what_waits_is_told_that_the_other_side_has_closed_or_its_own(kind):
    own = anyio.ClosedResourceError
    told = [own, anyio.EndOfStream, anyio.BrokenResourceError, own]
    with face.installed():
        assert told_of_a_close(kind) == told
    if ANYIO < TELLS_ITS_OWN:
        told[0] = told[3] = None
    with face.installed(False):
        assert told_of_a_close(kind) == told


@KINDS
def test_each_call_is_a_checkpoint_also_where_it_need_not_wait(kind):
    async def main():
        send, receive = anyio.create_memory_object_stream[int](10)
        with send, receive:
            turns = []
            async with anyio.create_task_group() as group:
                group.start_soon(ticks, turns)
                await send.send(1)
                await send.send(2)
                await receive.receive()
                seen = len(turns)
                group.cancel_scope.cancel()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await receive.receive()
            assert scope.cancelled_caught
            with anyio.CancelScope() as scope:
                scope.cancel()
                await send.send(3)
            return seen, scope.cancelled_caught, receive.receive_nowait(), send.statistics()[0]

    async def ticks(turns):
        while True:
            turns.append(None)
            await anyio.lowlevel.checkpoint()

    with face.installed():
        seen, *rest = run(main, kind)
    assert seen >= 2 and rest == [True, 2, 0]


@KINDS
def test_an_item_that_was_handed_to_a_task_that_is_cancelled_goes_to_the_next(kind):
    async def main():
        async def take(name):
            got.append((name, await receive.receive()))

        send, receive = anyio.create_memory_object_stream[int]()
        got = []
        with send, receive:
            first = asyncio.ensure_future(take("first"))
            second = asyncio.ensure_future(take("second"))
            await anyio.wait_all_tasks_blocked()
            send.send_nowait(1)
            first.cancel()
            await asyncio.wait([first, second])
            assert first.cancelled()
        return got

    with face.installed():
        assert run(main, kind) == [("second", 1)]


@KINDS
@pytest.mark.parametrize("size", [0, 1])
def test_what_a_cancelled_task_sends_can_be_taken_until_the_task_goes_on(kind, size):
    async def main():
        async def sends():
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await send.send("sent")
            ended.append(scope.cancelled_caught)

        scopes, ended = [], []
        send, receive = anyio.create_memory_object_stream(size)
        with send, receive:
            async with anyio.create_task_group() as group:
                for item in range(size):
                    send.send_nowait(item)
                group.start_soon(sends)
                await anyio.wait_all_tasks_blocked()
                scopes[0].cancel()
                got = [receive.receive_nowait() for _ in range(size + 1)]
                with pytest.raises(anyio.WouldBlock):
                    receive.receive_nowait()
        return got, ended

    with face.installed():
        ours = run(main, kind)
    with face.installed(False):
        assert ours == run(main, kind) == ([*range(size), "sent"], [True])


@KINDS
def test_a_stream_that_is_made_without_our_backend_is_anyios_own(kind):
    async def main():
        made = anyio.create_memory_object_stream[int]()
        for stream in made:
            stream.close()
        return [is_ours(stream) for stream in made]

    with face.installed():
        create = anyio.create_memory_object_stream
        outside = create(3)
        for stream in outside:
            stream.close()
        assert not any(map(is_ours, outside))
        assert run(main, kind) == [True, True]
    assert anyio.create_memory_object_stream is not create
    with face.installed(False):
        assert run(main, kind) == [False, False]


@KINDS
@pytest.mark.parametrize("size", [-1, 1.5, "1"])
def test_a_size_that_anyio_refuses_is_refused(kind, size):
    async def main():
        with pytest.raises(ValueError):
            anyio.create_memory_object_stream(size)

    with face.installed():
        run(main, kind)


@KINDS
def test_a_stream_that_is_not_closed_warns_of_that(kind):
    async def main():
        anyio.create_memory_object_stream()
        gc.collect()

    with face.installed(), pytest.warns(ResourceWarning, match="Unclosed <MemoryObject"):
        run(main, kind)
