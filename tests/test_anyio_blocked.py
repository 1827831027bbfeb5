"""`anyio.wait_all_tasks_blocked()` on the engine: it knows when, and does not sleep."""

from __future__ import annotations

import asyncio
import threading

import pytest

anyio = pytest.importorskip("anyio")

from aionursery.anyio import _threads  # noqa: E402

from .on_the_engine import BOUND, KINDS, engine, run, run_in  # noqa: E402, F401

pytestmark = pytest.mark.usefixtures("engine")


async def call_in_a_thread(let, ended):
    def work():
        assert let.wait(BOUND)

    await anyio.to_thread.run_sync(work)
    ended.append(True)


@KINDS
def test_a_call_that_a_thread_has_just_been_given_is_waited_for(kind, monkeypatch):
    """As a program does that waits until what it has called has happened."""
    monkeypatch.setattr(_threads, "QUICK", BOUND)

    async def main():
        let, ended = threading.Event(), []
        async with anyio.create_task_group() as group:
            group.start_soon(call_in_a_thread, let, ended)
            asyncio.get_running_loop().call_later(0.01, let.set)
            await anyio.wait_all_tasks_blocked()
            return list(ended)

    assert run(main, kind) == [True]


@KINDS
def test_a_call_that_lasts_is_not_waited_for(kind, monkeypatch):
    monkeypatch.setattr(_threads, "QUICK", 0.01)

    async def main():
        let, ended = threading.Event(), []
        async with anyio.create_task_group() as group:
            group.start_soon(call_in_a_thread, let, ended)
            await anyio.wait_all_tasks_blocked()
            found = list(ended)
            let.set()
        return found, ended

    assert run(main, kind) == ([], [True])


class Sleepless(asyncio.SelectorEventLoop):
    """A loop in which nothing waits for a moment."""

    def call_at(self, *args, **kwargs):
        raise AssertionError("it sleeps")

    call_later = call_at


def test_tasks_are_waited_for_without_a_moment_of_sleep():
    async def busy(ended):
        for _ in range(50):
            await anyio.sleep(0)
        ended.append(True)
        await anyio.Event().wait()

    async def main():
        ended = []
        async with anyio.create_task_group() as group:
            group.start_soon(busy, ended)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        return ended

    assert run_in(main, Sleepless) == [True]
