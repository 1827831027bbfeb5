"""The functions of anyio's that `aionursery.anyio` takes the place of: how they are put and put
back, and that they do what anyio's own do.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
import types

import pytest

anyio = pytest.importorskip("anyio")

import aionursery  # noqa: E402
import aionursery.anyio as face  # noqa: E402

from .on_the_engine import KINDS, run, run_in  # noqa: E402

with face.installed(False):
    from anyio import fail_after as own_fail_after
    from anyio._core._eventloop import get_async_backend as own_get_async_backend
    from anyio.lowlevel import checkpoint as own_checkpoint

NAMES = "get_async_backend", "checkpoint", "fail_after", "fail_at"


@pytest.fixture(autouse=True)
def as_it_was():
    before = face.is_installed()
    yield
    (face.install if before else face.uninstall)()


def found():
    """What stands under the names in anyio's modules."""
    return {
        (title, name): vars(module)[name]
        for title, module in list(sys.modules.items())
        if title.partition(".")[0] == "anyio" and isinstance(module, types.ModuleType)
        for name in NAMES
        if name in vars(module)
    }


def test_every_module_of_anyios_has_ours_until_they_are_put_back():
    face.uninstall()
    before = found()
    face.install()
    during = found()
    face.uninstall()
    assert found() == before
    assert before.keys() == during.keys() and len(before) > 10
    assert all(before[key] is not during[key] for key in before)


def test_what_was_imported_before_and_during_goes_on_afterwards():
    face.uninstall()

    async def main(fail_after, checkpoint):
        await checkpoint()
        with fail_after(5) as scope:
            await checkpoint()
        return isinstance(scope, aionursery.CancelScope)

    face.install()
    assert run(lambda: main(own_fail_after, own_checkpoint))
    ours = anyio.fail_after, anyio.lowlevel.checkpoint
    assert run(lambda: main(*ours))
    face.uninstall()
    assert not run(lambda: main(*ours))


@KINDS
def test_fail_after_is_a_scope_whose_time_begins_with_its_block(kind):
    async def main():
        loop = asyncio.get_running_loop()
        scope = anyio.fail_after(5)
        assert isinstance(scope, anyio.CancelScope) and isinstance(scope, aionursery.CancelScope)
        before = loop.time()
        while loop.time() == before:
            pass
        before = loop.time()
        with scope as entered:
            assert entered is scope and before + 5 <= scope.deadline <= loop.time() + 5

    with face.installed():
        run(main, kind)


@KINDS
@pytest.mark.parametrize("words", [None, "too slow"])
def test_fail_after_raises_a_timeout_error_with_its_words(kind, words):
    async def main():
        with pytest.raises(TimeoutError) as caught:
            with anyio.fail_after(0, reason=words) as scope:
                await anyio.sleep(60)
        assert caught.type is TimeoutError and str(caught.value) == (words or "")
        assert caught.value.__cause__ is None
        assert isinstance(caught.value.__context__, asyncio.CancelledError)
        assert scope.cancelled_caught and scope.cancel_called

    if words is None or hasattr(anyio, "fail_at"):
        with face.installed():
            run(main, kind)


@KINDS
def test_fail_after_asks_the_clock_and_not_what_has_cancelled_it(kind):
    """As anyio's: a scope that was cancelled by hand fails where its time is up when it is left."""

    async def main():
        with anyio.fail_after(60) as scope:
            scope.cancel()
            await anyio.sleep(60)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(60) as scope:
                scope.cancel()
                scope.deadline = anyio.current_time()
                await anyio.sleep(60)
        # It has noticed, but nothing was cancelled.
        with anyio.fail_after(-1) as scope:
            pass
        assert not scope.cancelled_caught

    for on in True, False:
        with face.installed(on):
            run(main, kind)


@KINDS
def test_fail_after_takes_its_cancellation_out_of_a_group(kind):
    async def main():
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0):
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep, 60)
        with pytest.raises(ExceptionGroup) as caught:
            with anyio.fail_after(0):
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep, 60)
                    try:
                        await anyio.sleep(60)
                    finally:
                        raise ValueError
        assert [type(error) for error in caught.value.exceptions] == [ValueError]

    with face.installed():
        run(main, kind)


@pytest.mark.skipif(not hasattr(anyio, "fail_at"), reason="anyio has it from 4.15 on")
@KINDS
def test_fail_at_and_none_for_never(kind):
    async def main():
        with pytest.raises(TimeoutError, match="late"):
            with anyio.fail_at(anyio.current_time(), reason="late"):
                await anyio.sleep(60)
        for forever in anyio.fail_at(None), anyio.fail_after(None):
            with forever as scope:
                assert scope.deadline == float("inf")

    with face.installed():
        run(main, kind)


