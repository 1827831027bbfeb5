"""R10, R31: our objects as objects: their classes, weak references to them, and how they go."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from typing import ClassVar

import pytest

import aionursery
from aionursery import CancelScope, Nursery

from .helpers import fail, forever, turns


class Sub(aionursery.Task):
    """A task of a class of Python's."""


class Other(aionursery.Task):
    """Another one, with something of its own."""

    def cancel(self, msg=None):
        self.cancels = getattr(self, "cancels", 0) + 1
        return super().cancel(msg)


CLASSES = [aionursery.Task, Sub, Other]


def references(classes=CLASSES) -> list[int]:
    gc.collect()
    return [sys.getrefcount(cls) for cls in classes]


def begin(cls, coro):
    return cls(coro, loop=asyncio.get_running_loop())


async def returns(cls):
    await begin(cls, turns(1))


async def fails(cls):
    with pytest.raises(ValueError):
        await begin(cls, fail(ValueError()))


async def is_cancelled(cls):
    task = begin(cls, forever())
    await turns(1)
    task.cancel()
    await asyncio.wait([task])


async def is_cancelled_unstarted(cls):
    task = begin(cls, forever())
    task.cancel()
    await asyncio.wait([task])


async def is_collected(cls):
    task = begin(cls, forever())
    task._log_destroy_pending = False
    task.itself = task
    await turns(1)


async def is_refused(cls):
    with pytest.raises(TypeError):
        begin(cls, 5)


ENDS = [returns, fails, is_cancelled, is_cancelled_unstarted, is_collected, is_refused]


@pytest.mark.parametrize("cls", [aionursery.Task, Sub])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_r10_a_task_gives_back_the_reference_to_its_class(world, cls, end):
    await end(cls)
    (before,) = references([cls])
    for _ in range(100):
        await end(cls)
    (after,) = references([cls])
    assert abs(after - before) < 10


@pytest.mark.parametrize("base", [aionursery.Task, Nursery])
async def test_r10_a_class_that_is_needed_no_more_goes_with_its_last_object(world, base):
    async def use():
        class Brief(base):
            pass

        if base is Nursery:
            async with Brief() as nursery:
                nursery.start_soon(turns(1))
        else:
            await begin(Brief, turns(1))
        return weakref.ref(Brief)

    gone = await asyncio.ensure_future(use())
    await turns(2)
    references([])
    assert gone() is None


@pytest.mark.parametrize(("old", "new"), [(CLASSES[0], Sub), (Sub, Other), (Other, CLASSES[0])])
@pytest.mark.parametrize("stage", ["unstarted", "waiting", "running", "ended"])
async def test_r31_a_task_may_change_its_class(world, old, new, stage):
    before = references()
    for _ in range(10):
        gate = asyncio.get_running_loop().create_future()

        async def main(gate=gate):
            await gate
            if stage == "running":
                asyncio.current_task().__class__ = new
            await turns(1)
            return "value"

        task = begin(old, main())
        if stage != "unstarted":
            await turns(1)
        if stage in ("unstarted", "waiting"):
            task.__class__ = new
        gate.set_result(None)
        assert await task == "value"
        if stage == "ended":
            task.__class__ = new
        assert type(task) is new and task.done() and task.result() == "value"
        task.__class__ = old
        task.__class__ = new
        del task
    await turns(2)
    assert all(abs(a - b) < 5 for a, b in zip(before, references(), strict=True))


async def test_r16_a_child_that_got_another_class_is_cancelled_by_what_that_says(world):
    async with Nursery() as nursery:
        child = nursery.start_soon(forever())
        child.__class__ = Other if type(child) is aionursery.Task else type(child)
        await turns(1)
        child.cancel()
    assert child.cancelled() and child.cancels == 1


