"""KeyboardInterrupt and SystemExit that come up inside a call of ours leave the loop.

As with asyncio. No caller of ours could be raised to there, so anything else is reported.
"""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest

import aionursery
from aionursery import CancelScope, Nursery

from .helpers import turns
from .loop_kinds import KINDS

ENDS = [KeyboardInterrupt, SystemExit]


def run_until_it_leaves(loop: asyncio.AbstractEventLoop, end: type[BaseException]) -> None:
    """Run a loop, which `end` leaves before it is stopped; the loop can be run again."""
    handle = loop.call_later(5, loop.stop)
    with pytest.raises(end):
        loop.run_forever()
    handle.cancel()
    loop.run_until_complete(turns(2))
    loop.close()


def loop_that_schedules_badly(base: type, callback, end: type[BaseException]):
    class Loop(base):
        ended = False

        def call_soon(self, function, *args, context=None):
            if function is callback and not self.ended:
                self.ended = True
                raise end  # as the signal handler would in a function of Python's
            return super().call_soon(function, *args, context=context)

    return Loop()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("base", KINDS)
def test_r9_an_interrupt_while_a_callback_is_scheduled_leaves_the_loop(base, end):
    def note(_):
        pass

    loop = loop_that_schedules_badly(base, note, end)
    trace = []

    async def other():
        trace.append("other")

    async def child():
        await turns(1)

    task = aionursery.Task(child(), loop=loop)
    task.add_done_callback(note)
    aionursery.Task(turns(1), loop=loop)
    aionursery.Task(other(), loop=loop)
    run_until_it_leaves(loop, end)
    assert task.done() and trace == ["other"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("base", KINDS)
def test_r9_an_interrupt_while_a_wait_is_over_leaves_the_loop(base, end):
    def note(_):
        pass

    loop = loop_that_schedules_badly(base, note, end)

    loop.call_soon(lambda: aionursery.sleep(0.001).add_done_callback(note))
    run_until_it_leaves(loop, end)


async def waits_for_a_child(before):
    async with Nursery() as nursery:
        nursery.start_soon(call(before))


async def waits_for_a_future(before):
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: (before(), future.set_result(None)))
    await future


async def waits_for_a_task(before):
    await aionursery.Task(call(before), loop=asyncio.get_running_loop())


async def waits_for_an_event(before):
    event = aionursery.Event()
    asyncio.get_running_loop().call_soon(lambda: (before(), event.set()))
    await event.wait()


async def yields(before):
    before()
    await asyncio.sleep(0)


async def call(function):
    await turns(2)
    function()


WAITS = [waits_for_a_child, waits_for_a_future, waits_for_a_task, waits_for_an_event, yields]


@pytest.mark.parametrize("end", [*ENDS, MemoryError])
@pytest.mark.parametrize("base", KINDS)
@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("times", [1, 2])
def test_r9_an_error_while_a_turn_is_asked_for_forgets_no_task(base, wait, end, times):
    left = 0

    class Loop(base):
        def call_soon(self, function, *args, context=None):
            nonlocal left
            if left and getattr(function, "__name__", "") == "run_ready_tasks":
                left -= 1
                raise end  # as the signal handler would in a function of Python's
            return super().call_soon(function, *args, context=context)

    def fail_next():
        nonlocal left
        left = times

    async def host():
        await wait(fail_next)
        return "value"

    loop, reports = Loop(), []
    loop.set_debug(False)  # else each step is a call of the loop's own
    loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
    task = aionursery.Task(host(), loop=loop)
    handle = loop.call_later(5, loop.stop)
    # Where the loop refuses twice, whatever is scheduled next takes the task along.
    later = []

    def schedule():
        later.append(aionursery.Task(turns(1), loop=loop))
        if not task.done():
            loop.call_later(0.001, schedule)

    loop.call_later(0.001, schedule)
    for _ in range(3):
        try:
            loop.run_until_complete(asyncio.wait([aionursery.Task(turns(9), loop=loop), task]))
        except end:
            pass
    while not later or not all(one.done() for one in later):
        loop.run_until_complete(asyncio.sleep(0.001))
    handle.cancel()
    assert left < times and task.result() == "value"
    assert {type(error) for error in reports} <= {MemoryError}
    loop.close()


class Ends(asyncio.Future):
    """What it waits for ends the program when it is cancelled."""

    def __init__(self, end):
        super().__init__()
        self.end = end

    def cancel(self, msg=None):
        end, self.end = self.end, None
        if end is not None:
            raise end
        return super().cancel(msg)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("base", KINDS)
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "asyncio"])
@pytest.mark.parametrize("by", ["callback", "task", "deadline"])
def test_r9_an_interrupt_while_a_scope_cancels_leaves_the_loop(base, end, ours, by):
    loop = base()

    async def host():
        with CancelScope() as scope:
            scopes.append(scope)
            await Ends(end)

    async def cancel():
        scopes[0].cancel()

    def deadline():
        scopes[0].deadline = loop.time() + 0.001

    scopes: list[CancelScope] = []
    make = aionursery.Task if ours else asyncio.Task
    task = make(host(), loop=loop)
    if by == "callback":
        loop.call_soon(lambda: scopes[0].cancel())
    elif by == "task":
        other = make(cancel(), loop=loop)
        loop.call_soon(other.done)
    else:
        loop.call_soon(deadline)
    handle = loop.call_later(5, loop.stop)
    with pytest.raises(end):
        loop.run_forever()
    handle.cancel()
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("base", KINDS)
def test_r9_an_interrupt_in_the_exception_handler_leaves_the_loop(base, end):
    loop = base()

    def handler(loop, context):
        loop.set_exception_handler(None)
        raise end

    loop.set_exception_handler(handler)

    async def main():
        aionursery.Task(fails(), loop=loop)
        await turns(4)

    async def fails():
        raise ValueError

    main_task = loop.create_task(main())
    run_until_it_leaves(loop, end)
    assert main_task.done()


