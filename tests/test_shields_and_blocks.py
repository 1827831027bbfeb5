"""R20: blocks of asyncio and anyio act inside a shield and not into one, wherever they stand."""

from __future__ import annotations

import asyncio
import functools
import sys

import anyio
import pytest

import aionursery
from aionursery import Nursery, shield, sleep

from .helpers import turns
from .virtual_clock import run_virtually


class Awaitable:
    """What returns a coroutine's own iterator, as requests of many clients do."""

    def __init__(self, run):
        self.run = run

    def __await__(self):
        return self.run().__await__()


class Yielding(Awaitable):
    """As `Awaitable`, by way of a generator."""

    def __await__(self):
        yield from self.run().__await__()


class Iterating(Awaitable):
    """As `Awaitable`, with an iterator of its own."""

    def __await__(self):
        self.steps = self.run().__await__()
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.steps.send(None)

    def send(self, value):
        return self.steps.send(value)

    def throw(self, *error):
        return self.steps.throw(*error)


class Step(Awaitable):
    """A step of an async generator, with a default."""

    async def generate(self):
        await self.run()
        yield

    def __await__(self):
        return anext(self.generate(), None).__await__()


class Around:
    """A class that enters a block of its own in its `__aenter__`."""

    def __init__(self, block):
        self.block = block

    async def __aenter__(self):
        return await self.block.__aenter__()

    async def __aexit__(self, *error):
        return await self.block.__aexit__(*error)


class Holding:
    """A class that enters a shield of its own."""

    def __init__(self):
        self.shield = shield()

    def __enter__(self):
        self.shield.__enter__()

    def __exit__(self, *error):
        return self.shield.__exit__(*error)


def now():
    return asyncio.get_running_loop().time()


def asked():
    return asyncio.current_task().cancelling()


def virtual(test):
    """Run the test on a virtual clock, as a task of ours."""

    @functools.wraps(test)
    def run(**given):
        run_virtually(test(**given), ours=True)

    return run


WAYS = [lambda run: run(), Awaitable, Yielding, Iterating, Step]


async def times_out():
    async with asyncio.timeout(1):
        await sleep(100)


async def fails():
    await sleep(1)
    raise ValueError


async def group_fails():
    async with asyncio.TaskGroup() as group:
        group.create_task(fails())
        await sleep(100)


async def anyio_group_fails():
    async with anyio.create_task_group() as group:
        group.start_soon(fails)
        await sleep(100)


async def wrapped_times_out():
    async with Around(asyncio.timeout(1)):
        await sleep(100)


async def wrapped_group_fails():
    async with Around(asyncio.TaskGroup()) as group:
        group.create_task(fails())
        await sleep(100)


async def anyio_times_out_around_a_group():
    with anyio.fail_after(1):
        async with anyio.create_task_group():
            await sleep(100)


INSIDE = [
    times_out,
    group_fails,
    anyio_group_fails,
    wrapped_times_out,
    wrapped_group_fails,
    anyio_times_out_around_a_group,
]


@virtual
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("run", INSIDE)
async def test_r20_a_block_inside_a_shield_acts_however_it_is_awaited(run, way):
    began = now()
    with shield(), pytest.raises((TimeoutError, ExceptionGroup)):
        await way(run)
    assert round(now() - began, 3) == 1
    await sleep(1)
    assert asked() == 0


@virtual
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("start", ["start_soon", "start_service"])
async def test_r20_a_block_acts_in_a_child_that_is_shielded(way, start):
    ended = []

    async def child():
        with pytest.raises(TimeoutError):
            await way(times_out)
        ended.append(now())

    began = now()
    async with Nursery() as nursery:
        if start == "start_soon":
            nursery.start_soon(child, shield=True)
        else:
            nursery.start_service(child)
        await sleep(5)
    assert [round(moment - began, 3) for moment in ended] == [1]


async def commit():
    with shield():
        await sleep(3)


async def commit_in_a_class():
    with Holding():
        await sleep(3)


async def commit_in_a_generator():
    async def shielded():
        with shield():
            yield

    steps = shielded()
    await anext(steps)
    await sleep(3)
    await steps.aclose()


async def commit_in_a_nursery():
    async with Around(Nursery(shield=True)):
        await sleep(3)


@virtual
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "run", [commit, commit_in_a_class, commit_in_a_generator, commit_in_a_nursery]
)
async def test_r20_a_block_outside_a_shield_does_not_reach_into_it(run, way):
    done = []

    async def work():
        await way(run)
        done.append(now())
        await sleep(100)

    began = now()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await work()
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await work()
    assert [round(moment - began, 3) for moment in done] == [3, 6]
    assert asked() == 0


@virtual
async def test_r20_a_block_that_has_a_shield_which_is_not_entered_hides_no_timeout():
    class Client(Holding):
        def __enter__(self):
            pass

        def __exit__(self, *error):
            pass

    began = now()
    with shield(), pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            with Client():
                await sleep(100)
    assert round(now() - began, 3) == 1


@virtual
async def test_r20_a_group_that_a_block_inside_a_shield_refers_to_stays_outside():
    class Server(Around):
        def __init__(self, group):
            super().__init__(asyncio.timeout(None))
            self.group = group

    began = now()
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            with shield():
                async with Server(group):
                    await sleep(3)
    assert round(now() - began, 3) == 3


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="`exec` makes no variables there")
async def test_what_asks_a_shielded_task_to_cancel_keeps_the_names_that_it_has_made(world):
    class Asker:
        def ask(self, task):
            exec("made = 5")
            task.cancel()
            return eval("made")

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

    async def child():
        with shield():
            await turns(5)
        await turns(1)

    async with Nursery() as nursery:
        task = nursery.start_soon(child)
        await turns(2)
        assert Asker().ask(task) == 5
    assert task.cancelled()


async def test_a_subclass_of_taskgroup_may_have_arguments_of_its_own(world):
    class Limited(aionursery.TaskGroup):
        def __init__(self, most, *, limit, deadline=None, name="", context=()):
            super().__init__()
            self.given = (most, limit, deadline, name, context)

    async with Limited(4, limit=0, deadline="today") as group:
        task = group.create_task(turns(1))
    assert group.given == (4, 0, "today", "", ())
    assert task.done()


async def test_a_coroutine_that_run_refuses_stays_the_callers(world):
    async def job():
        return "done"

    coroutine = job()
    with pytest.raises(RuntimeError, match="running event loop"):
        aionursery.run(coroutine)
    assert await coroutine == "done"


@pytest.mark.parametrize("combine", [aionursery.gather, aionursery.race])
async def test_all_coroutines_are_closed_beside_what_cannot_run(combine, world):
    first, last = turns(1), turns(1)
    with pytest.raises(TypeError, match="awaitables"):
        await combine([first, 3, last])
    assert first.cr_frame is None and last.cr_frame is None


@virtual
async def test_r20_a_block_acts_inside_a_shield_whose_callback_has_it_from_around():
    class Deadline:
        def __enter__(self):
            self.task = asyncio.current_task()

            def fire():
                self.task.cancel()

            asyncio.get_running_loop().call_later(1, fire)

        def __exit__(self, kind, error, traceback):
            self.task.uncancel()
            raise TimeoutError

    began = now()
    with shield(), pytest.raises(TimeoutError), Deadline():
        await sleep(100)
    assert round(now() - began, 3) == 1
