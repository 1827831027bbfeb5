"""R18 to R22: budgets for cleaning up, shields, deadlines. Time is a virtual clock's."""

from __future__ import annotations

import asyncio
import logging
import math
import weakref

import async_timeout
import pytest

from aionursery import (
    Cancelled,
    CancelScope,
    Event,
    MultiError,
    Nursery,
    checkpoint,
    checkpoint_if_cancelled,
    current_effective_deadline,
    fail_after,
    fail_at,
    move_on_after,
    move_on_at,
    shield,
    sleep,
    sleep_forever,
    sleep_until,
    warn_stuck_after,
)

from .helpers import Noted, fail, forever, note_cancellation, turns
from .virtual_clock import run_virtually, virtual


def now() -> float:
    return asyncio.get_running_loop().time()


def asked() -> int:
    return asyncio.current_task().cancelling()


async def cleans_up(trace, seconds, step=1.0):
    """Once cancelled, clean up step by step for some seconds, as far as it is let."""
    try:
        await sleep_forever()
    finally:
        began = now()
        try:
            for _ in range(round(seconds / step)):
                await sleep(step)
        finally:
            trace.append(round(now() - began, 6))


@virtual
async def test_r18_by_default_a_cleanup_may_await_for_ten_seconds():
    trace = []
    async with Nursery() as nursery:
        nursery.start_soon(cleans_up(trace, 1000))
        await turns(2)
        nursery.cancel()
    assert trace == [pytest.approx(10)]


@virtual
async def test_r18_a_budget_of_seconds_ends_the_cleaning_up_when_it_is_spent():
    trace = []
    async with Nursery(cleanup=3.5) as nursery:
        nursery.start_soon(cleans_up(trace, 2))
        nursery.start_soon(cleans_up(trace, 1000))
        await turns(2)
        began = now()
        nursery.cancel()
    assert trace == [2.0, 3.5]
    assert round(now() - began, 6) == 3.5


@virtual
async def test_r18_a_shield_in_a_cleanup_does_not_begin_its_seconds_again():
    async def flushes():
        try:
            await sleep_forever()
        finally:
            for _ in range(1000):
                with CancelScope(shield=True):
                    await sleep(1)
                await checkpoint()

    async with Nursery(cleanup=3.5) as nursery:
        nursery.start_soon(flushes())
        await turns(2)
        began = now()
        nursery.cancel()
    assert round(now() - began, 6) == 4


@virtual
async def test_r18_after_the_budget_every_further_await_is_cancelled():
    hits = []

    async def stubborn():
        for _ in range(5):
            try:
                await sleep(10)
            except asyncio.CancelledError:
                hits.append(round(now() - began, 6))
        await checkpoint()

    async with Nursery(cleanup=2) as nursery:
        nursery.start_soon(stubborn())
        await turns(2)
        began = now()
        nursery.cancel()
    assert hits == [0.0, 2.0, 2.0, 2.0, 2.0]


@virtual
async def test_r18_a_budget_of_nothing_cancels_every_await_as_trio_does():
    trace = []
    async with Nursery(cleanup=0) as nursery:
        nursery.start_soon(cleans_up(trace, 10))
        await turns(2)
        nursery.cancel()
        for _ in range(3):
            with pytest.raises(asyncio.CancelledError):
                await sleep(1)
    assert trace == [0.0]


@virtual
async def test_r18_a_budget_of_nothing_reaches_awaits_of_plain_futures_too():
    hits = []
    with CancelScope(cleanup=0) as scope:
        scope.cancel()
        for _ in range(3):
            try:
                await forever()
            except asyncio.CancelledError:
                hits.append(1)
    assert hits == [1, 1, 1]
    await turns(2)
    assert asked() == 0


@virtual
async def test_r18_a_budget_is_inherited_down_the_tree():
    trace = []

    async def inner():
        async with Nursery() as nursery:
            nursery.start_soon(cleans_up(trace, 1000))

    with CancelScope(cleanup=2) as scope:
        async with Nursery() as nursery:
            nursery.start_soon(inner())
            await turns(4)
            scope.cancel()
    assert trace == [2.0]


@virtual
async def test_r18_the_strictest_budget_that_cancels_wins():
    trace = []
    with CancelScope(cleanup=5) as strict:
        async with Nursery(cleanup=50) as nursery:
            nursery.start_soon(cleans_up(trace, 1000))
            await turns(3)
            nursery.cancel()
            strict.cancel()
    assert trace == [5.0]


