"""Children of a task group of anyio's that are started in another thread's event loop.

anyio's own backend lets that happen, and changes the group from the wrong thread. On the engine
such a child runs in the caller's loop; its group waits for it, cancels it and is failed by it.
"""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

anyio = pytest.importorskip("anyio")

from .loop_kinds import LOOPS  # noqa: E402
from .on_the_engine import BOUND, KINDS, engine, run  # noqa: E402, F401

pytestmark = pytest.mark.usefixtures("engine")


def never_awaited(warnings):
    return [it for it in warnings if "never awaited" in str(it.message)]


class Owner(threading.Thread):
    """A thread whose loop holds a task group open until it is told to leave or to cancel it."""

    def __init__(self, kind):
        super().__init__(daemon=True)
        self.kind = kind
        self.group = self.error = None
        self.opened = threading.Event()
        self.told_to_leave = None

    def __enter__(self):
        self.start()
        assert self.opened.wait(BOUND)
        return self

    def __exit__(self, *_):
        self.leave()

    def run(self):
        try:
            run(self.main, self.kind)
        except BaseException as error:
            self.error = error

    async def main(self):
        self.loop = asyncio.get_running_loop()
        self.told_to_leave = anyio.Event()
        async with anyio.create_task_group() as self.group:
            self.opened.set()
            await self.told_to_leave.wait()

    def call(self, function, *args):
        self.loop.call_soon_threadsafe(function, *args)

    def tell_to_leave(self):
        try:
            self.call(self.told_to_leave.set)
        except RuntimeError:
            assert self.loop.is_closed()

    def leave(self):
        self.tell_to_leave()
        self.join(BOUND)
        assert not self.is_alive()


@pytest.fixture
def owner(kind, engine):  # noqa: F811
    """A thread with a task group, in which nothing may fail."""
    with Owner(kind) as owner:
        yield owner
    assert owner.error is None


async def joined(owner):
    """Wait for the owner's thread, with this loop running."""
    await anyio.to_thread.run_sync(owner.join, BOUND)
    assert not owner.is_alive()


@KINDS
@pytest.mark.parametrize("method", ["start_soon", "create_task"])
def test_a_child_runs_in_the_callers_loop_and_its_group_waits_for_it(kind, owner, method):
    async def child(begun, let):
        begun.set()
        await let.wait()
        return threading.current_thread(), asyncio.get_running_loop()

    async def main():
        begun, let = anyio.Event(), anyio.Event()
        if method == "start_soon":
            handle = owner.group.start_soon(child, begun, let, name="named")
        else:
            handle = owner.group.create_task(child(begun, let), name="named")
        await begun.wait()
        owner.tell_to_leave()
        # Its loop has had its turns, and it is still there.
        await anyio.to_thread.run_sync(run_turns, owner.loop)
        assert owner.is_alive()
        let.set()
        assert await handle == (threading.current_thread(), asyncio.get_running_loop())
        assert handle.name == "named"
        await joined(owner)

    run(main, kind)


def run_turns(loop):
    async def turns():
        for _ in range(10):
            await anyio.sleep(0)

    asyncio.run_coroutine_threadsafe(turns(), loop).result(BOUND)


@KINDS
def test_the_groups_cancellation_reaches_a_child_in_its_own_loop(kind, owner):
    seen = []

    async def child(begun):
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0)
            seen.append(threading.current_thread())

    async def main():
        begun = anyio.Event()
        handle = owner.group.start_soon(child, begun)
        await begun.wait()
        owner.call(owner.group.cancel_scope.cancel)
        await handle.wait()
        assert handle.status is anyio.TaskHandle.Status.CANCELLED
        await joined(owner)

    run(main, kind)
    assert seen == [threading.current_thread()]


@KINDS
def test_a_childs_failure_is_its_groups(kind):
    async def fail():
        await anyio.sleep(0)
        raise ValueError("of a child elsewhere")

    async def main():
        handle = owner.group.start_soon(fail)
        await handle.wait()
        assert isinstance(handle.exception, ValueError)
        await joined(owner)

    with Owner(kind) as owner:
        run(main, kind)
    assert isinstance(owner.error, ExceptionGroup)
    assert [str(error) for error in owner.error.exceptions] == ["of a child elsewhere"]


@KINDS
def test_a_handle_cancels_a_child_elsewhere_and_not_its_group(kind, owner):
    async def main():
        handle = owner.group.start_soon(anyio.sleep_forever)
        await anyio.sleep(0)
        handle.cancel()
        await handle.wait()
        assert handle.status is anyio.TaskHandle.Status.CANCELLED
        other = owner.group.start_soon(anyio.sleep, 0)
        await other.wait()
        assert other.status is anyio.TaskHandle.Status.FINISHED

    run(main, kind)


@KINDS
@pytest.mark.parametrize("with_handle", [False, True])
def test_start_hands_a_ready_child_over_to_its_group(kind, owner, with_handle):
    async def child(*, task_status):
        task_status.started("ready")
        with pytest.raises(RuntimeError, match="called 'started' twice"):
            task_status.started()
        await anyio.sleep_forever()

    async def main():
        with anyio.CancelScope() as scope:
            found = await owner.group.start(child, return_handle=with_handle)
            scope.cancel()
        assert (found.start_value if with_handle else found) == "ready"
        # The caller's scope is not the child's any more, and the group's is.
        if with_handle:
            assert found.status is anyio.TaskHandle.Status.PENDING
            owner.call(owner.group.cancel_scope.cancel)
            await found.wait()
            assert found.status is anyio.TaskHandle.Status.CANCELLED
        else:
            owner.call(owner.group.cancel_scope.cancel)
        await joined(owner)

    run(main, kind)


