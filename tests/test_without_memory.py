"""R31: where an allocation fails, a MemoryError comes out or is reported, and the loop goes on.

asyncio's own tasks are no better: a callback that the loop cannot call for want of memory is
reported and not called again, so what waits for it waits for ever.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from .helpers import outside_dev_mode

pytest.importorskip("_testcapi")

#: How many allocations are tried, each in a process of its own that forks from one.
ALLOCATIONS = 48

PROGRAM = """
import asyncio, math, os, sys
import _testcapi
import aionursery, uvloop

def leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]

async def value():
    return 1

async def short():
    await aionursery.sleep(0.001)

async def fails():
    raise ValueError

async def patient():
    await aionursery.sleep_forever()

async def nothing(nursery):
    pass

async def a_failure(nursery):
    nursery.start_soon(fails())

async def a_cancellation(nursery):
    nursery.start_soon(patient())
    await aionursery.sleep(0)
    nursery.cancel("enough")

async def a_start_now(nursery):
    nursery.start_now(short())

async def a_deadline(nursery):
    with aionursery.move_on_after(0.0005):
        await aionursery.sleep(1)

async def a_start(nursery):
    await nursery.start(ready)

async def ready(*, task_status):
    task_status.started()

async def takes(end):
    with end:
        return [item async for item in end]

async def gives(end):
    with end:
        await end.send(1)

async def a_channel(nursery):
    send, receive = aionursery.open_channel(0)
    with send, receive:
        task = nursery.start_soon(takes(receive.clone()))
        await aionursery.sleep(0)
        nursery.start_soon(gives(send.clone()))
        repr(send), send.statistics()
        await send.send(2)
    await task

var = aionursery.TreeVar("var")

async def a_look(nursery):
    scope = nursery.cancel_scope
    scope.deadline, scope.cleanup, scope.source, nursery.children
    aionursery.current_time(), aionursery.current_effective_deadline()
    var.set(1), var.get()
    for mistake in (lambda: aionursery.sleep(math.nan), lambda: setattr(scope, "shield", 1)):
        try:
            mistake()
        except (ValueError, TypeError):
            pass

async def main(before):
    async with aionursery.Nursery() as nursery:
        nursery.start_soon(value())
    _testcapi.set_nomemory(before, before + 1)
    try:
        async with aionursery.Nursery() as nursery:
            child = nursery.start_soon(value())
            nursery.start_soon(short())
            await {body}(nursery)
            await child
            child.add_done_callback(repr)
            repr(nursery)
    finally:
        _testcapi.remove_mem_hooks()

async def later():
    async with aionursery.Nursery() as nursery:
        children = [nursery.start_soon(short()) for _ in range(3)]
        children.append(nursery.start_soon(value()))
    return all(child.done() for child in children)

def is_lost(error):
    # These CPythons lose an exception that a coroutine raises where its traceback finds no memory;
    # asyncio's own task ends the process then.
    lossy = (3, 12) <= sys.version_info < (3, 14)
    return lossy and type(error) is SystemError and "failed without an exception" in str(error)

def check(errors):
    # All that is raised or reported is a MemoryError, or what one has led to.
    for error in errors:
        # A block whose exit could not even be called stays open for the one around it.
        unclosed = type(error) is RuntimeError and "is still open" in str(error)
        # uvloop forgets a timer of its own twice.
        uvloops = type(error) is KeyError and "TimerHandle" in repr(error)
        assert type(error) is MemoryError or unclosed or uvloops or is_lost(error), errors
    assert not errors or any(
        type(error) is MemoryError or is_lost(error) for error in errors
    ), errors

def one(before):
    reports, raised = [], []
    loop = {loop}()
    loop.set_exception_handler(lambda _, context: reports.append(context.get("exception")))
    task = {task}(main(before), loop=loop)
    handle = loop.call_later({patience}, loop.stop)
    try:
        loop.run_until_complete(task)
    except BaseException as exc:
        _testcapi.remove_mem_hooks()
        if str(exc) != "Event loop stopped before Future completed.":
            raised = [leaf for leaf in leaves(exc) if type(leaf) is not ValueError]
        elif not any(type(report) is MemoryError for report in reports):
            # A busy machine may take longer.
            loop.run_until_complete(asyncio.wait([task], timeout=20))
            assert task.done(), "hangs without a word"
    _testcapi.remove_mem_hooks()
    handle.cancel()
    check(raised + [report for report in reports if report is not None])
    assert loop.run_until_complete(asyncio.wait_for({task}(later(), loop=loop), 20))
    return not task.done()

lost = 0
for before in range({allocations}):
    child = os.fork()
    if not child:
        status = 70
        try:
            status = 3 if one(before) else 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, 3):
        print("allocation", before, "ended with", status, flush=True)
print("done", flush=True)
"""

BODIES = [
    "nothing",
    "a_failure",
    "a_cancellation",
    "a_start_now",
    "a_deadline",
    "a_start",
    "a_look",
    "a_channel",
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("task", ["asyncio.Task", "aionursery.Task"])
@pytest.mark.parametrize("loop", ["asyncio.SelectorEventLoop", "uvloop.new_event_loop"])
def test_r31_an_allocation_that_fails_stops_no_loop(loop, task, body):
    program = textwrap.dedent(PROGRAM).format(
        loop=loop, task=task, body=body, allocations=ALLOCATIONS, patience=0.3
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        # A loop of asyncio's in debug mode ends the process where it finds no memory.
        env=outside_dev_mode(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


FIRST_USE = """
import asyncio, _testcapi, aionursery, uvloop

async def enters(before):
    _testcapi.set_nomemory(before, before + 1)
    try:
        with aionursery.CancelScope():
            pass
    except MemoryError:
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return False

for new_loop in (asyncio.SelectorEventLoop, uvloop.new_event_loop):
    short = 0
    for before in range({allocations}):
        loop = new_loop()
        short += loop.run_until_complete(enters(before))
        assert not loop.run_until_complete(enters(10**9)), "it has recovered"
        loop.close()
    assert short, "an allocation has failed in it"
print("done")
"""


def test_r31_the_first_use_of_a_loop_may_find_no_memory():
    program = FIRST_USE.format(allocations=ALLOCATIONS)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