@virtual
async def test_r18_the_budget_can_be_set_while_it_runs():
    trace = []
    async with Nursery() as nursery:
        nursery.start_soon(cleans_up(trace, 1000))
        await turns(2)
        asyncio.get_running_loop().call_later(
            4, lambda: setattr(nursery.cancel_scope, "cleanup", 0)
        )
        nursery.cancel()
    assert trace == [4.0]


@virtual
async def test_r18_a_task_that_is_cancelled_and_not_gone_costs_no_turns_of_the_loop():
    loop = asyncio.get_running_loop()

    async def slow():
        try:
            await forever()
        finally:
            with shield():
                await asyncio.sleep(1000)

    warn_stuck_after(math.inf)
    async with Nursery(cleanup=0) as nursery:
        nursery.start_soon(slow())
        await turns(2)
        nursery.cancel()
        before = loop.turns
    assert loop.turns - before < 12


class Refuses(asyncio.Future):
    """Something to wait for that does not let itself be cancelled."""

    asked = 0

    def cancel(self, msg=None):
        self.asked += 1
        return False


@virtual
async def test_r18_what_refuses_to_be_cancelled_is_asked_once_also_in_a_host_with_no_budget():
    refuses = Refuses()
    loop = asyncio.get_running_loop()
    warn_stuck_after(math.inf)
    with CancelScope(cleanup=0) as scope:
        loop.call_later(1, scope.cancel)
        loop.call_later(1000, refuses.set_result, None)
        before = loop.turns
        await refuses
    assert refuses.asked == 1
    assert loop.turns - before < 12
    assert asked() == 0


def stuck(caplog):
    async def main():
        async def will_not_go():
            try:
                await forever()
            finally:
                await asyncio.sleep(30)

        warn_stuck_after(7)
        async with Nursery() as nursery:
            nursery.start_soon(will_not_go(), name="the-stuck-one")
            nursery.start_soon(sleep(100), name="the-quick-one")
            await turns(2)
            nursery.cancel("shutting down")

    with caplog.at_level(logging.WARNING, logger="aionursery"):
        run_virtually(main(), ours=True)
    return [record.getMessage() for record in caplog.records]


def test_r18_a_warning_names_the_stuck_child_where_it_waits_since_when_and_why(caplog):
    (message,) = [text for text in stuck(caplog) if "the-stuck-one" in text]
    assert "7 seconds ago" in message
    assert "shutting down" in message
    assert "will_not_go" in message and "test_scopes.py" in message


def test_r18_the_warning_names_no_task_that_has_gone(caplog):
    assert not [text for text in stuck(caplog) if "the-quick-one" in text]


@virtual
async def test_r18_the_time_until_the_warning_must_make_sense():
    for seconds, shown in ((-1, "-1"), (float("nan"), "NaN")):
        with pytest.raises(ValueError, match=f"^seconds must not be negative, not {shown}$"):
            warn_stuck_after(seconds)


async def test_r19_a_shielded_child_runs_to_its_end_and_the_block_waits(world):
    trace = []

    async def payment():
        await turns(6)
        trace.append("paid")

    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(payment(), shield=True)
            nursery.start_soon(fail(ValueError("sms"), after=1))
    trace.append("left")
    assert trace == ["paid", "left"]


@pytest.mark.parametrize("how", ["task", "coroutine", "future"])
async def test_r19_what_asyncio_shield_made_runs_to_its_end_and_the_block_waits(world, how):
    trace = []

    async def payment():
        await turns(6)
        trace.append("paid")
        return "receipt"

    inner = payment() if how == "coroutine" else asyncio.ensure_future(payment())
    if how == "future":
        outer = asyncio.get_running_loop().create_future()
        inner.add_done_callback(lambda task: outer.set_result(task.result()))
        inner = outer
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            task = nursery.start_soon(asyncio.shield(inner))
            nursery.start_soon(fail(ValueError("sms"), after=1))
    trace.append("left")
    assert trace == ["paid", "left"]
    assert task.result() == "receipt"


async def test_r19_a_failing_shielded_child_is_an_error_like_any_other(world):
    trace = []
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_soon(fail(ValueError("one"), after=1))
            nursery.start_soon(fail(KeyError("two"), after=4), shield=True)
            nursery.start_soon(asyncio.shield(fail(OSError("three"), after=8)))
            nursery.start_soon(note_cancellation(trace, "sibling"))
    assert [type(error) for error in info.value] == [ValueError, KeyError, OSError]
    assert trace == ["sibling"]


