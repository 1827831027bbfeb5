"""`graceful`: SIGTERM and SIGINT end a nursery in good order."""

from __future__ import annotations

import asyncio
import gc
import math
import signal
import threading
import weakref

import pytest

import aionursery
from aionursery import MultiError, Nursery, TaskGroup, current_time, graceful

from .helpers import abandoned, fail, forever, turns
from .virtual_clock import VirtualLoop, virtual

BOTH = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture(autouse=True)
def handlers():
    """Whatever a test does, the handlers of the process are afterwards as before."""
    before = {number: signal.getsignal(number) for number in BOTH}
    yield before
    after = {number: signal.getsignal(number) for number in BOTH}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


class NoSignals(VirtualLoop):
    """A loop that handles no signals, as on Windows."""

    def add_signal_handler(self, sig, callback, *args):
        raise NotImplementedError

    def remove_signal_handler(self, sig):
        raise NotImplementedError


async def polite(nursery, trace):
    await nursery.stopping.wait()
    await turns(3)
    trace.append("polite")


@pytest.mark.parametrize("number", BOTH)
async def test_a_signal_shuts_the_nursery_down(world, number):
    trace = []
    async with graceful(Nursery(), grace=1_000) as nursery:
        nursery.start_soon(polite, nursery, trace)
        await turns(2)
        signal.raise_signal(number)
        await nursery.stopping.wait()
    assert trace == ["polite"]
    assert not nursery.cancel_scope.cancel_called


@pytest.mark.parametrize("second", BOTH)
async def test_a_second_signal_cancels_at_once(world, second):
    async with graceful(Nursery(), grace=1_000) as nursery:
        child = nursery.start_soon(forever)
        signal.raise_signal(signal.SIGTERM)
        await nursery.stopping.wait()
        assert not nursery.cancel_scope.cancel_called
        signal.raise_signal(second)
    assert child.cancelled()
    assert nursery.cancel_scope.source == "cancel"
    assert "second signal" in nursery.cancel_scope.reason


@virtual
async def test_after_the_grace_what_is_left_is_cancelled():
    for given, seconds in (({"grace": 3}, 3), ({}, 5)):
        begin = current_time()
        async with graceful(Nursery(), **given) as nursery:
            child = nursery.start_soon(forever)
            signal.raise_signal(signal.SIGTERM)
        assert child.cancelled()
        assert current_time() - begin == pytest.approx(seconds)


async def test_only_the_signals_that_are_asked_for_are_handled(world):
    before = signal.getsignal(signal.SIGINT)
    async with graceful(Nursery(), [signal.SIGTERM, signal.SIGTERM]) as nursery:
        assert signal.getsignal(signal.SIGINT) is before
        signal.raise_signal(signal.SIGTERM)
        await nursery.stopping.wait()


async def test_the_handlers_from_before_are_there_again_however_the_block_ends(world):
    def mine(*_):
        raise AssertionError("not while the block is open")

    before = [signal.getsignal(number) for number in BOTH]
    signal.signal(signal.SIGTERM, mine)
    try:
        sigint = signal.getsignal(signal.SIGINT)
        async with graceful(Nursery()) as nursery:
            signal.raise_signal(signal.SIGTERM)
            await nursery.stopping.wait()
        assert [signal.getsignal(number) for number in BOTH] == [mine, sigint]
        with pytest.raises(MultiError):
            async with graceful(Nursery()) as nursery:
                nursery.start_soon(fail(ValueError("child")))
        assert [signal.getsignal(number) for number in BOTH] == [mine, sigint]
        with aionursery.CancelScope() as scope:
            scope.cancel()
            async with graceful(Nursery()):
                await forever()
        assert scope.cancelled_caught
        assert [signal.getsignal(number) for number in BOTH] == [mine, sigint]
    finally:
        for number, handler in zip(BOTH, before, strict=True):
            signal.signal(number, handler)


async def test_a_handler_of_asyncio_s_loop_is_there_again_and_one_of_uvloop_s_is_the_default(world):
    loop = asyncio.get_running_loop()
    heard = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, heard.set)
    try:
        async with graceful(Nursery()) as nursery:
            signal.raise_signal(signal.SIGTERM)
            await nursery.stopping.wait()
        assert not heard.is_set()
        if "uvloop" in world.name:
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        else:
            signal.raise_signal(signal.SIGTERM)
            await heard.wait()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_handlers_are_there_until_the_last_child_has_ended(world):
    async def child(nursery):
        await turns(5)
        signal.raise_signal(signal.SIGTERM)
        await nursery.stopping.wait()

    async with graceful(Nursery(), grace=1_000) as nursery:
        nursery.start_soon(child, nursery)


