"""`TreeVar`: a child begins with the value that its nursery was opened with."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

import aionursery
from aionursery import CancelScope, Nursery, TaskStatus, TreeVar
from aionursery._tree_var import KEPT

from .helpers import Trace, abandoned, forever, turns
from .loop_kinds import KINDS


async def test_a_child_has_the_value_of_its_nursery_and_not_of_what_starts_it(world):
    var = TreeVar("var", default="none")
    trace = Trace()

    async def look(name):
        await turns(1)
        trace.append((name, var.get()))

    async def starter(outer):
        var.set("the starter's")
        outer.start_soon(look, "outer")
        async with Nursery() as inner:
            inner.start_soon(look, "inner")

    var.set("the host's")
    async with Nursery() as outer:
        outer.start_soon(starter, outer)
    assert trace == [("outer", "the host's"), ("inner", "the starter's")]
    assert var.get() == "the host's"


async def test_what_is_set_later_reaches_the_nurseries_that_are_opened_later(world):
    var = TreeVar("var", default=0)
    trace = Trace()

    async def look(name):
        trace.append((name, var.get()))

    async with Nursery() as first:
        var.set(1)
        async with Nursery() as second:
            var.set(2)
            with CancelScope():
                var.set(3)
                async with Nursery() as third:
                    var.set(4)
                    for name, nursery in enumerate((first, second, third), 1):
                        nursery.start_soon(look, name)
                    await turns(2)
            second.start_soon(look, 2)
        first.start_soon(look, 1)
    assert trace == [(1, 0), (2, 1), (3, 3), (2, 1), (1, 0)]
    # Only what a nursery that is open can see is kept.
    kept = getattr(asyncio.current_task(), KEPT)
    assert len(kept[var]) == 3
    var.set(5)
    assert len(kept[var]) == 1


async def test_r24_a_child_of_start_has_the_caller_s_value_and_then_the_nursery_s(world):
    var = TreeVar("var")
    trace = Trace()

    async def service(*, task_status: TaskStatus):
        trace.append(var.get())
        task_status.started()
        trace.append(var.get())

    async def caller(nursery):
        with var.being("the caller's"):
            await nursery.start(service)

    with var.being("the nursery's"):
        async with Nursery() as nursery:
            nursery.start_soon(caller, nursery)
    assert trace == ["the caller's", "the nursery's"]


async def test_set_returns_a_token_that_reset_takes_once(world):
    var = TreeVar("var")
    with pytest.raises(LookupError, match="'var'"):
        var.get()
    assert var.get("given") == "given"
    first = var.set(1)
    second = var.set(2)
    var.reset(second)
    assert var.get() == 1
    with pytest.raises(RuntimeError, match="used already"):
        var.reset(second)
    with pytest.raises(ValueError, match="another TreeVar"):
        TreeVar("other").reset(first)

    async def child():
        with pytest.raises(ValueError, match="another task"):
            var.reset(first)

    async with Nursery() as nursery:
        nursery.start_soon(child)
    var.reset(first)
    assert var.get(None) is None


async def test_being_sets_for_a_block_also_if_it_raises(world):
    var = TreeVar("var", default=0)
    with pytest.raises(KeyError):
        with var.being(1):
            assert var.get() == 1
            with var.being(2):
                assert var.get() == 2
            assert var.get() == 1
            raise KeyError
    assert var.get() == 0


async def test_a_task_that_is_no_child_begins_without_a_value(world):
    var = TreeVar("var", default="none")

    async def look():
        return var.get()

    with var.being("set"):
        assert await asyncio.ensure_future(look()) == "none"


def test_outside_of_a_task_there_is_no_value_and_nothing_is_set():
    var = TreeVar("var", default="none")
    assert var.get() == "none"
    with pytest.raises(RuntimeError, match="set in a task"):
        var.set(1)


async def test_in_a_callback_of_the_loop_there_is_no_value(world):
    var = TreeVar("var", default="none")
    trace = Trace()
    with var.being("set"):
        asyncio.get_running_loop().call_soon(lambda: trace.append(var.get()))
        await turns(2)
    assert trace == ["none"]


async def test_what_a_thread_runs_in_the_loop_has_the_caller_s_value(world):
    var = TreeVar("var", default="none")

    async def look():
        return var.get()

    with var.being("the caller's"):
        assert await aionursery.to_thread(aionursery.from_thread.run, look) == "the caller's"


async def test_r10_a_value_goes_with_the_task_that_has_set_it(world):
    var = TreeVar("var")
    references = []

    class Value:
        pass

    async def child():
        value = Value()
        value.task = asyncio.current_task()
        references.append(weakref.ref(value))
        var.set(value)

    async with Nursery() as nursery:
        nursery.start_soon(child)
    await turns(1)
    gc.collect()
    assert references[0]() is None


async def test_r10_a_task_that_has_ended_keeps_no_value(world):
    var = TreeVar("var")

    async def child():
        var.set("kept while it runs")

    async with Nursery() as nursery:
        task = nursery.start_soon(child)
    await turns(1)
    assert not hasattr(task, KEPT)


@pytest.mark.parametrize("new_loop", KINDS)
def test_r10_a_value_that_refers_to_its_task_does_not_keep_a_loop_that_was_left(new_loop):
    var = TreeVar("var")

    async def main():
        async with Nursery():
            var.set(asyncio.current_task())
            await forever()

    left = abandoned(new_loop(), main())
    gc.collect()
    assert left() is None


@pytest.mark.parametrize("wraps", [False, True])
def test_the_count_of_scopes_may_begin_anew(wraps):
    from aionursery._tree_var import _is_before

    base = 2**32 - 1 if wraps else 10
    moments = [(base + step) % 2**32 for step in range(3)]
    assert _is_before(moments[0], moments[1]) and _is_before(moments[0], moments[2])
    assert not _is_before(moments[1], moments[1]) and not _is_before(moments[2], moments[1])
