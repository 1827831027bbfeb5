"""Known bugs of the peers, one test for each: what goes wrong there does not go wrong here.

The table with what the peer does is in `docs/known-bugs.md`; each row names its test.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import aionursery
from aionursery import (
    CancelScope,
    MultiError,
    Nursery,
    checkpoint,
    fail_after,
    move_on_after,
    shield,
    sleep_forever,
)

from .helpers import fail, forever, turns


def asked() -> int:
    """How many cancellations of the running task are still to be honoured."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


def ask() -> None:
    """The running task is cancelled from outside, as far as other code can see."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


class Refuses(asyncio.Future[None]):
    """Something to wait for that does not let itself be cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def cancel(self, msg: Any = None) -> bool:
        self.asked += 1
        return False


async def test_cpython_116720_an_inner_error_does_not_swallow_the_outer_cancellation_r13(world):
    async def both_fail_at_once(outer: Nursery) -> None:
        with pytest.raises(MultiError) as inner_error:
            async with Nursery() as inner:
                inner.start_soon(fail(RuntimeError("inner")))
                outer.start_soon(fail(ValueError("outer")))
        assert [str(error) for error in inner_error.value] == ["inner"]

    went_on = False
    with pytest.raises(MultiError) as outer_error:
        async with Nursery() as outer:
            await both_fail_at_once(outer)
            await turns(1)
            went_on = True
    assert not went_on
    assert [str(error) for error in outer_error.value] == ["outer"]
    assert asked() == 0


async def test_cpython_134471_a_deadline_of_zero_leaves_a_prior_cancellation_alone_r21(world):
    ended: list[str] = []

    async def victim(scope: CancelScope) -> None:
        ask()
        try:
            with scope:
                await turns(3)
        except TimeoutError:
            ended.append("timeout")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        await turns(3)
        ended.append("went on")

    for scope in (fail_after(0), move_on_after(0)):
        task = asyncio.ensure_future(victim(scope))
        await asyncio.wait([task])
        assert task.cancelled()
    assert ended == ["cancelled", "cancelled"]


async def test_cpython_155433_a_timeout_after_the_groups_own_cancel_is_still_a_timeout_r13(world):
    release = asyncio.Event()

    async def slow_to_go() -> None:
        try:
            await forever()
        finally:
            await release.wait()

    async def body(expire: Callable[[float], None]) -> None:
        async with Nursery() as nursery:
            nursery.start_soon(slow_to_go())
            await turns(1)
            nursery.cancel("enough")
            # The block joins a child that takes its time; the deadline passes meanwhile.
            loop = asyncio.get_running_loop()
            expire(loop.time())
            loop.call_later(0.02, release.set)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as timeout:
            await body(timeout.reschedule)
    release.clear()
    with pytest.raises(TimeoutError):
        with fail_after(float("inf")) as scope:
            await body(lambda now: setattr(scope, "deadline", now))
            # A scope's cancellation acts at an await, not in between.
            await checkpoint()
    assert asked() == 0


async def test_cpython_99714_a_shielded_block_is_neither_cancelled_nor_orphaned_r19(world):
    events: list[str] = []

    async def payment() -> None:
        with shield():
            await turns(5)
            events.append("paid")
        await checkpoint()
        events.append("not reached")

    async def book() -> None:
        await turns(5)
        events.append("booked")

    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(payment())
            nursery.start_soon(asyncio.shield(asyncio.ensure_future(book())))
            nursery.start_soon(fail(ValueError("sms"), after=1))
    events.append("left")
    assert sorted(events[:2]) == ["booked", "paid"]
    assert events[2:] == ["left"]


async def test_cpython_135736_closing_an_async_generator_with_a_nursery_is_quiet_r9(world):
    async def numbers():
        async with Nursery():
            for number in range(3):
                yield number

    generator = numbers()
    assert await anext(generator) == 0
    await generator.aclose()
    assert asked() == 0