@KINDS
def test_a_checkpoint_can_be_awaited_started_and_cancelled(kind):
    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.lowlevel.checkpoint)
        task = asyncio.create_task(anyio.lowlevel.checkpoint())
        await task
        seen = []
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
            seen.append("went on")
        assert scope.cancelled_caught and seen == []
        order = []
        async with anyio.create_task_group() as group:

            async def other():
                order.append("other")

            group.start_soon(other)
            await anyio.lowlevel.checkpoint()
            order.append("this")
        assert order == ["other", "this"]
        with pytest.raises(TypeError):
            anyio.lowlevel.checkpoint(1)

    with face.installed():
        run(main, kind)


@KINDS
def test_a_checkpoint_is_a_coroutine_function_of_anyios_that_can_be_run(kind):
    with face.installed():
        checkpoint = anyio.lowlevel.checkpoint
        assert checkpoint is not own_checkpoint
        assert inspect.iscoroutinefunction(checkpoint)
        assert (checkpoint.__name__, checkpoint.__module__) == ("checkpoint", "anyio.lowlevel")
        assert checkpoint.__doc__ == own_checkpoint.__doc__
        assert run(checkpoint, kind) is None
        coroutine = checkpoint()
        assert inspect.iscoroutine(coroutine)
        coroutine.close()


@KINDS
def test_a_checkpoint_that_is_not_awaited_warns_of_that(kind):
    async def main():
        with pytest.warns(RuntimeWarning, match="checkpoint.* was never awaited"):
            anyio.lowlevel.checkpoint()

    with face.installed():
        run(main, kind)


def test_outside_of_a_loop_they_are_anyios_own():
    from anyio import NoEventLoopError

    with face.installed():
        find = anyio.lowlevel.get_async_backend
        assert find is not own_get_async_backend
        assert find("asyncio") is own_get_async_backend("asyncio")
        assert find(asynclib_name="asyncio") is own_get_async_backend("asyncio")
        with pytest.raises(NoEventLoopError):
            find()
        with pytest.raises(NoEventLoopError):
            with anyio.fail_after(1):
                pass
        coroutine = anyio.lowlevel.checkpoint()
        with pytest.raises(NoEventLoopError):
            coroutine.send(None)


def test_on_trio_they_are_anyios_own():
    trio = pytest.importorskip("trio")

    async def main():
        await anyio.lowlevel.checkpoint()
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0) as scope:
                await anyio.sleep(60)
        assert not isinstance(scope, aionursery.CancelScope)
        return trio.lowlevel.current_task() is not None

    with face.installed():
        assert anyio.run(main, backend="trio")


def test_they_believe_sniffio_as_anyios_own_do():
    sniffio = pytest.importorskip("sniffio")
    if anyio._core._eventloop.sniffio is None:
        pytest.skip("anyio was imported before sniffio was there")

    pytest.importorskip("trio")

    async def main():
        find = anyio.lowlevel.get_async_backend
        here = find()
        assert here is own_get_async_backend()
        for say in says_by_the_thread, says_by_the_context:
            with say(sniffio, "trio"):
                assert find() is own_get_async_backend() is not here
        with says_by_the_context(sniffio, None):
            assert find() is own_get_async_backend() is here
            loop = asyncio.get_running_loop()
            seen = loop.create_future()

            def outside_of_a_task():
                with pytest.raises(anyio.NoEventLoopError):
                    own_get_async_backend()
                with pytest.raises(anyio.NoEventLoopError):
                    find()
                seen.set_result(True)

            loop.call_soon(outside_of_a_task)
            assert await seen

    with face.installed():
        run(main)


class says_by_the_thread:
    def __init__(self, sniffio, name):
        self.local, self.name = sniffio.thread_local, name

    def __enter__(self):
        self.before, self.local.name = self.local.name, self.name

    def __exit__(self, *_):
        self.local.name = self.before


class says_by_the_context:
    def __init__(self, sniffio, name):
        self.variable, self.name = sniffio.current_async_library_cvar, name

    def __enter__(self):
        self.token = self.variable.set(self.name)

    def __exit__(self, *_):
        self.variable.reset(self.token)


def test_r21_time_is_up_where_the_clock_shows_the_deadline_but_for_its_rounding():
    """uvloop counts in milliseconds, and a sum of such numbers may be a bit more than one."""

    class Exact(asyncio.SelectorEventLoop):
        shown = 1000.0

        def time(self):
            return self.shown

        def call_at(self, when, callback, *args, context=None):
            if when > 1001:
                return super().call_at(when, callback, *args, context=context)
            self.shown = math.nextafter(when, -math.inf)
            return self.call_soon(callback, *args, context=context)

    async def main():
        with pytest.raises(TimeoutError), anyio.fail_after(1) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert anyio.current_time() < scope.deadline

    with face.installed():
        run_in(main, Exact)
