"""What a loop has to do with the library: a state that is found again, and that never keeps it."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import weakref

import pytest

import aionursery
from aionursery import CancelScope, Nursery, fail_after, move_on_after
from aionursery._aionursery import loop_state

from .helpers import turns
from .loop_kinds import KINDS, LOOPS


async def hosts_a_nursery() -> None:
    async with Nursery() as nursery:
        nursery.start_soon(turns(3))
        nursery.start_soon(aionursery.sleep(0.001))


async def leaves_a_deadline_early() -> None:
    with fail_after(3600):
        await turns(2)


async def is_cut_off() -> None:
    with move_on_after(0.001):
        await aionursery.sleep_forever()


async def has_a_child_that_fails() -> None:
    with pytest.raises(aionursery.MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(hosts_a_nursery())
            nursery.start_soon(asyncio.sleep("not a number"))


async def waits_for_a_future() -> None:
    await asyncio.gather(asyncio.sleep(0.001), turns(2))


PROGRAMS = [
    hosts_a_nursery,
    leaves_a_deadline_early,
    is_cut_off,
    has_a_child_that_fails,
    waits_for_a_future,
]


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("kind", KINDS, ids=LOOPS)
@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_r10_a_closed_loop_goes_without_the_collector(no_collector, kind, ours, program):
    """As one that has run no more than asyncio's tasks does."""
    gone = []

    def run_one():
        loop = kind()
        gone.append(weakref.ref(loop))
        if ours:
            loop.set_task_factory(aionursery.task_factory)
        if program is has_a_child_that_fails:
            # What it raises holds frames, which a cycle holds: asyncio's own does so, too.
            loop.run_until_complete(program())
            loop.close()
            del loop
            gc.collect()
            return
        for _ in range(2):
            loop.run_until_complete(program())
        loop.close()

    for _ in range(3):
        run_one()
    assert [reference() for reference in gone] == [None] * 3


def collect(things):
    """Let go of what is in the list, and of what only a cycle holds."""
    things.clear()
    gc.collect()


def test_r10_a_loop_that_is_not_closed_goes_as_one_of_asyncios():
    loop = asyncio.SelectorEventLoop()
    gone = weakref.ref(loop)
    loop.run_until_complete(aionursery.Task(hosts_a_nursery(), loop=loop))
    loops = [loop]
    del loop
    with pytest.warns(ResourceWarning):
        collect(loops)
    assert gone() is None


def test_a_task_keeps_its_loop():
    loop = asyncio.SelectorEventLoop()
    gone = weakref.ref(loop)
    task = aionursery.Task(turns(2), loop=loop)
    loop.run_until_complete(task)
    loop.close()
    del loop
    gc.collect()
    assert task.get_loop() is gone()
    del task
    assert gone() is None


def test_a_state_that_has_survived_its_loop_is_no_other_loops():
    states = []
    for _ in range(50):
        loop = asyncio.SelectorEventLoop()
        assert loop_state(loop) not in states
        states.append(loop_state(loop))
        assert states[-1].loop is loop
        loop.close()
        del loop
        with pytest.raises(RuntimeError, match="the loop is gone"):
            _ = states[-1].loop
        with pytest.raises(RuntimeError, match="the loop is gone"):
            states[-1].create_future()


class Bare:
    """A loop that takes no attributes and cannot be referred to weakly."""

    __slots__ = ("_inside",)

    def __init__(self):
        self._inside = asyncio.SelectorEventLoop()

    def __getattr__(self, name):
        if name == "_aionursery":
            raise AttributeError(name)
        return getattr(self._inside, name)


class StandsIn:
    """A loop that shows another one's attributes as its own, and puts its own there."""

    def __init__(self, inside):
        object.__setattr__(self, "_inside", inside)

    def __getattr__(self, name):
        return getattr(self._inside, name)

    def __setattr__(self, name, value):
        setattr(self._inside, name, value)


def test_a_loop_that_takes_no_attributes_has_one_state_all_the_same():
    loops = [Bare() for _ in range(3)]
    states = [loop_state(loop) for loop in loops]
    assert len(set(states)) == 3
    for _ in range(20):
        for loop, state in zip(loops, states, strict=True):
            assert loop_state(loop) is state
            assert state.loop is loop
    gone = [weakref.ref(state) for state in states]
    for loop in loops:
        loop.close()
    del states, state, loops, loop
    loop_state(Bare()).loop.close()
    assert [reference() for reference in gone] == [None] * 3


@pytest.mark.parametrize("first", ["inside", "outside"])
def test_a_loop_and_one_that_stands_in_for_it_have_one_state_each(first):
    inside = asyncio.SelectorEventLoop()
    outside = StandsIn(inside)
    loop_state(inside if first == "inside" else outside)
    states = [loop_state(inside), loop_state(outside)]
    assert states[0] is not states[1]
    for _ in range(20):
        assert [loop_state(inside), loop_state(outside)] == states
    assert [state.loop for state in states] == [inside, outside]
    inside.close()


PROGRAM = """
import asyncio, gc
import aionursery
from aionursery import CancelScope, Nursery, fail_after, move_on_after

class Forgets(asyncio.SelectorEventLoop):
    pass

def forgetful(name):
    usual = getattr(asyncio.SelectorEventLoop, name)
    def forgets(self, *args, **kwargs):
        self.__dict__.pop("_aionursery", None)
        gc.collect()
        return usual(self, *args, **kwargs)
    setattr(Forgets, name, forgets)

for name in {names}:
    forgetful(name)

# What is imported lives on, and need not be looked at each time.
gc.collect()
gc.freeze()

async def scopes():
    for _ in range(5):
        with fail_after(1):
            pass
        with move_on_after(0.001):
            await aionursery.sleep(1)
        aionursery.current_effective_deadline()

async def nurseries():
    for _ in range(5):
        async with Nursery(deadline=asyncio.get_running_loop().time() + 1) as nursery:
            nursery.start_soon(aionursery.sleep(0.001))
            nursery.start_soon(scopes())
            await asyncio.sleep(0)
        async with Nursery() as nursery:
            nursery.start_soon(aionursery.sleep(1))
            nursery.cancel("enough")

async def main():
    asyncio.get_running_loop().set_debug({debug})
    await scopes()
    await nurseries()

for factory in None, aionursery.task_factory:
    loop = Forgets()
    loop.set_task_factory(factory)
    loop.run_until_complete(main())
    loop.close()
    del loop
    gc.collect()
print("alive")
"""


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("names", [["time"], ["call_soon"], ["call_at"], ["get_debug"], "all"])
def test_a_loop_that_forgets_its_state_in_a_call_of_ours_takes_nothing_apart(names, debug):
    if names == "all":
        names = ["time", "call_soon", "call_at", "get_debug", "create_task", "create_future"]
    program = textwrap.dedent(PROGRAM).format(names=names, debug=debug)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.parametrize("new_loop", KINDS)
def test_a_loop_whose_attribute_is_taken_away_keeps_its_state(new_loop):
    async def child():
        with move_on_after(3600):
            await turns(2)

    async def main():
        loop = asyncio.get_running_loop()
        state = loop_state(loop)
        async with Nursery() as nursery:
            nursery.start_soon(child())
            if hasattr(loop, "__dict__"):
                vars(loop).pop("_aionursery", None)
            # Another loop in this thread's memory: the state is looked up anew.
            other = new_loop()
            loop_state(other)
            other.close()
            with CancelScope():
                await turns(1)
            assert loop_state(loop) is state

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()