@pytest.mark.parametrize("start", ["start_soon", "start_now"])
async def test_cpython_128550_a_child_that_starts_a_failing_child_is_cancelled_too_r17(
    world, start
):
    async def starts_one_that_fails(nursery: Nursery) -> None:
        getattr(nursery, start)(fail(RuntimeError("third")))
        await forever()

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            getattr(nursery, start)(starts_one_that_fails(nursery))
    assert [str(error) for error in info.value] == ["third"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks from 3.12 on")
def test_cpython_128550_also_under_an_eager_task_factory_r17(world):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        factories = [aionursery.eager_task_factory]
        if "uvloop" not in world.name:
            factories.append(asyncio.eager_task_factory)
        for factory in factories:
            loop.set_task_factory(factory)

            async def second(nursery: Nursery) -> None:
                nursery.start_soon(fail(RuntimeError("third")))
                await forever()

            with pytest.raises(MultiError):
                async with Nursery() as nursery:
                    nursery.start_soon(second(nursery))

    world.run(main())


async def test_anyio_1214_a_native_cancel_in_the_tick_of_the_scopes_is_not_swallowed_r13(world):
    went_on: list[str] = []

    async def host(order: str) -> None:
        async with Nursery() as nursery:
            nursery.start_soon(cancel_both(order, asyncio.current_task(), nursery))
            await forever()
        went_on.append(order)
        await turns(1)
        went_on.append(order)

    async def cancel_both(order: str, task: Any, nursery: Nursery) -> None:
        if order == "task first":
            task.cancel()
            nursery.cancel()
        else:
            nursery.cancel()
            task.cancel()

    for order in ("task first", "scope first"):
        task = asyncio.ensure_future(host(order))
        await asyncio.wait([task])
        assert task.cancelled(), order
        assert went_on == []


async def test_anyio_1257_what_refuses_to_be_cancelled_is_asked_once_and_nothing_polls_r18(world):
    loop = asyncio.get_running_loop()
    refuses = Refuses()
    released = loop.create_future()
    scheduled: list[Any] = []

    async def stuck() -> None:
        await refuses

    def release() -> None:
        refuses.set_result(None)
        released.set_result(None)

    def spy(callback: Any, *args: Any, context: Any = None) -> Any:
        scheduled.append(callback)
        return type(loop).call_soon(loop, callback, *args, context=context)

    async with Nursery() as nursery:
        nursery.start_soon(stuck())
        await turns(2)
        if "uvloop" not in world.name:  # uvloop's loop takes no attributes
            loop.call_soon = spy  # type: ignore[method-assign]
        nursery.cancel("stop")
        loop.call_later(0.05, release)
        with shield():
            await released
        if "uvloop" not in world.name:
            del loop.call_soon
    assert refuses.asked == 1
    # The wait took a handful of callbacks, not one in each turn of the loop.
    assert len(scheduled) < 10


async def test_anyio_374_the_count_of_cancellations_is_what_it_was_before_r14(world):
    for _ in range(3):
        with move_on_after(0):
            await sleep_forever()
        with CancelScope() as scope:
            scope.cancel()
            await checkpoint()
        with pytest.raises(MultiError):
            async with Nursery() as nursery:
                nursery.start_soon(fail(ValueError()))
                await forever()
        assert asked() == 0
    # So that what counts, such as asyncio's own timeout, still tells a timeout from a cancellation.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await forever()
    assert asked() == 0


def depth_of_printed_errors(levels: int) -> int:
    async def nested(level: int) -> None:
        if level == 0:
            raise ValueError("the one error")
        async with Nursery() as nursery:
            nursery.start_soon(nested(level - 1))
            await forever()

    async def main() -> int:
        with pytest.raises(MultiError) as info:
            await nested(levels)
        # The group's own lines; "During handling of" would print whole groups again.
        text = "".join(traceback.format_exception(info.value))
        assert text.count("ValueError: the one error") == 1
        assert "During handling of" not in text
        return len(text.splitlines())

    return asyncio.run(main())


def test_anyio_863_a_traceback_grows_by_the_same_few_lines_with_each_level_r10():
    lines = [depth_of_printed_errors(levels) for levels in (2, 3, 4, 5, 6)]
    growth = {after - before for before, after in itertools.pairwise(lines)}
    assert len(growth) == 1
    assert growth.pop() < 12


class Pool:
    """A pool of connections whose release takes awaits, as a real one's does."""

    def __init__(self) -> None:
        self.out = 0

    async def __aenter__(self) -> Pool:
        self.out += 1
        await turns(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await turns(3)  # ROLLBACK and its answer
        self.out -= 1


async def test_sqlalchemy_8145_a_cancelled_task_gives_its_connection_back_r18(world):
    async def query(pool: Pool) -> None:
        async with pool:
            await forever()

    for cleanup in (None, 5.0):
        pool = Pool()
        async with Nursery(cleanup=cleanup) as nursery:
            for _ in range(3):
                nursery.start_soon(query(pool))
            await turns(4)
            assert pool.out == 3
            nursery.cancel("the client has gone")
        assert pool.out == 0
    gc.collect()