@pytest.mark.parametrize("end", ENDS)
def test_r9_an_interrupt_while_the_clock_is_read_leaves_the_loop(end):
    class Loop(asyncio.SelectorEventLoop):
        ended = True

        def time(self):
            if not self.ended:
                self.ended = True
                raise end
            return super().time()

    loop = Loop()

    async def fails():
        # The siblings are cancelled, for which the time is asked.
        loop.ended = False
        raise ValueError

    async def host():
        with pytest.raises(aionursery.MultiError):
            async with Nursery() as nursery:
                nursery.start_soon(fails())
                await aionursery.sleep_forever()

    task = aionursery.Task(host(), loop=loop)
    run_until_it_leaves(loop, end)
    assert task.done() and task.exception() is None


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("base", KINDS)
def test_r9_an_interrupt_while_the_loop_says_whether_it_debugs_comes_out_of_the_start(base, end):
    class Loop(base):
        armed = False

        def get_debug(self):
            # Not where asyncio's handle asks it.
            if self.armed and sys._getframe(1).f_code.co_name != "__init__":
                self.armed = False
                raise end
            return super().get_debug()

    async def child():
        trace.append("child")

    async def main():
        async with Nursery() as nursery:
            loop.armed = True
            nursery.start_soon(child())
            trace.append("goes on")

    trace = []
    loop = Loop()
    loop.set_debug(False)
    with pytest.raises(end):
        loop.run_until_complete(main())
    assert not loop.armed
    assert trace == [], "the child was refused, and its coroutine closed"
    loop.close()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("task_class", [asyncio.Task, aionursery.Task])
@pytest.mark.parametrize("base", KINDS)
def test_r9_an_interrupt_leaves_a_scope_that_is_left_in_the_wrong_order(base, task_class, end):
    """What the scope says of that is reported beside it."""
    reports = []

    async def host():
        with CancelScope():
            inner.__enter__()
            raise end

    inner = CancelScope()
    loop = base()
    loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
    task = task_class(host(), loop=loop)
    run_until_it_leaves(loop, end)
    assert isinstance(task.exception(), end)
    [error] = reports
    assert "left while a scope or nursery that was entered after it is still open" in str(error)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("base", KINDS)
def test_r9_an_interrupt_leaves_a_nursery_whose_exit_was_called_before(base, end):
    reports = []

    async def host():
        async with Nursery() as nursery:
            await nursery.__aexit__(None, None, None)
            raise end

    loop = base()
    loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
    task = aionursery.Task(host(), loop=loop)
    run_until_it_leaves(loop, end)
    assert isinstance(task.exception(), end)
    [error] = reports
    assert "was called before" in str(error) or "without having been entered" in str(error)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("base", KINDS)
def test_r9_an_interrupt_at_the_first_look_at_the_clock_comes_out_of_the_call(base, end):
    class Loop(base):
        armed = True

        def time(self):
            if self.armed:
                self.armed = False
                raise end
            return super().time()

    loop = Loop()
    coroutine = turns(1)
    with pytest.raises(end):
        aionursery.Task(coroutine, loop=loop)
    coroutine.close()
    loop.run_until_complete(aionursery.Task(turns(1), loop=loop))
    loop.close()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("base", KINDS)
def test_r9_an_interrupt_in_words_that_are_only_shown_leaves_the_loop(base, end):
    """A task of asyncio's is cancelled with a text, which a reason may fail to give."""

    class Reason:
        def __str__(self):
            raise end

    async def host():
        async with Nursery() as nursery:
            loop.call_soon(nursery.cancel, Reason())
            await asyncio.sleep(5)

    loop = base()
    task = asyncio.Task(host(), loop=loop)
    run_until_it_leaves(loop, end)
    assert task.done() and task.exception() is None


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("base", KINDS)
def test_r9_an_interrupt_for_a_step_that_never_comes_is_reported(base, end, monkeypatch):
    class Ducks:
        _asyncio_future_blocking = False

        def get_loop(self):
            raise end

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self

    async def host():
        await Ducks()

    reports = []
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reports.append(args.exc_type))
    loop = base()
    task = aionursery.Task(host(), loop=loop)
    loop.stop()
    loop.run_forever()  # one turn
    loop.close()
    assert not task.done() and not reports
    task._log_destroy_pending = False
    del task, loop
    gc.collect()
    assert reports == [end]
