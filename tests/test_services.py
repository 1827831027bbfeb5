"""`Nursery.start_service`: children that end after body and children, the last started first."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

import aionursery
from aionursery import BaseMultiError, MultiError, Nursery, NurseryClosed, TaskGroup, current_time

from .helpers import fail, forever, note_cancellation, turns
from .virtual_clock import virtual


async def service(trace, name):
    trace.append(f"{name} begins")
    try:
        await forever()
    finally:
        await turns(2)
        trace.append(f"{name} ends")


async def work(trace, name, *, after=3):
    try:
        await turns(after)
    finally:
        await turns(1)
        trace.append(f"{name} ends")


async def test_r19a_services_end_after_body_and_children_the_last_started_first(world):
    trace = []
    async with Nursery() as nursery:
        log = nursery.start_service(service, trace, "log")
        nursery.start_soon(work(trace, "child"))
        pool = nursery.start_service(service(trace, "pool"))
        await turns(1)
        trace.append("body ends")
    begins = ["log begins", "pool begins"]
    assert trace == [*begins, "body ends", "child ends", "pool ends", "log ends"]
    assert log.cancelled() and pool.cancelled()
    assert nursery.closed and not nursery.cancel_scope.cancel_called


async def test_r19a_in_a_block_without_children_a_service_ends_with_the_body(world):
    trace = []
    async with Nursery() as nursery:
        nursery.start_service(service, trace, "only")
        await turns(2)
        trace.append("body ends")
    assert trace == ["only begins", "body ends", "only ends"]


@pytest.mark.parametrize("how", ["inside", "outside", "failure", "by hand"])
async def test_r19a_children_that_are_cancelled_have_their_services_while_they_clean_up(world, how):
    trace = []

    async def block(outer):
        async with Nursery() as nursery:
            nursery.start_service(service, trace, "log")
            nursery.start_soon(work(trace, "child", after=1_000))
            await turns(2)
            match how:
                case "inside":
                    nursery.cancel()
                case "outside":
                    outer.cancel()
                case "by hand":
                    asyncio.current_task().cancel()
                case _:
                    raise ValueError("body")
            await forever()

    with aionursery.CancelScope() as outer:
        task = asyncio.ensure_future(block(outer)) if how == "by hand" else None
        try:
            await (task if task is not None else block(outer))
        except (asyncio.CancelledError, MultiError) as exc:
            if how == "outside":
                raise
            trace.append(type(exc).__name__)
    ends = {"failure": ["MultiError"], "by hand": ["CancelledError"]}.get(how, [])
    assert trace == ["log begins", "child ends", "log ends", *ends]
    assert outer.cancelled_caught == (how == "outside")


async def test_r6_a_service_that_fails_cancels_the_work_and_is_named_in_the_error(world):
    trace = []
    with pytest.raises(MultiError) as caught:
        async with Nursery() as nursery:
            nursery.start_service(service, trace, "log")
            nursery.start_service(fail, ValueError("broken"), name="broken pool")
            nursery.start_soon(note_cancellation, trace, "child")
            await forever()
    assert [str(error) for error in caught.value] == ["broken"]
    assert list(caught.value.names) == ["broken pool"]
    assert trace == ["log begins", "child", "log ends"]


async def test_r7_an_error_of_a_service_s_end_is_the_block_s(world):
    async def sore():
        try:
            await forever()
        finally:
            raise OSError("cannot close")

    trace = []
    with pytest.raises(MultiError) as caught:
        async with Nursery() as nursery:
            nursery.start_service(service, trace, "first")
            nursery.start_service(sore)
            await turns(2)
    assert [type(error) for error in caught.value] == [OSError]
    assert trace == ["first begins", "first ends"]


async def test_r9_an_interrupt_leaves_bare_after_the_services_have_ended(world):
    trace = []
    with pytest.raises(KeyboardInterrupt):
        async with Nursery() as nursery:
            nursery.start_service(service, trace, "log")
            await turns(1)
            raise KeyboardInterrupt
    assert trace == ["log begins", "log ends"]


async def test_a_service_that_returns_by_itself_just_ends(world):
    trace = []
    async with Nursery() as nursery:
        short = nursery.start_service(turns, 1)
        nursery.start_service(service, trace, "long")
        await short
        trace.append("body goes on")
        await turns(3)
    assert short.result() is None
    assert trace == ["long begins", "body goes on", "long ends"]


async def test_r17_a_service_of_a_block_that_is_cancelled_at_once_takes_its_first_step(world):
    trace = []
    async with Nursery() as nursery:
        nursery.start_service(service, trace, "log")
        nursery.cancel()
    assert trace == ["log begins", "log ends"]


async def test_r2_a_service_can_start_children_while_it_ends_and_they_have_the_others(world):
    trace = []

    async def last():
        try:
            await forever()
        finally:
            nursery.start_soon(work(trace, "late child"))
            trace.append("last ends")

    async with Nursery() as nursery:
        nursery.start_service(service, trace, "log")
        nursery.start_service(last)
        await turns(2)
    assert trace == ["log begins", "last ends", "late child ends", "log ends"]
    coroutine = turns(1)
    with pytest.raises(NurseryClosed):
        nursery.start_service(coroutine)
    assert coroutine.cr_frame is None


@virtual
async def test_r18_a_service_has_the_nursery_s_budget_from_the_moment_that_it_is_to_end():
    async def clings():
        try:
            await forever()
        finally:
            await forever()

    begin = current_time()
    async with Nursery(cleanup=3) as nursery:
        nursery.start_service(clings)
        nursery.start_service(clings)
        nursery.start_soon(aionursery.sleep, 10)
    assert current_time() - begin == pytest.approx(16)


@virtual
async def test_a_deadline_and_a_shutdown_end_the_work_and_then_the_services():
    for how in ("deadline", "shutdown"):
        trace = []
        begin = current_time()
        async with Nursery(relative_deadline=5) as nursery:
            nursery.start_service(service, trace, "log")
            nursery.start_soon(forever)
            if how == "shutdown":
                nursery.shutdown(grace=2)
        assert trace == ["log begins", "log ends"]
        assert current_time() - begin == pytest.approx(5 if how == "deadline" else 2)


async def test_services_take_no_place_of_a_limit(world):
    trace = []
    async with Nursery(limit=1) as nursery:
        nursery.start_service(service, trace, "log")
        nursery.start_soon(work, trace, "child")
        await turns(1)
        assert len(nursery.children) == 2
    assert trace == ["log begins", "child ends", "log ends"]


async def test_a_service_may_host_a_nursery_with_services_of_its_own(world):
    trace = []

    async def server():
        async with Nursery() as inner:
            inner.start_service(service, trace, "inner")
            inner.start_soon(work(trace, "connection", after=1_000))
            await forever()

    async with TaskGroup() as nursery:
        nursery.start_service(service, trace, "outer")
        nursery.start_service(server)
        await turns(3)
        trace.append("body ends")
    assert trace[2:] == ["body ends", "connection ends", "inner ends", "outer ends"]


async def test_r13_an_awaited_service_that_ends_is_cancelled_for_the_task_that_awaits_it(world):
    async def awaits(task):
        with pytest.raises(asyncio.CancelledError):
            await task
        return "heard"

    async with Nursery() as outer:
        async with Nursery() as nursery:
            task = nursery.start_service(forever)
            other = outer.start_soon(awaits, task)
            await turns(2)
    assert other.result() == "heard"


async def test_r24_a_service_can_start_others_by_handshake(world):
    trace = []

    async def ready(*, task_status):
        task_status.started("port")
        await work(trace, "child")

    async def manager(nursery):
        trace.append(await nursery.start(ready))
        await service(trace, "manager")

    async with Nursery() as nursery:
        nursery.start_service(manager, nursery)
        await turns(2)
    assert trace[0] == "port"
    assert trace[-1] == "manager ends"
    assert "child ends" in trace


@pytest.mark.reports
async def test_r3_a_generator_that_is_closed_with_services_inside_ends_them_all(world):
    trace = []

    async def numbers():
        async with Nursery() as nursery:
            nursery.start_service(service, trace, "first")
            nursery.start_service(service, trace, "second")
            await turns(2)
            yield 1

    generator = numbers()
    assert await anext(generator) == 1
    await generator.aclose()
    await turns(10)
    assert trace == ["first begins", "second begins", "second ends", "first ends"]


@pytest.mark.reports
async def test_r3_a_host_that_is_closed_by_force_leaves_services_that_end_in_order(world):
    trace = []

    async def host():
        async with Nursery() as nursery:
            nursery.start_service(service, trace, "first")
            nursery.start_service(service, trace, "second")
            await turns(2)
            await forever()

    coroutine = host()
    task = asyncio.ensure_future(coroutine)
    await turns(4)
    task.get_coro().close()
    await turns(10)
    assert trace == ["first begins", "second begins", "second ends", "first ends"]
    task.cancel()
    await asyncio.wait([task])


async def test_r7_a_base_exception_of_a_service_is_a_member_of_the_group(world):
    with pytest.raises(BaseMultiError) as caught:
        async with Nursery() as nursery:
            nursery.start_service(fail, GeneratorExit())
            await forever()
    assert [type(error) for error in caught.value] == [GeneratorExit]


async def test_r10_a_nursery_with_services_goes_with_its_last_user(world):
    gc.disable()
    try:
        async with Nursery() as nursery:
            task = weakref.ref(nursery.start_service(forever))
            await turns(2)
        gone = weakref.ref(nursery)
        del nursery
        await turns(2)
        assert (gone(), task()) == (None, None)
    finally:
        gc.enable()


async def test_what_cannot_be_awaited_is_refused_as_in_start_soon(world):
    async with Nursery() as nursery:
        with pytest.raises(TypeError):
            nursery.start_service(print, "plain")
        with pytest.raises(TypeError):
            nursery.start_service(42)
    with pytest.raises(RuntimeError):
        Nursery().start_service(forever)


@pytest.mark.parametrize("ends", ["return", "cancel"])
@pytest.mark.parametrize("way", ["start", "start_when_free"])
async def test_r19a_a_service_that_is_about_to_start_a_child_is_ended_all_the_same(
    world, ends, way
):
    async def never_ready(*, task_status):
        await forever()

    async def serves():
        if way == "start":
            await nursery.start(never_ready)
        while True:
            await nursery.start_when_free(turns, 2)

    async with Nursery(limit=1) as nursery:
        service = nursery.start_service(serves)
        await turns(5)
        if ends == "cancel":
            nursery.cancel()
    assert nursery.closed and service.cancelled()
