"""R18 in groups opened by the cleanup of a task that a group has cancelled: the same as in asyncio.

Each program runs with a `TaskGroup` of both kinds, and leaves the same trace. asyncio cancels the
children of a group in any order, so the trace is compared without it.
"""

from __future__ import annotations

import asyncio

import pytest

import aionursery

from .virtual_clock import run_virtually, virtual


class Cleanups:
    """What the programs are made of, with one kind of group."""

    def __init__(self, group):
        self.group = group
        self.trace = []

    async def close(self, name):
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            self.trace.append(f"{name} is cancelled")
            raise
        self.trace.append(f"{name} is closed")

    async def clean(self, *others):
        async with self.group() as closing:
            closing.create_task(self.close("file"))
            closing.create_task(self.close("connection"))
            for other in others:
                closing.create_task(other)
        self.trace.append("clean")

    async def worker(self, clean=None):
        try:
            await asyncio.sleep(100)
        finally:
            await (clean or self.clean)()

    async def fail_after(self, delay):
        await asyncio.sleep(delay)
        self.trace.append("a failure")
        raise ValueError(delay)

    async def fail_beside_a_worker(self, clean=None, *, delay=1):
        async with self.group() as group:
            group.create_task(self.worker(clean))
            group.create_task(self.fail_after(delay))


async def a_sibling_fails(it):
    await it.fail_beside_a_worker()


async def the_body_fails(it):
    async with it.group() as outer:
        outer.create_task(it.worker())
        await it.fail_after(1)


async def the_body_cleans_up(it):
    async with it.group() as outer:
        outer.create_task(it.fail_after(1))
        await it.worker()


async def a_child_of_the_cleanup_fails(it):
    async def clean():
        await it.clean(it.fail_after(0.5))

    await it.fail_beside_a_worker(clean)


async def the_worker_is_cancelled_again_by_hand(it):
    async with it.group() as outer:
        worker = outer.create_task(it.worker())
        outer.create_task(it.fail_after(1))
        asyncio.get_running_loop().call_later(1.5, worker.cancel)


async def the_group_around_fails_meanwhile(it):
    async with it.group() as outermost:
        outermost.create_task(it.fail_beside_a_worker())
        outermost.create_task(it.fail_after(1.5))


async def the_time_around_is_over(it):
    async with asyncio.timeout(1), it.group() as outer:
        outer.create_task(it.worker())


async def the_time_around_is_over_meanwhile(it):
    async with asyncio.timeout(1.5):
        await it.fail_beside_a_worker()


async def the_time_of_the_cleanup_is_over(it):
    async def clean():
        async with asyncio.timeout(0.5):
            await it.clean()

    await it.fail_beside_a_worker(clean)


async def a_cleanup_is_cancelled_and_cleans_up(it):
    async def clean():
        await it.fail_beside_a_worker(delay=0.5)

    await it.fail_beside_a_worker(clean)


async def main_is_cancelled(it):
    async def main():
        async with it.group() as outer:
            outer.create_task(it.worker())

    task = asyncio.create_task(main())
    await asyncio.sleep(1)
    task.cancel()
    await task


async def the_worker_goes_on(it):
    async def worker():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await it.clean()
        await it.clean()

    async with it.group() as outer:
        outer.create_task(worker())
        outer.create_task(it.fail_after(1))


PROGRAMS = [
    a_sibling_fails,
    the_body_fails,
    the_body_cleans_up,
    a_child_of_the_cleanup_fails,
    the_worker_is_cancelled_again_by_hand,
    the_group_around_fails_meanwhile,
    the_time_around_is_over,
    the_time_around_is_over_meanwhile,
    the_time_of_the_cleanup_is_over,
    a_cleanup_is_cancelled_and_cleans_up,
    main_is_cancelled,
    the_worker_goes_on,
]


def shape(error):
    """The types in an error, whatever their order."""
    members = getattr(error, "exceptions", ())
    inside = ", ".join(sorted(map(shape, members)))
    kind = "group" if members else type(error).__name__
    return f"{kind}({inside})"


async def trace_of(program, group):
    it = Cleanups(group)
    try:
        await asyncio.create_task(program(it))
    except BaseException as error:
        it.trace.append(shape(error))
    return sorted(it.trace)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.parametrize("on_ours", [False, True], ids=["asyncio", "ours"])
def test_r18_a_group_in_the_cleanup_after_another_group_does_as_asyncios(program, on_ours):
    theirs = run_virtually(trace_of(program, asyncio.TaskGroup), ours=False)
    ours = run_virtually(trace_of(program, aionursery.TaskGroup), ours=on_ours)
    assert ours == theirs
    assert any("connection" in line for line in ours)


@virtual
async def test_r18_a_group_in_the_cleanup_after_a_scope_is_cancelled_with_it():
    it = Cleanups(aionursery.TaskGroup)
    with aionursery.move_on_after(1) as scope:
        async with aionursery.TaskGroup() as group:
            group.create_task(it.worker())
    assert scope.cancelled_caught
    assert it.trace == ["file is cancelled", "connection is cancelled"]


@virtual
async def test_r12_a_deadline_farther_out_ends_a_group_in_a_cleanup_that_hangs():
    it = Cleanups(aionursery.TaskGroup)
    began = asyncio.get_running_loop().time()

    async def clean():
        await it.clean(asyncio.sleep(1000))

    with pytest.raises(ExceptionGroup) as raised, aionursery.fail_after(5):
        await it.fail_beside_a_worker(clean)
    assert shape(raised.value) == "group(ValueError())"
    assert round(asyncio.get_running_loop().time() - began, 3) == 5
    assert it.trace == ["a failure", "file is closed", "connection is closed"]