async def test_r31_no_object_takes_the_class_of_another_kind(world):
    class Foreign(asyncio.Task):
        pass

    class Room(Nursery):
        pass

    loop = asyncio.get_running_loop()
    things = [
        begin(Sub, turns(1)),
        Foreign(turns(1), loop=loop),
        Room(),
        CancelScope(),
        aionursery.sleep(0),
        loop.create_future(),
        aionursery._aionursery.loop_state(loop),
    ]
    for thing in things:
        for other in things:
            if thing is not other:
                with pytest.raises(TypeError):
                    thing.__class__ = type(other)
    await asyncio.wait([thing for thing in things if isinstance(thing, asyncio.Task)])
    await things[4]


def objects():
    """One of each kind that takes weak references, and what is to be done before it goes."""
    task = begin(aionursery.Task, turns(1))
    pending = begin(aionursery.Task, forever())
    pending._log_destroy_pending = False
    room = Nursery()
    return {"task": task, "pending": pending, "nursery": room, "scope": CancelScope()}


def bite():
    """Use the library in a place where objects of it are going."""
    gc.collect()
    with CancelScope() as scope:
        scope.cancel("why")
    repr(asyncio.current_task())
    aionursery.current_effective_deadline()
    begin(aionursery.Task, turns(1))


@pytest.mark.parametrize("kind", ["task", "pending", "nursery", "scope"])
@pytest.mark.parametrize("how", ["count", "collector"])
async def test_r31_a_weak_reference_calls_back_once_when_an_object_goes(world, kind, how):
    called = []

    def note(reference):
        called.append(reference())
        bite()

    thing = objects()[kind]
    await turns(3)
    try:
        kept = [weakref.ref(thing, note) for _ in range(3)]
    except TypeError:
        assert kind in ("nursery", "scope")
        return
    assert all(reference() is thing for reference in kept)
    cycle = [thing]
    if how == "collector":
        cycle.append(cycle)
    del thing, cycle
    await turns(2)
    for _ in range(3):
        gc.collect()
    assert called == [None] * 3
    await turns(3)


async def test_r31_what_looks_through_weak_references_while_tasks_go_finds_only_whole_ones(world):
    known = weakref.WeakSet()

    class Looks:
        def __del__(self):
            for task in list(known):
                repr(task), task.done(), task.get_coro(), task._callbacks
            seen.append(len(list(known)))

    async def holds(it):
        await turns(1)
        return it

    seen = []
    for _ in range(30):
        known.add(begin(aionursery.Task, holds(Looks())))
    await turns(4)
    gc.collect()
    assert len(seen) == 30 and not known


class Returns(aionursery.Task):
    """Comes back when it goes, once, and is used meanwhile."""

    graves: ClassVar[list[Returns]] = []

    def __del__(self):
        if not hasattr(self, "returned"):
            self.returned = True
            self.graves.append(self)
            self.cancel()
            self.add_done_callback(self.graves.append)
            repr(self)
            bite()
        super().__del__()


@pytest.mark.parametrize("how", ["count", "collector"])
@pytest.mark.parametrize("pending", [True, False], ids=["pending", "ended"])
async def test_r31_a_task_that_comes_back_when_it_goes_is_whole(world, pending, how):
    Returns.graves.clear()
    task = begin(Returns, forever() if pending else turns(1))
    task._log_destroy_pending = False
    await turns(3)
    gone = weakref.ref(task)
    if how == "collector":
        task.itself = task
    del task
    for _ in range(3):
        gc.collect()
        await turns(1)
    assert Returns.graves
    (back,) = set(Returns.graves)
    back.itself = None
    await turns(3)
    # The collector has closed what the pending one would have run, as it does with asyncio's.
    assert back.done() and (pending or back.result() is None)
    assert not pending or back.cancelled() or back.exception()
    Returns.graves.clear()
    del back
    for _ in range(3):
        gc.collect()
    assert gone() is None and not Returns.graves


async def test_r31_a_weak_reference_made_while_a_task_goes_is_dead(world):
    made = []

    class Makes(aionursery.Task):
        def method(self):
            pass

        def __del__(self):
            made.append(weakref.ref(self))
            made.append(weakref.WeakMethod(self.method))
            super().__del__()

    task = Makes(turns(1), loop=asyncio.get_running_loop())
    await task
    del task
    await turns(2)
    gc.collect()
    assert len(made) == 2 and [reference() for reference in made] == [None, None]
