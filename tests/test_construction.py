"""How nurseries, scopes and tasks are made, and what they refuse to be made of."""

from __future__ import annotations

import asyncio
import contextvars
import math
import subprocess
import sys
import textwrap

import pytest

import aionursery
from aionursery import CancelScope, Nursery, fail_after

from .helpers import fail, forever, turns


class Sub(Nursery):
    pass


class Takes(Nursery):
    def __new__(cls, _ignored, **settings):
        return super().__new__(cls, **settings)

    def __init__(self, ignored, **_):
        self.ignored = ignored


@pytest.mark.parametrize(
    ("args", "settings"),
    [
        ((), {}),
        ((), {"deadline": None}),
        ((), {"deadline": "x"}),
        ((), {"deadline": math.nan}),
        ((), {"deadline": 5}),
        ((), {"shield": 1}),
        ((), {"shield": None}),
        ((), {"shield": True}),
        ((), {"cleanup": -1}),
        ((), {"cleanup": None}),
        ((), {"cleanup": "x"}),
        ((), {"on_error": None}),
        ((), {"on_error": "x"}),
        ((), {"on_error": "cancel\ud800"}),
        ((), {"on_error": "collect"}),
        ((), {"nope": 1}),
        ((1,), {}),
    ],
)
def test_a_subclass_takes_and_refuses_what_a_nursery_does_in_the_same_words(args, settings):
    def make(cls):
        try:
            scope = cls(*args, **settings).cancel_scope
        except Exception as exc:
            return type(exc), str(exc)
        return scope.deadline, scope.shield, scope.cleanup

    assert make(Sub) == make(Nursery)
    if not args:
        assert make(lambda **given: Takes(5, **given)) == make(Nursery)


@pytest.mark.parametrize("shield", [1, None, "yes"])
def test_what_makes_a_scope_says_one_thing_of_a_shield_that_is_none(shield):
    said = set()
    for make in (CancelScope, Nursery, lambda **given: fail_after(1, **given)):
        with pytest.raises(TypeError) as info:
            make(shield=shield)
        said.add(str(info.value))
    assert said == {"shield must be True or False"}


def test_a_scope_takes_its_arguments_by_name():
    with pytest.raises(TypeError, match=r"CancelScope\(\) takes keyword arguments only"):
        CancelScope(5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nope'"):
        CancelScope(nope=1)
    scope = CancelScope(reason="why")
    scope.cancel()
    assert scope.reason == "why"


@pytest.mark.parametrize("how", ["class", "factory", "eager"])
async def test_r23_a_task_runs_in_a_context_or_is_refused(world, how):
    loop = asyncio.get_running_loop()
    make = {
        "class": lambda coro, **given: aionursery.Task(coro, loop=loop, **given),
        "factory": lambda coro, **given: aionursery.task_factory(loop, coro, **given),
        "eager": lambda coro, **given: aionursery.eager_task_factory(loop, coro, **given),
    }[how]
    coro = turns(1)
    with pytest.raises(TypeError, match="Context was expected, got str"):
        make(coro, context="not a context")
    coro.close()
    context = contextvars.copy_context()
    task = make(turns(1), context=context)
    await task
    assert task.get_context() is context
    await make(turns(1), context=None)


def run(program: str) -> str:
    """What a program prints, which a defect may kill."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_r23_a_task_that_has_not_ended_is_not_begun_again(world):
    loop = asyncio.get_running_loop()
    trace = []

    async def main():
        trace.append("runs")
        with pytest.raises(RuntimeError, match="already initialized"):
            asyncio.current_task().__init__(other, loop=loop)
        await turns(2)
        trace.append("ends")

    other = forever()
    task = aionursery.Task(main(), loop=loop)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="already initialized"):
            task.__init__(other, loop=loop)
        await turns(1)
    await task
    other.close()
    assert trace == ["runs", "ends"]


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="refused from 3.15 on")
async def test_r23_a_task_that_has_ended_can_be_begun_again(world):
    loop = asyncio.get_running_loop()

    async def value(it):
        return it

    task = aionursery.Task(value(1), loop=loop, name="first")
    assert await task == 1
    task.__init__(value(2), loop=loop)
    assert not task.done() and task.get_name() != "first"
    assert await task == 2
    task.__init__(fail(ValueError()), loop=loop)
    with pytest.raises(ValueError):
        await task
    task.__init__(forever(), loop=loop)
    await turns(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.skipif(sys.version_info < (3, 15), reason="allowed before 3.15")
async def test_r23_from_3_15_on_no_task_is_begun_again(world):
    task = aionursery.Task(turns(1), loop=asyncio.get_running_loop())
    await task
    coro = turns(1)
    with pytest.raises(RuntimeError, match="already initialized"):
        task.__init__(coro, loop=asyncio.get_running_loop())
    coro.close()


def test_r31_a_host_that_is_begun_again_leaves_nothing_dangling():
    program = """
    import asyncio, gc, aionursery

    async def nothing(): pass

    async def host():
        aionursery.CancelScope().__enter__()
        await asyncio.sleep(0)

    async def main():
        task = aionursery.Task(host(), loop=loop)
        await asyncio.sleep(0)
        coro = nothing()
        try:
            task.__init__(coro, loop=loop)
        except RuntimeError:
            coro.close()
        await task
        del task
        blocks = [bytearray(500) for _ in range(1000)]
        for _ in range(5):
            gc.collect()
            loop._aionursery.size()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    print("alive")
    """
    assert run(program) == "alive\n"


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="refused from 3.15 on")
def test_r31_what_a_task_lets_go_of_when_it_is_begun_again_cannot_begin_it():
    program = """
    import asyncio, aionursery

    class Begins:
        def __del__(self):
            coro = value(2)
            try:
                task.__init__(coro, loop=loop)
            except RuntimeError as exc:
                print(exc.args[0].rpartition(" is ")[2])
                coro.close()

    async def value(it):
        return it

    async def main():
        global task
        task = aionursery.Task(value(Begins()), loop=loop)
        await asyncio.wait([task])
        task.__init__(value(3), loop=loop)
        assert await task == 3

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    print("alive")
    """
    assert run(program) == "already initialized; make a new task\nalive\n"


@pytest.mark.parametrize("task_class", [asyncio.Task, aionursery.Task])
def test_r23_a_task_that_its_loop_refuses_is_none_of_its_tasks(task_class):
    """Also while something still holds it, as what its end was reported to does."""

    class Loop(asyncio.SelectorEventLoop):
        refuses = True

        def call_soon(self, *args, **kwargs):
            if self.refuses:
                raise OSError("no turn")
            return super().call_soon(*args, **kwargs)

    loop = Loop()
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    coroutine = turns(1)
    with pytest.raises(OSError, match="no turn"):
        task_class(coroutine, loop=loop)
    [report] = reports
    assert not report["task"].done()
    assert asyncio.all_tasks(loop) == set()
    coroutine.close()
    loop.refuses = False
    loop.close()
