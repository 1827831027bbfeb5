"""R11 to R17: where a cancellation comes from, what it reaches, and which scope takes it back."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from aionursery import (
    Cancelled,
    CancelScope,
    MultiError,
    Nursery,
    checkpoint,
    move_on_after,
)

from .helpers import fail, forever, note_cancellation, turns


def asked() -> int:
    """How many cancellations of the running task are still to be honoured."""
    return asyncio.current_task().cancelling()


async def keep_error(kept: list[BaseException]) -> None:
    """Wait until cancelled; keep what came."""
    try:
        await forever()
    except asyncio.CancelledError as error:
        kept.append(error)
        raise


async def test_r11_a_failing_child_says_which_one_and_with_what(world):
    kept = []
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(keep_error(kept))
            nursery.start_soon(fail(ValueError(), after=1), name="the-guilty")
    (error,) = kept
    assert isinstance(error, Cancelled)
    assert error.source == "failure"
    assert "the-guilty" in error.reason and "ValueError" in error.reason
    assert nursery.cancel_scope.source == "failure"


async def test_r11_cancel_gives_its_reason_to_the_children_and_the_scope(world):
    kept = []
    async with Nursery() as nursery:
        nursery.start_soon(keep_error(kept))
        await turns(1)
        nursery.cancel("the client has gone")
    (error,) = kept
    assert (error.reason, error.source) == ("the client has gone", "cancel")
    assert "the client has gone" in "".join(traceback.format_exception(error))
    assert nursery.cancel_scope.reason == "the client has gone"
    assert nursery.cancel_scope.cancel_called


async def test_r11_a_deadline_is_named_as_the_source(world):
    kept = []
    with move_on_after(0) as scope:
        async with Nursery() as nursery:
            nursery.start_soon(keep_error(kept))
            await turns(1)
    assert scope.source == "deadline"
    assert scope.cancelled_caught
    assert [error.source for error in kept] in ([], ["deadline"])


async def test_r11_an_enclosing_scope_is_a_source(world):
    kept = []
    with CancelScope() as scope:
        async with Nursery() as nursery:
            nursery.start_soon(keep_error(kept))
            await turns(1)
            scope.cancel("from above")
    assert [error.reason for error in kept] == ["from above"]
    assert not nursery.cancel_scope.cancel_called


async def test_r11_the_hosts_own_cancellation_is_a_source(world):
    kept = []
    nurseries = []

    async def host():
        async with Nursery() as nursery:
            nurseries.append(nursery)
            nursery.start_soon(keep_error(kept))

    task = asyncio.ensure_future(host())
    await turns(3)
    task.cancel("from outside")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [error.source for error in kept] == ["host"]
    assert nurseries[0].cancel_scope.source == "host"


async def test_r12_every_level_is_reached_in_the_same_moment(world):
    order = []

    async def level(depth):
        async with Nursery() as nursery:
            if depth:
                nursery.start_soon(level, depth - 1)
            await note_cancellation(order, depth)

    async with Nursery() as nursery:
        nursery.start_soon(level, 10)
        await turns(25)
        nursery.cancel()
        loop = asyncio.get_running_loop()
        turned = loop.create_future()
        loop.call_soon(turned.set_result, None)
        with CancelScope(shield=True):
            await turned
            # One turn of the loop, whatever the depth.
            assert sorted(order) == list(range(11))


async def test_r12_it_stops_at_a_shield_on_the_way_down(world):
    trace = []
    release = asyncio.Event()

    async def behind():
        with CancelScope(shield=True):
            async with Nursery() as inner:
                inner.start_soon(waits())
                await release.wait()
        trace.append("shield ended")
        await checkpoint()
        trace.append("not reached")

    async def waits():
        await release.wait()
        trace.append("inner child done")

    async with Nursery() as nursery:
        nursery.start_soon(behind())
        nursery.start_soon(note_cancellation(trace, "unshielded"))
        await turns(3)
        nursery.cancel()
        asyncio.get_running_loop().call_later(0.01, release.set)
    assert trace == ["unshielded", "inner child done", "shield ended"]


async def test_r13_the_code_after_a_cancelled_block_meets_no_stray_cancellation(world):
    for _ in range(3):
        async with Nursery() as nursery:
            nursery.start_soon(forever())
            await turns(1)
            nursery.cancel()
            await forever()
        await turns(3)
        assert asked() == 0


async def test_r13_nor_after_a_failed_one(world):
    for _ in range(3):
        with pytest.raises(MultiError):
            async with Nursery() as nursery:
                nursery.start_soon(fail(ValueError()))
                await forever()
        await turns(3)
        assert asked() == 0


async def test_r13_nor_when_the_body_was_cancelled_but_never_awaited_again(world):
    async with Nursery() as nursery:
        nursery.cancel()
    await turns(3)
    assert asked() == 0


async def test_r13_nor_when_the_body_swallowed_it(world):
    async with Nursery() as nursery:
        nursery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forever()
    await turns(3)
    assert asked() == 0


@pytest.mark.parametrize("joining", [False, True])
@pytest.mark.parametrize("first", ["task", "nursery"])
async def test_r13_both_in_one_tick_the_one_from_outside_is_not_lost(world, first, joining):
    async def host(nurseries):
        async with Nursery() as nursery:
            nurseries.append(nursery)
            nursery.start_soon(forever())
            if not joining:
                await forever()
        await turns(3)

    nurseries = []
    task = asyncio.ensure_future(host(nurseries))
    await turns(3)
    if first == "task":
        task.cancel()
        nurseries[0].cancel()
    else:
        nurseries[0].cancel()
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_r13_one_from_outside_while_the_cancelled_block_joins_is_not_lost(world, after):
    release = asyncio.Event()
    nurseries = []

    async def slow():
        try:
            await forever()
        finally:
            await release.wait()

    async def host():
        async with Nursery() as nursery:
            nurseries.append(nursery)
            nursery.start_soon(slow())
            await turns(1)
            nursery.cancel()
        await turns(3)

    task = asyncio.ensure_future(host())
    await turns(4 + after)
    task.cancel()
    await turns(after)
    release.set()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_r13_an_error_beside_a_cancellation_from_outside_keeps_it_asked_for(world):
    seen = []

    async def host():
        try:
            async with Nursery() as nursery:
                nursery.start_soon(fails_when_cancelled())
        except MultiError as group:
            seen.append([str(error) for error in group])
            seen.append(asked())
            await turns(3)
            seen.append("went on")

    async def fails_when_cancelled():
        try:
            await forever()
        finally:
            raise ValueError("cleanup")

    task = asyncio.ensure_future(host())
    await turns(3)
    task.cancel()
    await asyncio.wait([task])
    assert seen == [["cleanup"], 1]
    assert task.cancelled()


async def test_r13_nested_blocks_each_take_back_their_own(world):
    async with Nursery() as outer:
        async with Nursery() as inner:
            inner.start_soon(forever())
            inner.cancel()
            await forever()
        await turns(2)
        assert asked() == 0
        assert not outer.cancel_scope.cancel_called
        outer.cancel()
        await forever()
    await turns(2)
    assert asked() == 0


async def test_r13_the_outer_ones_cancellation_passes_through_the_inner_block(world):
    trace = []
    async with Nursery() as outer:
        outer.start_soon(note_cancellation(trace, "outer child"))
        async with Nursery() as inner:
            inner.start_soon(note_cancellation(trace, "inner child"))
            await turns(1)
            outer.cancel()
            inner.cancel()
        await turns(3)
        trace.append("not reached")
    assert sorted(trace) == ["inner child", "outer child"]
    await turns(2)
    assert asked() == 0


async def test_r14_the_count_after_is_the_count_before_plus_what_came_from_outside(world):
    counts = []

    async def host():
        try:
            await forever()
        except asyncio.CancelledError:
            counts.append(asked())
        async with Nursery() as nursery:
            nursery.start_soon(turns(1))
        counts.append(asked())
        async with Nursery() as nursery:
            nursery.start_soon(forever())
            nursery.cancel()
            await forever()
        counts.append(asked())
        with pytest.raises(MultiError):
            async with Nursery() as nursery:
                nursery.start_soon(fail(ValueError()))
                await forever()
        counts.append(asked())

    task = asyncio.ensure_future(host())
    await turns(2)
    task.cancel()
    await task
    assert counts == [1, 1, 1, 1]
    assert task.cancelling() == 1


async def test_r14_a_cancellation_that_the_body_swallows_is_still_counted(world):
    counts = []

    async def host():
        async with Nursery():
            try:
                await forever()
            except asyncio.CancelledError:
                counts.append(asked())
        counts.append(asked())

    task = asyncio.ensure_future(host())
    await turns(2)
    task.cancel()
    await task
    assert counts == [1, 1]


async def test_r15_the_body_gets_one_cancelled_error_at_its_await(world):
    seen = []

    async def host():
        async with Nursery() as nursery:
            child = nursery.start_soon(turns(5))
            try:
                await forever()
            except asyncio.CancelledError as error:
                seen.append(error.args)
            await turns(2)
            seen.append("went on")
        seen.append(child.cancelled())

    task = asyncio.ensure_future(host())
    await turns(2)
    task.cancel("by hand")
    await asyncio.wait([task])
    assert seen == [("by hand",), "went on", False]


async def test_r15_a_timeout_inside_the_body_leaves_the_children_alone(world):
    trace = []

    async def child():
        await event.wait()
        trace.append("child done")

    async with Nursery() as nursery:
        event = asyncio.Event()
        nursery.start_soon(child())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await forever()
        trace.append("timeout")
        event.set()
    assert trace == ["timeout", "child done"]
    assert asked() == 0


async def test_r15_a_cancelled_body_that_leaves_cancels_the_children_and_joins(world):
    trace = []

    async def slow():
        try:
            await forever()
        finally:
            await turns(3)
            trace.append("cleaned up")

    async def host():
        async with Nursery() as nursery:
            nursery.start_soon(slow())
            await forever()

    task = asyncio.ensure_future(host())
    await turns(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trace == ["cleaned up"]


async def test_r15_cancelled_while_joining_it_passes_it_on_joins_and_raises(world):
    trace = []

    async def slow(name):
        try:
            await forever()
        finally:
            await turns(3)
            trace.append(name)

    async def host():
        try:
            async with Nursery() as nursery:
                nursery.start_soon(slow("a"))
                nursery.start_soon(slow("b"))
        except asyncio.CancelledError as error:
            trace.append(error.args)
            raise

    task = asyncio.ensure_future(host())
    await turns(3)
    task.cancel("by hand")
    await asyncio.wait([task])
    assert task.cancelled()
    assert sorted(trace[:2]) == ["a", "b"]
    assert trace[2] == ("by hand",)


async def test_r15_cancelled_before_its_first_step_it_never_opens(world):
    opened = []

    async def host():
        async with Nursery():
            opened.append(1)

    task = asyncio.ensure_future(host())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert opened == []


async def test_r16_a_child_cancelled_by_hand_ends_alone(world):
    async with Nursery() as nursery:
        victim = nursery.start_soon(forever())
        sibling = nursery.start_soon(turns(5))
        await turns(1)
        assert victim.cancel()
        await asyncio.wait([victim])
        await turns(1)
        assert not nursery.cancel_scope.cancel_called
    assert victim.cancelled()
    assert not sibling.cancelled()


async def test_r16_before_its_first_step_too(world):
    ran = []

    async def child():
        ran.append(1)

    async with Nursery() as nursery:
        nursery.start_soon(child()).cancel()
        sibling = nursery.start_soon(turns(2))
    assert ran == []
    assert not sibling.cancelled()


async def test_r16_and_the_body_that_awaits_it_hears_it(world):
    async with Nursery() as nursery:
        victim = nursery.start_soon(forever())
        await turns(1)
        victim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await victim
        assert asked() == 0
        sibling = nursery.start_soon(turns(2))
    assert not sibling.cancelled()


async def test_r16_cancel_and_wait_returns_when_it_has_gone(world):
    trace = []

    async def slow():
        try:
            await forever()
        finally:
            await turns(4)
            trace.append("gone")

    async with Nursery() as nursery:
        victim = nursery.start_soon(slow())
        await turns(1)
        await victim.cancel_and_wait("off with you")
        trace.append("waited")
        assert victim.cancelled()
    assert trace == ["gone", "waited"]


async def test_r16_cancel_remaining_cancels_the_children_and_not_the_caller(world):
    trace = []
    async with Nursery() as nursery:
        for number in range(3):
            nursery.start_soon(note_cancellation(trace, number))
        await turns(1)
        nursery.cancel_remaining()
        await turns(3)
        trace.append("body goes on")
        late = nursery.start_soon(turns(1))
    assert trace == [0, 1, 2, "body goes on"]
    assert not late.cancelled()


async def test_r16_a_child_may_cancel_the_remaining_ones(world):
    trace = []

    async def winner(nursery):
        await turns(2)
        nursery.cancel_remaining()
        await turns(2)
        trace.append("winner")

    async with Nursery() as nursery:
        nursery.start_soon(note_cancellation(trace, "loser"))
        nursery.start_soon(winner, nursery)
    assert trace == ["loser", "winner"]


async def step_and_wait(trace):
    trace.append("first step")
    try:
        await forever()
    finally:
        trace.append("cleaned up")


async def test_r17_a_child_started_in_a_cancelled_nursery_runs_to_its_first_await(world):
    trace = []
    async with Nursery() as nursery:
        nursery.cancel()
        task = nursery.start_soon(step_and_wait(trace))
        function = nursery.start_soon(step_and_wait, trace)
    assert trace == ["first step", "first step", "cleaned up", "cleaned up"]
    assert task.cancelled() and function.cancelled()


async def test_r17_so_does_one_that_was_cancelled_with_the_nursery_before_its_first_step(world):
    trace = []
    async with Nursery() as nursery:
        task = nursery.start_soon(step_and_wait(trace))
        nursery.cancel()
    assert trace == ["first step", "cleaned up"]
    assert task.cancelled()


async def test_r17_so_does_one_started_at_once(world):
    trace = []
    async with Nursery() as nursery:
        nursery.cancel()
        task = nursery.start_now(step_and_wait(trace))
        assert trace == ["first step"]
    assert trace == ["first step", "cleaned up"]
    assert task.cancelled()


async def test_r17_a_child_cancelled_by_hand_before_its_first_step_never_runs(world):
    trace = []
    async with Nursery() as nursery:
        task = nursery.start_soon(step_and_wait(trace))
        task.cancel()
    assert trace == []
    assert task.cancelled()


async def test_r17_the_errors_of_siblings_that_were_about_to_start_are_not_lost(world):
    with pytest.raises(MultiError) as caught:
        async with Nursery() as nursery:
            nursery.start_soon(fail(ValueError(1)))
            nursery.start_soon(fail(ValueError(2)))
            raise ValueError(3)
    assert [error.args[0] for error in caught.value] == [3, 1, 2]


async def test_r17_one_started_by_a_child_that_cleans_up_is_cancelled_at_its_first_await(world):
    tasks = []

    async def child(nursery):
        try:
            await forever()
        finally:
            tasks.append(nursery.start_soon(forever()))

    async with Nursery() as nursery:
        nursery.start_soon(child, nursery)
        await turns(1)
        nursery.cancel()
    assert tasks[0].cancelled()


async def test_r13_a_timeout_around_nested_nurseries_is_a_timeout(world):
    async def inner():
        async with Nursery() as nursery:
            nursery.start_soon(forever())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005):
            async with Nursery() as nursery:
                nursery.start_soon(inner())
                async with Nursery() as second:
                    second.start_soon(inner())
    assert asked() == 0


async def test_r13_of_two_deadlines_in_one_tick_the_outer_takes_the_cancellation(world):
    now = asyncio.get_running_loop().time()
    with CancelScope(deadline=now) as outer:
        with CancelScope(deadline=now) as inner:
            await forever()
        await checkpoint()
        pytest.fail("the outer scope's cancellation was lost")
    assert outer.cancelled_caught
    assert not inner.cancelled_caught
    await turns(2)
    assert asked() == 0


async def test_r13_a_task_cancelled_in_the_tick_in_which_its_child_fails_hears_of_both(world):
    seen = []

    async def host():
        try:
            async with Nursery() as nursery:
                nursery.start_soon(fails_on(trigger))
                await forever()
        except MultiError as group:
            seen.append([str(error) for error in group])
            await turns(3)
            seen.append("went on")

    async def fails_on(event):
        await event.wait()
        raise ValueError("child")

    trigger = asyncio.Event()
    task = asyncio.ensure_future(host())
    await turns(3)
    trigger.set()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert seen in ([["child"]], [])
