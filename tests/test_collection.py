"""R10: the collector takes cycles through whatever one of our objects holds.

It clears weak references before it breaks a cycle, so the objects themselves are counted.
"""

from __future__ import annotations

import asyncio
import gc

import pytest

import aionursery
from aionursery import CancelScope, Nursery
from aionursery._aionursery import loop_state

from .helpers import forever, turns


class Holder:
    """Holds what holds it."""

    def __init__(self):
        self.held = []

    def method(self, _):
        pass


def holders() -> int:
    for _ in range(3):
        gc.collect()
    return sum(type(it) is Holder for it in gc.get_objects())


async def scope_with_a_reason(holder):
    scope = CancelScope(reason=holder)
    holder.held.append(scope)


async def scope_cancelled_before_entry(holder):
    scope = CancelScope()
    scope.cancel(holder)
    holder.held.append(scope)


async def scope_that_was_left(holder):
    with CancelScope() as scope:
        scope.cancel(holder)
        await turns(1)
    holder.held.append(scope)


async def nursery_that_was_left(holder):
    async with Nursery() as nursery:
        nursery.cancel(holder)
    holder.held.append(nursery)


async def nursery_whose_scope_was_asked_for(holder):
    async with Nursery() as nursery:
        nursery.cancel_scope.cancel(holder)
    holder.held += [nursery, nursery.cancel_scope]


async def nursery_left_as_it_must_not_be(holder):
    nursery = Nursery()

    async def enters():
        await nursery.__aenter__()

    await aionursery.Task(enters(), loop=asyncio.get_running_loop())
    holder.held.append(nursery)
    try:
        raise ValueError(holder)
    except ValueError as exc:
        with pytest.raises((RuntimeError, aionursery.BaseMultiError)):
            await nursery.__aexit__(type(exc), exc, exc.__traceback__)


async def host_cancelled_while_it_joins(holder):
    async def host():
        async with Nursery() as nursery:
            holder.held.append(nursery)
            nursery.start_soon(forever)

    task = asyncio.ensure_future(host())
    await turns(3)
    task.cancel(holder)
    await asyncio.wait([task])


async def wait_with_a_result(holder):
    wait = aionursery.sleep(0.001, holder)
    holder.held.append(wait)
    await wait


async def wait_with_a_message(holder):
    wait = aionursery.sleep(1)
    wait.cancel(holder)
    holder.held.append(wait)


async def wait_with_a_callback(holder):
    wait = aionursery.sleep_forever()
    wait.add_done_callback(holder.method)
    holder.held.append(wait)


async def wait_that_several_await(holder):
    wait = aionursery.sleep_forever()

    async def waiter():
        del holder.held[5:]
        await wait

    tasks = [aionursery.Task(waiter(), loop=asyncio.get_running_loop()) for _ in range(3)]
    await turns(2)
    for task in tasks:
        task._log_destroy_pending = False
    holder.held += [wait, tasks]


async def task_with_a_result(holder):
    async def child():
        return holder

    task = aionursery.Task(child(), loop=asyncio.get_running_loop())
    holder.held.append(task)
    await task


async def task_with_a_message(holder):
    task = aionursery.Task(forever(), loop=asyncio.get_running_loop())
    holder.held.append(task)
    task.cancel(holder)
    await asyncio.wait([task])


async def task_with_a_callback(holder):
    task = aionursery.Task(forever(), loop=asyncio.get_running_loop())
    holder.held.append(task)
    task.add_done_callback(holder.method)
    await turns(2)
    task._log_destroy_pending = False


async def error_with_names(holder):
    with pytest.raises(aionursery.MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(raises(holder))
    holder.held += [nursery, info.value]


async def raises(holder):
    raise ValueError(holder)


CYCLES = [
    scope_with_a_reason,
    scope_cancelled_before_entry,
    scope_that_was_left,
    nursery_that_was_left,
    nursery_whose_scope_was_asked_for,
    nursery_left_as_it_must_not_be,
    host_cancelled_while_it_joins,
    wait_with_a_result,
    wait_with_a_message,
    wait_with_a_callback,
    wait_that_several_await,
    task_with_a_result,
    task_with_a_message,
    task_with_a_callback,
    error_with_names,
]


@pytest.mark.reports
@pytest.mark.parametrize("cycle", CYCLES, ids=lambda cycle: cycle.__name__)
def test_r10_a_cycle_through_an_object_of_ours_is_collected(world, cycle):
    async def main():
        for _ in range(20):
            await cycle(Holder())

    before = holders()
    world.run(main())
    assert holders() == before


def test_r10_a_task_that_enters_a_scope_while_it_ends_is_shown_once():
    """CPython frees what it is shown more often than it is referred to."""

    async def child():
        await forever()

    async def main():
        loop = asyncio.get_running_loop()
        entered = []
        call_soon = loop.call_soon

        def enters(callback, *args, context=None):
            ended = asyncio.current_task()
            if ended is not None and ended.done() and not entered:
                entered.append(CancelScope())
                entered[0].__enter__()
                shown.append(gc.get_referents(loop_state(loop)).count(ended))
            return call_soon(callback, *args, context=context)

        shown = []
        async with Nursery() as nursery:
            ends = nursery.start_soon(child)
            await turns(2)
            ends.add_done_callback(lambda _: None)
            loop.call_soon = enters
            ends.cancel()
        del loop.call_soon
        assert shown == [0]

    asyncio.run(main())
