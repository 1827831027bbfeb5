"""`aionursery.anyio`: how it is put in place and taken out, and what it mends of anyio's.

anyio's own tests run on it in `conformance/test_anyio.py`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import weakref

import pytest

anyio = pytest.importorskip("anyio")

import aionursery  # noqa: E402
import aionursery.anyio as face  # noqa: E402
from aionursery.anyio import _fit  # noqa: E402

from .on_the_engine import KINDS, run, run_in  # noqa: E402


@pytest.fixture(autouse=True)
def as_it_was():
    before = face.is_installed()
    yield
    (face.install if before else face.uninstall)()


def backend():
    return anyio._core._eventloop.get_async_backend("asyncio")


async def group_class():
    return type(anyio.create_task_group())


@KINDS
def test_a_program_of_anyios_runs_on_tasks_of_ours(kind):
    async def child():
        return type(asyncio.current_task())

    async def main():
        async with anyio.create_task_group() as group:
            handle = group.start_soon(child)
        return type(asyncio.current_task()), handle.return_value

    with face.installed():
        assert run(main, kind) == (aionursery.Task, aionursery.Task)


def test_uninstall_gives_anyio_its_own_backend_back():
    from anyio._backends._asyncio import AsyncIOBackend, TaskGroup

    face.uninstall()
    face.uninstall()
    assert backend() is AsyncIOBackend and not face.is_installed()
    face.install()
    face.install()
    assert backend() is not AsyncIOBackend and face.is_installed()
    assert run(group_class) is not TaskGroup
    face.uninstall()
    assert run(group_class) is TaskGroup


def test_it_is_off_in_a_block_and_as_before_afterwards():
    face.install()
    with face.installed(False):
        assert not face.is_installed()
        with face.installed():
            assert face.is_installed()
        assert not face.is_installed()
    assert face.is_installed()


@pytest.mark.parametrize("version", ["4.13.9", "5.0.0", "3.7.1"])
def test_a_version_that_does_not_fit_is_refused_and_nothing_is_changed(monkeypatch, version):
    face.uninstall()
    before = backend()
    monkeypatch.setattr(_fit.importlib.metadata, "version", lambda _: version)
    with pytest.raises(face.AnyioMismatchError, match=version.replace(".", r"\.")):
        face.install()
    assert backend() is before


def test_a_private_name_that_is_gone_is_named_and_nothing_is_changed(monkeypatch):
    from anyio._backends import _asyncio as own

    face.uninstall()
    before = backend()
    monkeypatch.delattr(own, "find_root_task")
    monkeypatch.delattr(own.WorkerThread, "stop")
    with pytest.raises(face.AnyioMismatchError) as caught:
        face.install()
    assert "_asyncio.find_root_task" in str(caught.value)
    assert "_asyncio.WorkerThread.stop" in str(caught.value)
    assert backend() is before


def test_each_private_name_is_missed_by_the_check(monkeypatch):
    from anyio._backends import _asyncio as own

    for name in _fit.BACKEND:
        with monkeypatch.context() as patch:
            patch.delattr(own, name)
            with pytest.raises(face.AnyioMismatchError, match=f"_asyncio.{name}"):
                _fit.check()


def test_anyios_own_module_is_not_changed():
    program = """
import anyio._backends._asyncio as own
before = dict(vars(own))
import aionursery.anyio
aionursery.anyio.install()
assert dict(vars(own)) == before
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_new_event_loop_installs_and_makes_tasks_of_ours():
    face.uninstall()
    loop = face.new_event_loop()
    try:

        async def main():
            return type(asyncio.current_task()), await group_class()

        task, group = loop.run_until_complete(main())
    finally:
        loop.close()
    assert task is aionursery.Task and issubclass(group, anyio.abc.TaskGroup)
    assert face.is_installed()


class Counting(asyncio.SelectorEventLoop):
    """A loop that counts its turns."""

    turns = 0

    def _run_once(self):
        self.turns += 1
        super()._run_once()


class Stubborn(asyncio.Future):
    """A future that cannot be cancelled."""

    def cancel(self, msg=None):
        return False


