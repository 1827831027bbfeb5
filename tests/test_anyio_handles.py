"""anyio's task handles on the engine: what awaits one has what its child gave, also where the child
fails and by that cancels the rest in the same turn (R12a).
"""

from __future__ import annotations

import asyncio

import pytest

anyio = pytest.importorskip("anyio")

from .loop_kinds import LOOPS  # noqa: E402
from .on_the_engine import KINDS, engine, run  # noqa: E402, F401

pytestmark = pytest.mark.usefixtures("engine")


def run_in_asyncios(main, kind):
    with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        return runner.run(main())


#: What the host of a group runs in: a task of ours, or one of asyncio's own.
HOSTS = pytest.mark.parametrize("run", [run, run_in_asyncios], ids=["ours", "asyncio's"])


async def fails():
    await anyio.sleep(0)
    raise ValueError("child")


async def ask(handle, trace):
    """Await a handle, then something else."""
    try:
        await handle
    except anyio.TaskFailed as exc:
        trace.append(repr(exc.__cause__))
    try:
        await anyio.sleep(0)
    except anyio.get_cancelled_exc_class():
        trace.append("cancelled")
        raise


@KINDS
@HOSTS
@pytest.mark.parametrize("where", ["body", "sibling", "both"])
def test_r12a_what_awaits_a_handle_has_its_childs_error_before_it_is_cancelled(kind, run, where):
    async def main():
        trace = []
        with pytest.raises(ExceptionGroup) as info:
            async with anyio.create_task_group() as group:
                handle = group.start_soon(fails)
                if where != "body":
                    group.start_soon(ask, handle, trace)
                if where != "sibling":
                    await ask(handle, trace)
        assert [str(error) for error in info.value.exceptions] == ["child"]
        return trace

    got = ["ValueError('child')", "cancelled"]
    assert sorted(run(main, kind)) == sorted(got * (2 if where == "both" else 1))


@KINDS
@HOSTS
def test_r12a_what_waits_for_a_handle_goes_on_with_a_child_that_has_failed(kind, run):
    async def main():
        with pytest.raises(ExceptionGroup):
            async with anyio.create_task_group() as group:
                handle = group.start_soon(fails)
                await handle.wait()
                status = handle.status
        return status

    assert run(main, kind) is anyio.TaskHandle.Status.FAILED


@KINDS
@HOSTS
@pytest.mark.parametrize("when", range(4))
def test_a_wait_for_a_handle_that_is_cancelled_leaves_the_child_alone(kind, run, when):
    async def main():
        async with anyio.create_task_group() as group:
            let = anyio.Event()
            handle = group.start_soon(let.wait)
            with anyio.CancelScope() as scope:
                group.start_soon(cancel_after, when, scope)
                await handle.wait()
            assert scope.cancelled_caught
            assert handle.status is anyio.TaskHandle.Status.PENDING
            let.set()
            await handle
            return handle.status

    async def cancel_after(turns, scope):
        for _ in range(turns):
            await anyio.sleep(0)
        scope.cancel()

    assert run(main, kind) is anyio.TaskHandle.Status.FINISHED


@KINDS
@HOSTS
@pytest.mark.parametrize("first", ["end", "cancel"])
def test_r12a_a_cancellation_by_hand_in_the_turn_of_the_end_is_not_lost(kind, run, first):
    async def main():
        async def child():
            await anyio.sleep(0)
            if first == "cancel":
                waiting.cancel()
            else:
                asyncio.get_running_loop().call_soon(waiting.cancel)

        async with anyio.create_task_group() as group:
            handle = group.start_soon(child)
            waiting = asyncio.get_running_loop().create_task(handle.wait())
        await asyncio.wait([waiting])
        return waiting.cancelled()

    assert run(main, kind)
