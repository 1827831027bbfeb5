"""Blocks left as they must not be, and nurseries that another block joins (R3, R7, R31)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref

import pytest

import aionursery
from aionursery import CancelScope, MultiError, Nursery, TaskGroup

from .helpers import Trace, fail, forever, note_cancellation, turns
from .loop_kinds import KINDS, LOOPS


async def test_r3_a_nursery_never_left_in_a_child_is_joined_by_the_block_outside(world):
    ended = []

    async def grandchild():
        try:
            await forever()
        finally:
            await turns(2)
            ended.append("grandchild")

    async def child():
        nursery = Nursery()
        await nursery.__aenter__()
        nursery.start_soon(grandchild())
        kept.append(nursery)
        await turns(1)

    kept = []
    with pytest.raises(MultiError) as caught:
        async with Nursery() as outer:
            outer.start_soon(child(), name="forgetful")
    assert ended == ["grandchild"]
    assert any("has ended without leaving a nursery" in str(error) for error in caught.value)
    assert "forgetful" in caught.value.names
    assert asyncio.get_running_loop()._aionursery.size()[1] == 0
    with pytest.raises(RuntimeError):
        await kept[0].__aexit__(None, None, None)


async def test_r3_a_generator_left_by_break_cancels_only_its_children(world):
    async def numbers():
        async with Nursery() as nursery:
            nursery.start_soon(forever())
            yield 1
            yield 2

    async def leaves():
        values = numbers()
        async for _ in values:
            break
        with pytest.raises(RuntimeError, match="another task than entered it"):
            await asyncio.ensure_future(values.aclose())
        await turns(3)
        return "goes on"

    task = asyncio.ensure_future(leaves())
    assert await task == "goes on"


@pytest.mark.parametrize("group", [TaskGroup, asyncio.TaskGroup])
async def test_r3_a_group_is_left_by_another_task_once_its_host_has_ended(world, group):
    ended = []

    async def child():
        await turns(3)
        ended.append("child")

    manager = group()

    async def enters():
        await manager.__aenter__()

    await asyncio.ensure_future(enters())
    manager.create_task(child())
    await asyncio.ensure_future(manager.__aexit__(None, None, None))
    assert ended == ["child"]


async def test_r31_a_nurserys_own_scope_is_neither_entered_nor_left_by_hand(world):
    fresh = Nursery()
    with pytest.raises(RuntimeError, match="is a nursery's"):
        fresh.cancel_scope.__enter__()
    async with Nursery() as nursery:
        child = nursery.start_soon(forever())
        with pytest.raises(RuntimeError, match="is a nursery's"):
            nursery.cancel_scope.__exit__(None, None, None)
        nursery.cancel()
    assert child.cancelled()


async def test_r31_a_future_whose_cancel_enters_a_scope_leaves_nothing_behind(world):
    class Enters(asyncio.Future):
        def cancel(self, msg=None):
            with CancelScope():
                aionursery.current_effective_deadline()
            return super().cancel(msg)

    async def waits():
        await Enters()

    loop = asyncio.get_running_loop()
    for _ in range(5):
        with pytest.raises(MultiError):
            async with Nursery() as nursery:
                nursery.start_soon(waits())
                await turns(1)
                nursery.start_soon(fail(ValueError()))
    del nursery
    gc.collect()
    assert loop._aionursery.size() == (0, 0, 0)


async def test_r31_a_reason_whose_destructor_asks_the_tree_is_let_go_outside_of_it(world):
    asked = []

    class Reason:
        def __del__(self):
            asked.append(aionursery.current_effective_deadline())

    async def enters_and_never_leaves(box):
        scope = CancelScope()
        scope.__enter__()
        scope.cancel(Reason())
        box.append(scope)

    box: list[CancelScope] = []
    await asyncio.ensure_future(enters_and_never_leaves(box))
    await turns(1)
    box.clear()
    gc.collect()
    assert len(asked) == 1


async def test_r15_two_exits_of_one_nursery_are_refused(world):
    nursery = Nursery()
    await nursery.__aenter__()
    nursery.start_soon(turns(3))
    first = nursery.__aexit__(None, None, None)
    second = nursery.__aexit__(None, None, None)

    async def leaves(join):
        return await join

    first.send(None)
    with pytest.raises(RuntimeError, match="already being left"):
        second.send(None)
    first.close()
    await turns(4)


async def test_r13_what_awaits_a_future_itself_is_thrown_its_error(world):
    class Reply:
        def __init__(self):
            self.future = asyncio.get_running_loop().create_future()

        def __await__(self):
            self.future._asyncio_future_blocking = True
            yield self.future
            return "went on"

    async def user(reply):
        return await reply

    reply = Reply()
    task = asyncio.ensure_future(user(reply))
    await turns(1)
    reply.future.set_exception(ValueError("thrown"))
    with pytest.raises(ValueError, match="thrown"):
        await task
    reply = Reply()
    task = asyncio.ensure_future(user(reply))
    await turns(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_r13_a_scope_takes_its_own_cancellation_out_of_a_group_at_any_depth(world):
    async def raises(*errors):
        try:
            await forever()
        except asyncio.CancelledError as cancelled:
            inner = BaseExceptionGroup("inner", [cancelled, *errors])
            raise BaseExceptionGroup("outer", [inner]) from None

    with pytest.raises(BaseExceptionGroup) as caught:
        with CancelScope() as scope:
            scope.cancel()
            await raises(ValueError(1))
    assert caught.value.subgroup(asyncio.CancelledError) is None
    assert isinstance(caught.value.exceptions[0].exceptions[0], ValueError)
    with CancelScope() as scope:
        scope.cancel()
        await raises()
    assert scope.cancelled_caught


async def test_r12a_what_was_waited_for_and_got_is_not_taken_by_a_scope(world):
    if not world.ours:
        pytest.skip("a wait of asyncio's own tasks is seen as far as its future is")
    got = []

    async def takes(future):
        got.append(await future)
        await forever()

    future = asyncio.get_running_loop().create_future()
    async with Nursery() as nursery:
        nursery.start_soon(takes(future))
        await turns(2)
        future.set_result("connection")
        nursery.cancel()
    assert got == ["connection"]


async def test_r23_all_tasks_has_children_before_their_first_step(world):
    async with Nursery() as nursery:
        child = nursery.start_soon(turns(1))
        assert child in asyncio.all_tasks()
    assert child not in asyncio.all_tasks()


async def test_r8_the_names_of_the_children_stand_beside_the_errors(world):
    with pytest.raises(MultiError) as caught:
        async with Nursery() as nursery:
            nursery.start_soon(fail(ValueError(1)), name="first")
            nursery.start_soon(fail(ValueError(2)), name="second")
            raise ValueError(0)
    assert caught.value.names == (None, "first", "second")


async def test_r31_an_error_that_goes_at_the_end_of_a_block_may_use_its_nursery(world):
    said = []

    class Part(Exception):
        def __del__(self):
            try:
                nursery.cancel()
                nursery.start_soon(forever)
            except RuntimeError as error:
                said.append(type(error).__name__)

    async def child():
        try:
            await forever()
        except asyncio.CancelledError as cancelled:
            raise BaseExceptionGroup("both", [cancelled, Part()]) from None

    nursery = Nursery()
    with pytest.raises(MultiError) as caught:
        async with nursery:
            nursery.start_soon(child())
            await turns(1)
            nursery.cancel()
    del caught
    gc.collect()
    assert said == ["NurseryClosed"]


async def test_r31_a_clock_that_enters_a_scope_while_a_block_is_left_is_a_misuse(world):
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("its clock cannot be replaced")
    time = loop.time

    def enters():
        if asyncio.current_task() is not None:
            loop.clock = time
            CancelScope().__enter__()
        return time()

    class Loop(type(loop)):
        def time(self):
            return self.clock()

    loop.clock = time
    loop.__class__ = Loop
    with pytest.raises((MultiError, ValueError)):
        async with Nursery() as nursery:
            nursery.start_soon(forever())
            await turns(1)
            loop.clock = enters
            raise ValueError


async def test_r23_sending_to_a_wait_that_ends_by_it_stops(world):
    wait = aionursery.sleep(0)
    wait.send(None)
    with pytest.raises(StopIteration):
        wait.send(None)


async def test_r31_a_join_that_is_closed_by_another_task_ends_for_the_task_that_awaits_it(world):
    joins = []

    async def host():
        nursery = Nursery()
        await nursery.__aenter__()
        nursery.start_soon(turns(2))
        joins.append(nursery.__aexit__(None, None, None))
        await joins[0]

    task = asyncio.ensure_future(host())
    await turns(2)
    joins[0].close()
    await asyncio.wait([task], timeout=5)
    assert isinstance(task.exception(), RuntimeError)


@pytest.mark.parametrize("block", [CancelScope, Nursery])
async def test_r3_a_block_that_is_left_too_early_cancels_what_stands_inside(world, block):
    trace = []
    outer = block()
    is_nursery = block is Nursery
    if is_nursery:
        await outer.__aenter__()
    else:
        outer.__enter__()
    async with Nursery() as inner:
        inner.start_soon(note_cancellation(trace, "child"))
        await turns(1)
        with pytest.raises(RuntimeError, match="in the reverse order"):
            if is_nursery:
                await outer.__aexit__(None, None, None)
            else:
                outer.__exit__(None, None, None)
    assert trace == ["child"]
    assert inner.cancel_scope.cancel_called and inner.cancel_scope.cancelled_caught
    await turns(2)  # and nothing strays
    assert asyncio.get_running_loop()._aionursery.size()[2] == 0


@pytest.mark.parametrize("body", [None, ValueError("body")])
async def test_r3_a_nursery_that_the_block_outside_joins_can_still_be_closed(world, body):
    closing, ended = [], []

    async def stubborn():
        try:
            await forever()
        finally:
            await gate.wait()
            ended.append("child")

    async def values():
        async with Nursery() as nursery:
            nursery.start_soon(stubborn())
            yield 1
            if body is not None:
                raise body

    async def forgetful():
        kept.append(values())
        await anext(kept[0])

    async def close():
        ended_before = list(ended)
        try:
            if body is None:
                await kept[0].aclose()
            else:
                await anext(kept[0])
        except BaseException as error:
            closing.append((ended_before, list(ended), error))

    kept, gate = [], asyncio.Event()
    closer = None
    with pytest.raises(MultiError) as caught:
        async with Nursery() as outer:
            outer.start_soon(forgetful(), name="forgetful")
            with CancelScope(shield=True):
                await turns(3)
                closer = asyncio.ensure_future(close())
                await turns(3)
                assert not closing, "the child still runs"
                gate.set()
                await closer
    [(before, after, error)] = closing
    assert (before, after) == ([], ["child"])
    assert [type(one) for one in caught.value] == [RuntimeError]
    if body is None:
        assert isinstance(error, RuntimeError)
    else:
        # The misuse was said outside, so here it is the body's error alone.
        assert isinstance(error, MultiError) and list(error) == [body]


@pytest.mark.parametrize("task", [asyncio.Task, aionursery.Task])
@pytest.mark.parametrize("new_loop", KINDS)
def test_r3_children_whose_loop_is_closed_take_no_step_when_their_host_goes(task, new_loop):
    trace, reports = [], []

    async def begun():
        try:
            await forever()
        finally:
            trace.append("closed")

    async def fresh():
        trace.append("must not begin")

    async def host():
        async with Nursery() as nursery:
            nursery.start_soon(begun())
            await asyncio.sleep(0)
            if new_loop is not LOOPS.get("uvloop"):
                # uvloop still runs what was ready when it was stopped.
                nursery.start_soon(fresh())
            asyncio.get_running_loop().stop()
            await forever()

    loop = new_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
    running = task(host(), loop=loop)
    loop.run_forever()
    loop.close()
    running._log_destroy_pending = False
    del running, loop
    gc.collect()
    assert trace == ["closed"]
    assert any("of its children were closed" in report for report in reports), reports


@pytest.mark.parametrize("left", [[], [ValueError("left")]])
@pytest.mark.parametrize("by", ["child", "body"])
async def test_r13a_a_cancellation_leaves_a_block_alone_and_never_in_a_group(world, by, left):
    async def raises_a_group():
        try:
            await forever()
        except asyncio.CancelledError as error:
            raise BaseExceptionGroup("", [error, *left]) from None

    with CancelScope(cleanup=0) as outer:
        try:
            async with Nursery() as nursery:
                if by == "child":
                    nursery.start_soon(raises_a_group())
                    await turns(1)
                    outer.cancel()
                else:
                    asyncio.get_running_loop().call_soon(outer.cancel)
                    await raises_a_group()
        except BaseException as error:
            raised = error
            await asyncio.sleep(0)  # where the cancellation acts, if errors have left
            pytest.fail("the cancellation was lost")
    assert outer.cancelled_caught
    if left:
        assert isinstance(raised, MultiError)
        assert [error.exceptions for error in raised] == [tuple(left)]
    else:
        assert isinstance(raised, asyncio.CancelledError)


async def test_r3_the_exit_of_a_nursery_is_awaited_by_one_task(world):
    async def child():
        with pytest.raises(RuntimeError, match="is being awaited already"):
            await leaving
        trace.append("refused")
        await forever()

    trace = []
    nursery = Nursery()
    await nursery.__aenter__()
    nursery.start_soon(child())
    leaving = nursery.__aexit__(None, None, None)
    asyncio.get_running_loop().call_later(0.01, nursery.cancel)
    await leaving
    assert trace == ["refused"]


@pytest.mark.parametrize("task", [asyncio.Task, aionursery.Task])
@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
def test_r10_blocks_that_are_entered_and_forgotten_leave_nothing_behind(task, new_loop):
    async def forgets_a_scope():
        CancelScope(deadline=1e9).__enter__()

    async def forgets_a_nursery():
        nursery = Nursery()
        await nursery.__aenter__()
        nursery.__aexit__(None, None, None)
        raise KeyboardInterrupt

    loop = new_loop()
    loop.set_exception_handler(lambda *_: None)
    for _ in range(40):
        for forgets in (forgets_a_scope, forgets_a_nursery):
            try:
                loop.run_until_complete(task(forgets(), loop=loop))
            except KeyboardInterrupt:
                pass
        gc.collect()
    loop.run_until_complete(turns(1))  # the error of the last one is let go
    gc.collect()
    # A task of asyncio's that has ended is found out when others come.
    most = 0 if task is aionursery.Task else 20
    assert max(loop._aionursery.size()) <= most
    loop.close()


@pytest.mark.parametrize("body", ["joins", "sleeps"])
async def test_r31_a_task_whose_coroutine_another_closes_still_ends(world, body):
    async def waits():
        if body == "joins":
            async with Nursery() as nursery:
                nursery.start_soon(forever())
        else:
            await aionursery.sleep(3600)

    task = asyncio.ensure_future(waits())
    await turns(3)
    task.get_coro().close()
    _, pending = await asyncio.wait([task], timeout=5)
    assert not pending
    assert task.cancelled() or isinstance(task.exception(), RuntimeError)


@pytest.mark.parametrize("kind", [asyncio.Task, aionursery.Task])
@pytest.mark.parametrize("new_loop", KINDS)
@pytest.mark.parametrize("inside", [True, False], ids=["in the loop", "outside"])
def test_r7_an_error_in_a_nursery_that_was_never_left_is_reported(new_loop, kind, inside):
    loop, kept, seen = new_loop(), [], []
    loop.set_exception_handler(lambda _, context: seen.append(context.get("exception")))

    async def fails():
        raise ValueError("a child's")

    async def main():
        nursery = Nursery()
        kept.append(nursery)
        await nursery.__aenter__()
        nursery.start_soon(fails)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)

    async def forget():
        kept.clear()

    before, sys.unraisablehook = sys.unraisablehook, lambda args: seen.append(args.exc_value)
    try:
        loop.run_until_complete(kind(main(), loop=loop))
        if inside:
            loop.run_until_complete(forget())
        kept.clear()
    finally:
        sys.unraisablehook = before
        loop.close()
    assert "a child's" in [str(error) for error in seen]


async def test_r3_a_child_that_yields_on_and_on_does_not_hold_up_what_closes_its_nursery(world):
    steps = 0

    async def child():
        nonlocal steps
        while steps < 100_000 and not over:
            steps += 1
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                pass

    async def generate():
        async with Nursery() as nursery:
            nursery.start_soon(child)
            yield

    async def close():
        generator = generate()
        await anext(generator)
        asyncio.get_running_loop().call_soon(lambda: (seen.append(steps), over.append(True)))
        await generator.aclose()

    over, seen = [], []
    await close()
    assert seen[0] < 1_000


@pytest.mark.reports
@pytest.mark.parametrize("ends", ["at once", "after its nursery has closed"])
async def test_r10_a_nursery_whose_host_is_closed_while_it_joins_and_ends_is_freed(world, ends):
    async def child():
        try:
            await forever()
        finally:
            await released.wait()

    @contextlib.asynccontextmanager
    async def block():
        nursery = Nursery()
        left.append(weakref.ref(nursery))
        async with nursery:
            nursery.start_soon(child)
            yield

    async def body():
        async with block():
            await forever()

    async def host():
        # Until 3.12, the second one does not reach the generator's frame.
        steps = body().__await__()
        steps.send(None)
        steps.throw(GeneratorExit())
        with pytest.raises(GeneratorExit):
            steps.throw(GeneratorExit())
        if ends != "at once":
            with contextlib.suppress(asyncio.CancelledError):
                await turns(1)
            released.set()
            await turns(6)

    left, released = [], asyncio.Event()
    await asyncio.wait([asyncio.ensure_future(host())])
    released.set()
    await turns(6)
    # A task of asyncio's that has ended is found out when others come.
    await asyncio.wait([asyncio.ensure_future(enter_and_leave()) for _ in range(40)])
    world.reports.clear()
    gc.collect()
    assert left[0]() is None


@pytest.mark.reports
@pytest.mark.parametrize("ends", ["close", "GeneratorExit", "KeyError", "del"])
@pytest.mark.parametrize("fails", [ValueError, GeneratorExit])
async def test_r10_a_nursery_whose_join_is_over_and_is_closed_is_freed(world, ends, fails):
    async def child():
        try:
            await forever()
        finally:
            await released.wait()

    async def body():
        nursery = Nursery()
        left.append(weakref.ref(nursery))
        async with nursery:
            nursery.start_soon(child)
            await forever()

    async def host():
        steps = body().__await__()
        steps.send(None)
        steps.throw(fails())
        released.set()
        for _ in range(6):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        if ends == "close":
            steps.close()
        elif ends != "del":
            kind = {"KeyError": KeyError, "GeneratorExit": GeneratorExit}[ends]
            with pytest.raises(kind):
                steps.throw(kind())
        del steps

    left, released = [], asyncio.Event()
    await asyncio.wait([asyncio.ensure_future(host())])
    assert [type(report["exception"]) for report in world.reports] == [fails]
    world.reports.clear()
    gc.collect()
    assert left[0]() is None


async def test_r3_what_is_thrown_into_a_second_exit_leaves_the_first_one_alone(world):
    async def child():
        await turns(1)
        with pytest.raises(KeyError):
            nursery.__aexit__(None, None, None).__await__().throw(KeyError())
        await turns(1)
        trace.append("child")

    trace = Trace()
    async with Nursery() as nursery:
        nursery.start_soon(child)
    trace.append("left")
    assert trace == ["child", "left"]


@pytest.mark.reports
async def test_r31_a_nursery_is_closed_by_force_while_it_is_closed_by_force(world):
    class Biting(asyncio.Future):
        def cancel(self, msg=None):
            with contextlib.suppress(KeyError):
                nursery.__aexit__(None, None, None).__await__().throw(KeyError())
            return super().cancel(msg)

    async def child():
        await Biting()

    nursery = Nursery()
    await nursery.__aenter__()
    task = nursery.start_soon(child)
    await turns(1)
    with pytest.raises(KeyError):
        nursery.__aexit__(None, None, None).__await__().throw(KeyError())
    await asyncio.wait([task])
    assert task.cancelled()
    assert nursery.closed


async def enter_and_leave():
    with CancelScope():
        await turns(1)