def turns_while_something_is_cancelled(wait):
    """How many turns a loop takes while a cancelled task does not end for 0.02 seconds."""

    async def main():
        loop = asyncio.get_running_loop()
        end = Stubborn()
        async with anyio.create_task_group() as group:
            group.start_soon(wait, end)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            before = loop.turns
            loop.call_later(0.02, end.set_result, None)
        return loop.turns - before

    return run_in(main, Counting)


async def await_it(end):
    await end


async def clean_up(end):
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await end


async def shield_it(end):
    with anyio.CancelScope(shield=True):
        await end


async def join_what_shields_it(end):
    async with anyio.create_task_group() as group:
        group.start_soon(shield_it, end)


@pytest.mark.parametrize("wait", [await_it, clean_up, shield_it, join_what_shields_it])
def test_nothing_polls_while_a_cancelled_task_does_not_end(wait):
    """agronholm/anyio#1257 and its kin."""
    with face.installed():
        assert turns_while_something_is_cancelled(wait) < 20


async def join_what_cleans_up(end):
    async def cleans_up():
        try:
            await asyncio.sleep(60)
        finally:
            await end

    async with asyncio.TaskGroup() as group:
        group.create_task(cleans_up())


def test_what_goes_on_to_wait_for_the_same_is_asked_a_hundred_times_and_then_let_wait():
    """As a group of asyncio's does: with anyio's own backend it is asked in every turn."""
    with face.installed():
        assert turns_while_something_is_cancelled(join_what_cleans_up) < 150


@KINDS
def test_a_child_that_fails_cancels_its_group_at_once(kind):
    """agronholm/anyio#787: not a turn later."""

    async def fail():
        raise ValueError

    async def main():
        seen = []
        try:
            async with anyio.create_task_group() as group:

                async def look():
                    seen.append(group.cancel_scope.cancel_called)

                group.start_soon(fail)
                group.start_soon(look)
                await anyio.sleep(1)
        except* ValueError:
            pass
        return seen

    with face.installed():
        assert run(main, kind) == [True]


def test_a_task_that_has_ended_in_a_misnested_scope_holds_no_cpu():
    """agronholm/anyio#1111."""

    async def enter_and_end(scope):
        scope.__enter__()

    async def main():
        loop = asyncio.get_running_loop()
        scope = anyio.CancelScope()
        await asyncio.create_task(enter_and_end(scope))
        scope.cancel()
        before = loop.turns
        await asyncio.sleep(0.02)
        return loop.turns - before

    with face.installed():
        assert anyio.run(main, backend="asyncio", backend_options={"loop_factory": Counting}) < 20


@KINDS
def test_a_thread_is_joined_by_the_scope_that_cancels_its_caller(kind):
    begun, let, ended = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        let.wait(10)
        ended.append(True)

    async def main():
        async with aionursery.Nursery() as nursery:
            nursery.start_soon(anyio.to_thread.run_sync, work)
            while not begun.is_set():
                await asyncio.sleep(0)
            nursery.cancel()
            asyncio.get_running_loop().call_soon(let.set)
        return list(ended)

    with face.installed():
        assert run(main, kind) == [True]


@KINDS
def test_a_thread_hears_of_the_cancellation_and_what_it_runs_in_the_loop_does_too(kind):
    async def main():
        started = anyio.Event()

        async def in_the_loop():
            started.set()
            await anyio.sleep_forever()

        def work():
            try:
                anyio.from_thread.run(in_the_loop)
            except asyncio.CancelledError:
                anyio.from_thread.check_cancelled()

        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, work)
                await started.wait()
                scope.cancel()
        return scope.cancelled_caught

    with face.installed():
        assert run(main, kind)