@KINDS
def test_a_child_that_is_not_ready_is_the_callers(kind, owner):
    ended = []

    async def child(begun, *, task_status):
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0)
            ended.append(True)

    async def main():
        begun = anyio.Event()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as local:
                local.start_soon(owner.group.start, child, begun)
                await begun.wait()
                scope.cancel()
        assert ended == [True]
        # The group has not heard of it.
        assert await owner.group.start(ready) == 1

    async def ready(*, task_status):
        task_status.started(1)

    run(main, kind)


@KINDS
def test_a_group_that_is_cancelled_leaves_alone_a_child_that_is_not_ready(kind, owner):
    async def child(begun, let, *, task_status):
        begun.set()
        await let.wait()
        task_status.started("ready all the same")
        await anyio.sleep_forever()

    async def main():
        begun, let = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as local:
            handle = local.start_soon(owner.group.start, child, begun, let)
            await begun.wait()
            owner.call(owner.group.cancel_scope.cancel)
            await anyio.to_thread.run_sync(run_turns, owner.loop)
            assert owner.is_alive()
            let.set()
        assert handle.return_value == "ready all the same"
        await joined(owner)

    run(main, kind)


@KINDS
def test_what_start_raises_is_the_callers(kind, owner):
    async def fail(*, task_status):
        await anyio.sleep(0)
        raise ValueError

    async def say_nothing(*, task_status):
        await anyio.sleep(0)

    async def main():
        with pytest.raises(ValueError):
            await owner.group.start(fail)
        with pytest.raises(RuntimeError, match="without calling task_status"):
            await owner.group.start(say_nothing)
        with pytest.raises(TypeError, match="not a coroutine"):
            await owner.group.start(lambda task_status: None)

    run(main, kind)


@KINDS
def test_a_child_that_is_cancelled_by_hand_cancels_its_group(kind, owner):
    async def child():
        asyncio.current_task().cancel()
        await anyio.sleep_forever()

    async def main():
        owner.group.start_soon(child)
        await joined(owner)

    run(main, kind)


@KINDS
def test_a_loop_that_ends_cancels_the_children_it_ran_for_another(kind, owner):
    ended = []

    async def child():
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(threading.current_thread())

    async def main():
        owner.group.start_soon(child)
        await anyio.sleep(0)

    run(main, kind)
    owner.join(BOUND)
    assert ended == [threading.current_thread()]


# What is left in a loop that was closed is collected here, and complains of that.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@KINDS
def test_a_child_whose_loop_is_closed_does_not_hold_its_group(kind):
    error = error_of_a_group_with_a_child_in_a_closed_loop(kind)
    gc.collect()
    assert error is None


def error_of_a_group_with_a_child_in_a_closed_loop(kind):
    begun = []

    async def child():
        begun.append(True)
        await asyncio.get_running_loop().create_future()

    async def main():
        owner.group.start_soon(child)
        await anyio.sleep(0)
        await anyio.sleep(0)

    with Owner(kind) as owner:
        # Not as a runner does it: nothing is cancelled.
        loop = LOOPS[kind]()
        loop.run_until_complete(main())
        loop.close()
        assert begun
        owner.call(owner.group.cancel_scope.cancel)
    return owner.error


@KINDS
def test_a_group_that_has_ended_starts_nothing_elsewhere(kind, recwarn):
    with Owner(kind) as owner:
        pass

    async def child(*, task_status=None):
        raise AssertionError

    async def main():
        with pytest.raises(RuntimeError, match="not active"):
            owner.group.start_soon(child)
        with pytest.raises(RuntimeError, match="not active"):
            owner.group.create_task(child())
        with pytest.raises(RuntimeError, match="not active"):
            await owner.group.start(child)

    run(main, kind)
    assert not never_awaited(recwarn)


@KINDS
def test_a_group_that_ends_before_it_hears_of_a_child_cancels_it(kind, owner):
    async def child(*, task_status=anyio.TASK_STATUS_IGNORED):
        await anyio.sleep_forever()

    async def last(go, waiting, let):
        await go.wait()
        waiting.set()
        let.wait(BOUND)

    async def main():
        go, waiting, let = anyio.Event(), threading.Event(), threading.Event()
        owner.call(owner.group.start_soon, last, go, waiting, let)
        run_turns(owner.loop)
        owner.tell_to_leave()
        run_turns(owner.loop)
        owner.call(go.set)
        assert waiting.wait(BOUND)
        # The group's loop stands still, and what it does next is to end the group's last child.
        handle = owner.group.start_soon(child)
        async with anyio.create_task_group() as local:

            async def start():
                with pytest.raises(RuntimeError, match="not active"):
                    await owner.group.start(child)

            local.start_soon(start)
            await anyio.sleep(0)
            let.set()
        await handle.wait()
        assert handle.status is anyio.TaskHandle.Status.CANCELLED

    run(main, kind)


def test_a_thread_without_a_loop_starts_nothing(recwarn):
    async def child():
        raise AssertionError

    with Owner("asyncio") as owner:
        with pytest.raises(RuntimeError):
            owner.group.start_soon(child)
        with pytest.raises(RuntimeError):
            owner.group.create_task(child())
    assert owner.error is None
    assert not never_awaited(recwarn)