async def test_r19_a_shielded_child_that_fails_first_cancels_the_others(world):
    trace = []
    with pytest.raises(MultiError):
        async with Nursery() as nursery:
            nursery.start_soon(fail(ValueError(), after=1), shield=True)
            nursery.start_soon(note_cancellation(trace, "sibling"))
    assert trace == ["sibling"]


async def test_r19_a_shielded_block_ends_before_the_cancellation_comes(world):
    trace = []

    async def child():
        with CancelScope(shield=True):
            await turns(4)
            trace.append("inside")
        trace.append("after")
        await checkpoint()
        trace.append("not reached")

    async with Nursery() as nursery:
        nursery.start_soon(child())
        await turns(2)
        nursery.cancel()
    assert trace == ["inside", "after"]


async def test_r19_a_shield_let_down_lets_the_cancellation_in(world):
    trace = []
    scopes = []

    async def child():
        with CancelScope(shield=True) as scope:
            scopes.append(scope)
            await note_cancellation(trace, "cancelled")

    async with Nursery() as nursery:
        nursery.start_soon(child())
        await turns(2)
        nursery.cancel()
        asyncio.get_running_loop().call_soon(setattr, scopes[0], "shield", False)
    assert trace == ["cancelled"]


async def test_r19_a_shield_does_not_keep_out_its_own_cancellation(world):
    with CancelScope(shield=True) as scope:
        scope.cancel("from inside")
        await forever()
    assert scope.cancelled_caught
    assert scope.reason == "from inside"


@virtual
async def test_r19_a_shield_has_a_deadline_of_its_own():
    began = now()
    with move_on_after(1) as outer:
        with shield(deadline=now() + 5) as inner:
            await sleep_forever()
        assert round(now() - began, 6) == 5
        await checkpoint()
        pytest.fail("the outer deadline was lost")
    assert inner.cancelled_caught and outer.cancelled_caught


async def test_r19_a_shield_must_be_true_or_false(world):
    with CancelScope() as scope:
        with pytest.raises(TypeError, match="True or False"):
            scope.shield = 1


async def test_r20_a_shield_holds_against_a_bare_cancel_of_one_of_our_tasks(world):
    trace = []

    async def child():
        with shield():
            await turns(5)
            trace.append("shielded part done")
        await checkpoint()
        trace.append("not reached")

    async with Nursery() as nursery:
        task = nursery.start_soon(child())
        await turns(2)
        task.cancel()
    assert trace == ["shielded part done"]
    assert task.cancelled()


async def test_r20_what_asks_a_shielded_task_to_cancel_keeps_nothing_by_that(world):
    async def shielded():
        with shield():
            await gate.wait()

    gate = Event()
    async with Nursery() as nursery:
        task = nursery.start_soon(shielded)
        await turns(1)
        held = Noted()
        gone = weakref.ref(held)
        task.cancel()
        del held
        assert gone() is None
        gate.set()


async def test_r20_a_shield_that_a_cancellation_raises_itself_holds_for_what_has_not_heard(world):
    inner: list[CancelScope] = []
    went_on = []

    class Shields(asyncio.Future):
        def cancel(self, msg=None):
            inner[0].shield = True
            return super().cancel(msg)

    async def waits_in_a_shield_to_be(future):
        with CancelScope() as scope:
            inner.append(scope)
            await future
            went_on.append(True)

    async def waits(future):
        await future

    waited_for = asyncio.get_running_loop().create_future()
    async with Nursery() as nursery:
        nursery.start_soon(waits(Shields()))
        nursery.start_soon(waits_in_a_shield_to_be(waited_for))
        await turns(2)
        nursery.cancel()
        assert not waited_for.done()
        asyncio.get_running_loop().call_soon(waited_for.set_result, None)
    assert went_on and nursery.cancel_scope.cancelled_caught


async def test_r11_what_a_cancelled_task_awaits_hears_the_reason_of_the_scope_that_catches(world):
    heard = []

    class Hears(asyncio.Future):
        def cancel(self, msg=None):
            heard.append(msg)
            return super().cancel(msg)

    async def waits_inside():
        with CancelScope() as scope:
            scopes.append(scope)
            try:
                await Hears()
            finally:
                await Hears()

    scopes: list[CancelScope] = []
    async with Nursery() as nursery:
        nursery.start_soon(waits_inside())
        await turns(2)
        scopes[0].cancel("inside")
        await turns(2)
        nursery.cancel("around")
    assert heard == ["inside", "around"]