def test_without_anyio_the_import_says_what_to_install():
    program = """
import sys
import aionursery, importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "anyio" else find(name)
try:
    import aionursery.anyio
except ImportError as error:
    assert "install anyio 4.14 or later: pip install 'anyio>=4.14,<5'" in str(error), error
else:
    raise SystemExit("it was imported")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_group_that_is_closed_at_its_end_is_left(caplog):
    async def group():
        async with anyio.create_task_group():
            pass

    async def main():
        coroutine = group()
        coroutine.send(None)
        coroutine.close()

    with face.installed():
        run(main)
    assert caplog.text == ""


def test_a_group_that_is_open_stays_the_engines_when_anyio_gets_its_own_back():
    async def child(*, task_status=anyio.TASK_STATUS_IGNORED):
        task_status.started("ready")
        await anyio.sleep(0)
        return type(asyncio.current_task())

    async def main():
        async with anyio.create_task_group() as group:
            face.uninstall()
            value = await group.start(child)
            handle = group.start_soon(child)
        return value, handle.return_value

    with face.installed():
        assert run(main) == ("ready", aionursery.Task)


@KINDS
def test_a_handle_cancels_its_child_again_and_again_and_no_sibling(kind):
    async def stubborn(thrown):
        for _ in range(3):
            try:
                await anyio.sleep(60)
            except anyio.get_cancelled_exc_class():
                thrown.append(asyncio.current_task().get_name())
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0)
        return "done"

    async def main():
        thrown = []
        async with anyio.create_task_group() as group:
            handle = group.start_soon(stubborn, thrown, name="stubborn")
            sibling = group.start_soon(anyio.sleep, 0.01)
            await anyio.sleep(0)
            handle.cancel()
            assert handle.status is anyio.TaskHandle.Status.CANCELLING
            await handle.wait()
        assert handle.status is anyio.TaskHandle.Status.FINISHED
        assert (handle.return_value, handle.exception) == ("done", None)
        assert sibling.status is anyio.TaskHandle.Status.FINISHED
        return thrown

    with face.installed():
        assert run(main, kind) == ["stubborn"] * 3


@KINDS
def test_r19_a_scope_that_a_child_has_entered_keeps_a_handles_cancellation_out(kind):
    async def child(left):
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.01)
            left.append("shield")
        await anyio.sleep(60)

    async def main():
        left = []
        async with anyio.create_task_group() as group:
            handle = group.start_soon(child, left)
            await anyio.sleep(0)
            handle.cancel()
        assert handle.status is anyio.TaskHandle.Status.CANCELLED
        with pytest.raises(anyio.TaskCancelled):
            _ = handle.return_value
        return left

    with face.installed():
        assert run(main, kind) == ["shield"]


@KINDS
def test_a_handle_is_anyios_and_says_what_its_child_is_called(kind):
    async def child():
        await anyio.sleep(0)

    async def main():
        async with anyio.create_task_group() as group:
            handle = group.start_soon(child)
            named = group.create_task(child(), name="named")
            assert isinstance(handle, anyio.TaskHandle) and isinstance(named, anyio.TaskHandle)
            assert handle.coro.cr_code is child.__code__
        with pytest.raises(RuntimeError, match="not active"):
            group.start_soon(child)
        assert handle.name == f"{child.__module__}.{child.__qualname__}"
        return named.name

    with face.installed():
        assert run(main, kind) == "named"


@KINDS
def test_what_starts_no_coroutine_is_refused_by_the_functions_name(kind):
    def plain():
        return 1

    async def main():
        async with anyio.create_task_group() as group:
            with pytest.raises(TypeError, match=r"plain.*not a coroutine"):
                group.start_soon(plain)

    with face.installed():
        run(main, kind)


@KINDS
def test_r9_an_interrupt_leaves_a_scope_that_was_left_by_hand(kind):
    async def main():
        with anyio.CancelScope() as scope:
            scope.__exit__(None, None, None)
            raise KeyboardInterrupt

    with face.installed(), pytest.raises(KeyboardInterrupt):
        run(main, kind)


@KINDS
def test_all_that_a_group_has_is_in_its_group_beside_an_interrupt(kind):
    async def interrupts():
        await anyio.sleep(0)
        raise KeyboardInterrupt

    async def fails():
        try:
            await anyio.sleep(60)
        finally:
            raise ValueError

    async def main():
        with pytest.raises(BaseExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                group.start_soon(fails)
                group.start_soon(interrupts)
        return sorted(type(error).__name__ for error in caught.value.exceptions)

    with face.installed():
        assert run(main, kind) == ["KeyboardInterrupt", "ValueError"]


@KINDS
def test_a_group_leaves_nothing_for_the_collector(kind):
    import gc

    async def child():
        await anyio.sleep(0)

    async def main():
        async with anyio.create_task_group() as group:
            handle = group.start_soon(child)
            group.cancel_scope.deadline = anyio.current_time() + 60
        found = weakref.ref(group), weakref.ref(handle)
        del group, handle
        return [it() for it in found]

    gc.disable()
    try:
        with face.installed():
            assert run(main, kind) == [None, None]
    finally:
        gc.enable()


class Given(asyncio.SelectorEventLoop):
    """A loop that counts what it is given to call."""

    calls = 0

    def get_debug(self):
        # In debug mode more is given to it, which is shown then.
        return False

    def call_soon(self, *args, **kwargs):
        self.calls += 1
        return super().call_soon(*args, **kwargs)


def calls_for_items_of_a_memory_stream(items):
    """How many calls the loop is given while one task sends these and another receives them."""

    async def main():
        send, receive = anyio.create_memory_object_stream()
        got = []

        async def produce():
            async with send:
                for item in items:
                    await send.send(item)

        async def consume():
            async with receive:
                async for item in receive:
                    got.append(item)

        loop = asyncio.get_running_loop()
        before = loop.calls
        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            group.start_soon(consume)
        assert got == [*items]
        return loop.calls - before

    return run_in(main, Given)


def test_an_item_of_a_memory_stream_is_one_call_of_the_loop_a_turn():
    """agronholm/anyio#1005: on anyio's own backend each task and each event is one."""
    items = range(100)
    with face.installed(False):
        assert calls_for_items_of_a_memory_stream(items) >= 3 * len(items)
    with face.installed():
        assert calls_for_items_of_a_memory_stream(items) <= 2 * len(items) + 10