async def test_a_signal_reaches_all_blocks_that_are_open(world):
    trace = []

    async def service(name):
        async with graceful(Nursery(), grace=1_000) as nursery:
            ready.append(name)
            await nursery.stopping.wait()
            trace.append(name)

    ready = []
    async with graceful(Nursery(), grace=1_000) as outer:
        async with graceful(Nursery(), [signal.SIGINT]) as other:
            outer.start_soon(service, "first")
            outer.start_soon(service, "second")
            while len(ready) < 2:
                await turns(1)
            signal.raise_signal(signal.SIGTERM)
            await outer.stopping.wait()
            assert not other.stopping.is_set()
    assert sorted(trace) == ["first", "second"]


async def test_the_block_that_is_left_first_takes_no_handler_from_the_others(world):
    first, second = graceful(Nursery()), graceful(Nursery())

    async def holds(block, leave):
        async with block as nursery:
            nursery.start_soon(leave.wait)

    leave = [aionursery.Event(), aionursery.Event()]
    async with Nursery() as nursery:
        one = nursery.start_soon(holds, first, leave[0])
        nursery.start_soon(holds, second, leave[1])
        await turns(3)
        leave[0].set()
        await one
        signal.raise_signal(signal.SIGTERM)
        await second._nursery.stopping.wait()
        assert not first._nursery.stopping.is_set()
        leave[1].set()


async def test_it_takes_any_nursery(world):
    async with graceful(TaskGroup()) as group:
        assert isinstance(group, TaskGroup)
        task = group.create_task(turns(1))
    assert task.done()


async def test_errors_of_the_nursery_leave_the_block(world):
    with pytest.raises(MultiError) as caught:
        async with graceful(Nursery()) as nursery:
            nursery.start_soon(fail(ValueError("child")))
            raise KeyError("body")
    assert {type(error) for error in caught.value} == {ValueError, KeyError}


async def test_an_open_nursery_is_refused_and_the_handlers_are_as_before(world):
    before = [signal.getsignal(number) for number in BOTH]
    async with Nursery() as nursery:
        with pytest.raises(RuntimeError):
            async with graceful(nursery):
                pytest.fail("entered twice")
        assert [signal.getsignal(number) for number in BOTH] == before


@pytest.mark.parametrize("number", [signal.SIGKILL, 999])
async def test_a_signal_that_cannot_be_handled_is_refused(world, number):
    before = signal.getsignal(signal.SIGTERM)
    nursery = Nursery()
    with pytest.raises((RuntimeError, ValueError)):
        async with graceful(nursery, [signal.SIGTERM, number]):
            pytest.fail("entered")
    assert signal.getsignal(signal.SIGTERM) == before
    async with nursery:
        pass


@pytest.mark.parametrize("grace", [-1, math.nan])
def test_a_grace_that_is_no_time_is_refused(grace):
    with pytest.raises(ValueError, match="grace"):
        graceful(Nursery(), grace=grace)


def test_outside_the_main_thread_it_is_refused():
    errors = []

    async def main():
        try:
            async with graceful(Nursery()):
                pytest.fail("entered")
        except RuntimeError as exc:
            errors.append(str(exc))

    thread = threading.Thread(target=aionursery.run, args=(main(),))
    thread.start()
    thread.join()
    assert "main thread" in errors[0]


@pytest.mark.parametrize("ours", [False, True], ids=["asyncio", "ours"])
def test_on_a_loop_without_signals_it_does_the_same(ours, handlers):
    async def main():
        trace = []
        begin = current_time()
        async with graceful(Nursery(), grace=3) as nursery:
            nursery.start_soon(polite, nursery, trace)
            stuck = nursery.start_soon(forever)
            signal.raise_signal(signal.SIGTERM)
            assert not nursery.stopping.is_set()
        assert trace == ["polite"] and stuck.cancelled()
        assert current_time() - begin == pytest.approx(3)
        assert signal.getsignal(signal.SIGTERM) == handlers[signal.SIGTERM]

        begin = current_time()
        async with graceful(Nursery(), grace=3) as nursery:
            nursery.start_soon(forever)
            signal.raise_signal(signal.SIGINT)
            await nursery.stopping.wait()
            signal.raise_signal(signal.SIGINT)
        assert current_time() == begin

    with asyncio.Runner(loop_factory=NoSignals) as runner:
        if ours:
            runner.get_loop().set_task_factory(aionursery.task_factory)
        runner.run(main())


def test_r10_a_loop_that_is_stopped_inside_the_block_is_freed():
    # One of uvloop's stays in the process's table of signals, also without us.
    async def main():
        async with graceful(Nursery(), [signal.SIGTERM]) as nursery:
            left.append(weakref.ref(nursery))
            await forever()

    left = []
    left.append(abandoned(asyncio.new_event_loop(), main()))
    gc.collect()
    assert len(left) == 2 and not [ref() for ref in left if ref() is not None]