async def test_r20_a_shield_holds_against_a_bare_cancel_of_the_host_too(world):
    trace = []

    async def child():
        with shield():
            await turns(6)
            trace.append("child done")

    async def host():
        async with Nursery() as nursery:
            nursery.start_soon(child())

    task = asyncio.ensure_future(host())
    await turns(3)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert trace == ["child done"]


@virtual
async def test_r21_fail_after_raises_timeout_error_at_its_deadline():
    began = now()
    with pytest.raises(TimeoutError) as info:
        with fail_after(3) as scope:
            await sleep_forever()
    assert round(now() - began, 6) == 3
    assert scope.cancelled_caught
    assert isinstance(info.value.__cause__, asyncio.CancelledError)
    assert asked() == 0


@virtual
async def test_r21_fail_at_and_move_on_at_take_a_moment():
    moment = now() + 3
    with pytest.raises(TimeoutError):
        with fail_at(moment):
            await sleep_forever()
    with move_on_at(now() + 2) as scope:
        await sleep_forever()
    assert scope.cancelled_caught
    assert round(now() - moment, 6) == 2


@virtual
async def test_r21_move_on_after_goes_on_quietly():
    with move_on_after(3) as scope:
        await sleep_forever()
    assert scope.cancelled_caught
    with move_on_after(3) as scope:
        await sleep(1)
    assert not scope.cancelled_caught and not scope.cancel_called


@virtual
async def test_r21_none_means_never():
    for make in (fail_after, fail_at, move_on_after, move_on_at):
        with make(None) as scope:
            assert scope.deadline == math.inf
            await sleep(10_000)


@virtual
async def test_r21_the_earliest_unshielded_deadline_is_the_effective_one():
    assert current_effective_deadline() == math.inf
    began = now()
    with move_on_after(10):
        assert current_effective_deadline() == began + 10
        with move_on_after(20):
            assert current_effective_deadline() == began + 10
            with shield():
                assert current_effective_deadline() == math.inf
                with move_on_after(30):
                    assert current_effective_deadline() == began + 30
        with CancelScope() as scope:
            scope.cancel()
            assert current_effective_deadline() == -math.inf
        async with Nursery(deadline=began + 4):
            assert current_effective_deadline() == began + 4


@virtual
async def test_r21_children_inherit_the_effective_deadline():
    began = now()

    async def child():
        assert current_effective_deadline() == began + 6

    with move_on_after(6):
        async with Nursery() as nursery:
            task = nursery.start_soon(child())
    assert task.exception() is None


@virtual
async def test_r21_a_deadline_in_the_past_acts_at_the_first_await():
    trace = []
    with move_on_at(now() - 1) as scope:
        trace.append("before the first await")
        await checkpoint()
        trace.append("not reached")
    assert trace == ["before the first await"]
    assert scope.cancelled_caught


@virtual
async def test_r21_a_block_that_never_awaits_is_not_cancelled_by_its_deadline():
    with fail_at(now() - 1) as scope:
        done = True
    assert done
    assert not scope.cancelled_caught


@virtual
async def test_r21_a_cancellation_that_was_already_there_is_not_turned_into_a_timeout():
    ended = []

    async def victim():
        asyncio.current_task().cancel("by hand")
        try:
            with fail_after(0):
                await sleep(1)
        except TimeoutError:
            ended.append("timeout")
        except asyncio.CancelledError as error:
            ended.append(error.args)
            raise

    task = asyncio.ensure_future(victim())
    await asyncio.wait([task])
    assert task.cancelled()
    assert ended == [("by hand",)]


@virtual
async def test_r21_the_deadline_can_be_moved():
    began = now()
    with move_on_after(5) as scope:
        asyncio.get_running_loop().call_later(3, setattr, scope, "deadline", began + 9)
        await sleep_forever()
    assert round(now() - began, 6) == 9
    with move_on_after(5) as scope:
        scope.deadline = math.inf
        await sleep(50)
    assert not scope.cancel_called
    with move_on_after(5) as scope:
        scope.deadline = now() - 1
        await sleep(50)
        pytest.fail("a deadline that was moved into the past did not act")
    assert scope.cancelled_caught