@KINDS
@pytest.mark.parametrize("on", [True, False])
def test_a_shield_of_anyios_keeps_out_scopes_and_lets_a_bare_cancellation_in(kind, on):
    """R20 is for the engine's own shields; anyio's hold against scopes only."""

    async def main():
        inside = anyio.Event()

        async def child():
            with anyio.CancelScope() as outer:
                outer.cancel()
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0)
                    inside.set()
                    await anyio.sleep_forever()

        task = asyncio.create_task(child())
        await inside.wait()
        task.cancel("by hand")
        with pytest.raises(asyncio.CancelledError, match="by hand"):
            await task
        return task.cancelled()

    with face.installed(on):
        assert run(main, kind)


@KINDS
def test_a_shield_of_the_engines_holds_a_bare_cancellation_back_in_a_task_group(kind):
    async def main():
        order = []

        async def child():
            try:
                with aionursery.shield():
                    await anyio.sleep(0)
                    order.append("shielded")
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                order.append("cancelled")
                raise

        async with anyio.create_task_group() as group:
            handle = group.start_soon(child)
            await anyio.lowlevel.checkpoint()
            handle._task.cancel()
        return order

    with face.installed():
        assert run(main, kind) == ["shielded", "cancelled"]


@KINDS
@pytest.mark.parametrize("on", [True, False])
def test_what_is_known_of_a_task_stays_when_it_has_ended(kind, on):
    async def main():
        found = []

        async def child():
            found.append(anyio.get_current_task())

        async with anyio.create_task_group() as group:
            group.start_soon(child, name="a child")
        (info,) = found
        this = anyio.get_current_task()
        assert info.name == "a child" and info.parent_id == this.id != info.id
        assert this.parent_id is None and info.coro is not None
        assert not info.has_pending_cancellation()
        assert info == info and info != this and len({info, this, anyio.get_current_task()}) == 2

    with face.installed(on):
        run(main, kind)


@KINDS
def test_a_child_that_is_cancelled_by_hand_cancels_its_group_from_now_on(kind, caplog):
    async def child():
        asyncio.current_task().cancel()
        await anyio.sleep(1)

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            await anyio.sleep(5)

    with face.installed():
        run(main, kind)
    # It would be named as one that has not ended for ten seconds.
    assert "was cancelled" not in caplog.text