@virtual
async def test_r21_a_nursery_has_a_deadline():
    began = now()
    trace = []
    async with Nursery(deadline=began + 2) as nursery:
        nursery.start_soon(note_cancellation(trace, "child"))
    assert trace == ["child"]
    assert round(now() - began, 6) == 2
    assert nursery.cancel_scope.source == "deadline"
    async with Nursery() as nursery:
        nursery.cancel_scope.deadline = now() + 1
        await sleep_forever()
    assert nursery.cancel_scope.cancelled_caught


@virtual
async def test_r21_sleeps_wake_at_their_moment_and_in_order():
    trace = []

    async def sleeper(seconds):
        began = now()
        assert await sleep(seconds, seconds) == seconds
        trace.append((seconds, round(now() - began, 6)))

    async with Nursery() as nursery:
        for seconds in (3, 1, 2, 0.5):
            nursery.start_soon(sleeper, seconds)
    assert trace == [(0.5, 0.5), (1, 1), (2, 2), (3, 3)]
    moment = now() + 4
    await sleep_until(moment)
    assert round(now() - moment, 6) == 0


async def test_r21_checkpoint_if_cancelled_waits_only_if_cancelled(world):
    trace = []
    asyncio.get_running_loop().call_soon(trace.append, "turn")
    await checkpoint_if_cancelled()
    assert trace == []
    with CancelScope() as scope:
        scope.cancel("why")
        with pytest.raises(Cancelled, match="why"):
            await checkpoint_if_cancelled()


async def test_r21_a_scope_cancelled_before_entry_acts_at_the_first_await(world):
    scope = CancelScope()
    scope.cancel("early")
    assert scope.cancel_called
    with scope:
        await forever()
    assert scope.cancelled_caught
    assert scope.reason == "early"


async def test_r21_the_reason_of_the_scope_is_given_if_cancel_gives_none(world):
    with CancelScope(reason="as agreed") as scope:
        scope.cancel()
        with pytest.raises(Cancelled) as info:
            await forever()
        assert info.value.reason == "as agreed"


async def test_r21_the_first_cancellation_counts(world):
    with CancelScope() as scope:
        scope.cancel("first")
        scope.cancel("second")
        await forever()
    assert scope.reason == "first"


async def test_r21_a_scope_passes_errors_on_and_swallows_only_its_own(world):
    with pytest.raises(ValueError):
        with CancelScope() as scope:
            scope.cancel()
            raise ValueError
    with pytest.raises(asyncio.CancelledError):
        with CancelScope() as scope:
            raise asyncio.CancelledError
    assert not scope.cancelled_caught


@virtual
async def test_r22_asyncio_timeout_around_a_nursery_cancels_it_and_times_out():
    trace = []
    began = now()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            async with Nursery() as nursery:
                nursery.start_soon(note_cancellation(trace, "child"))
                await note_cancellation(trace, "body")
    assert sorted(trace) == ["body", "child"]
    assert round(now() - began, 6) == 10
    assert asked() == 0


@virtual
async def test_r22_async_timeout_around_a_nursery_does_the_same():
    trace = []
    with pytest.raises(TimeoutError):
        async with async_timeout.timeout(10):
            async with Nursery() as nursery:
                nursery.start_soon(note_cancellation(trace, "child"))
    assert trace == ["child"]
    assert asked() == 0


@virtual
@pytest.mark.filterwarnings("error")
async def test_r22_timeouts_inside_a_child_stay_inside():
    async def child(make):
        with pytest.raises(TimeoutError):
            async with make(5):
                await forever()
        return "went on"

    async with Nursery() as nursery:
        tasks = [
            nursery.start_soon(child, make) for make in (asyncio.timeout, async_timeout.timeout)
        ]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await forever()
        await sleep(1)
    assert [task.result() for task in tasks] == ["went on", "went on"]


@virtual
async def test_r22_a_timeout_that_does_not_expire_leaves_a_failing_nursery_alone():
    with pytest.raises(MultiError):
        async with asyncio.timeout(10):
            async with Nursery() as nursery:
                nursery.start_soon(fail(ValueError()))
                await forever()
    assert asked() == 0


@virtual
async def test_r22_scopes_and_timeouts_nest_in_either_order():
    with pytest.raises(TimeoutError):
        with move_on_after(10) as scope:
            async with asyncio.timeout(5):
                await forever()
    assert not scope.cancel_called
    async with asyncio.timeout(10):
        with move_on_after(5) as scope:
            await forever()
        await sleep(1)
    assert scope.cancelled_caught
    assert asked() == 0
