"""R31: asyncio's own methods and attributes, taken from its classes and used on a task of ours.

Behind the fields that they look at stands nothing. They may refuse, in any words; the process
lives, the task goes on and ends as if it had not been asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import textwrap
import weakref

import pytest

import aionursery

from .helpers import turns
from .loop_kinds import LOOPS

PROGRAM = """
import asyncio, gc, inspect, io, sys
import aionursery, uvloop

PASSED_OVER = {{"__new__", "__class__", "__init_subclass__", "__subclasshook__", "__dict__"}}

async def waits(gate):
    return await gate

async def nothing():
    pass

def argument_lists(name, loop):
    yield (), {{}}
    for argument in (None, 1, ValueError(), gc.collect, "text", nothing()):
        yield (argument,), {{}}
        if inspect.iscoroutine(argument):
            argument.close()
    yield (None,), {{"context": None}}
    yield (), {{"loop": loop}}
    if name == "print_stack":
        yield (), {{"file": io.StringIO()}}
    if name in ("__setattr__", "__getattribute__"):
        yield ("_coro", None), {{}}

async def use(base, name, attribute, stage):
    loop = asyncio.get_running_loop()
    for args, kwargs in argument_lists(name, loop):
        gate = loop.create_future()
        task = aionursery.Task(waits(gate), loop=loop)
        if stage > 0:
            await asyncio.sleep(0)
        if stage > 1:
            gate.set_result("value")
            await task
        coro = task.get_coro()
        try:
            bound = attribute.__get__(task, type(task))
            if callable(bound) and not inspect.isdatadescriptor(attribute):
                repr(bound(*args, **kwargs))
            elif inspect.isdatadescriptor(attribute):
                repr(bound)
                attribute.__set__(task, args[0] if args else bound)
        except Exception as exc:
            repr(exc)
        repr(task), task._callbacks, task._fut_waiter, task._source_traceback
        gc.collect(0)
        if name == "__init__":
            # A coroutine is taken, as asyncio's own task takes another one. It only must not crash.
            gate.done() or gate.set_result("value")
            for _ in range(5):
                await asyncio.sleep(0)
            task._log_destroy_pending = False
            continue
        if stage < 2:
            assert task.get_coro() is coro, "another coroutine"
            gate.set_result("value")
        done, _ = await asyncio.wait([task], timeout=5)
        assert done and not task.cancelled() and task.result() == "value", task

async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    base = {base}
    for name in sorted(set(dir(base)) - PASSED_OVER):
        attribute = inspect.getattr_static(base, name)
        if not hasattr(attribute, "__get__"):
            continue
        for stage in range(3):
            print(name, stage, flush=True)
            await use(base, name, attribute, stage)
    for _ in range(3):
        gc.collect()
    print("alive")

sys.stdout.reconfigure(line_buffering=True)
with asyncio.Runner(loop_factory={loop}) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("base", ["asyncio.Task", "asyncio.Future"])
@pytest.mark.parametrize("loop", ["None", "uvloop.new_event_loop"], ids=["asyncio", "uvloop"])
def test_r31_what_asyncios_classes_do_to_a_task_of_ours_harms_nothing(base, loop):
    program = textwrap.dedent(PROGRAM).format(base=base, loop=loop)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
    )
    last = "\n".join(done.stdout.splitlines()[-3:])
    assert done.returncode == 0, f"after {last}: {done.stderr}"
    assert done.stdout.endswith("alive\n")


async def test_r23_asyncios_own_getters_find_the_coroutine_and_the_context(world):
    loop = asyncio.get_running_loop()
    task = aionursery.Task(asyncio.sleep(0), loop=loop)
    assert asyncio.Task.get_coro(task) is task.get_coro()
    if sys.version_info >= (3, 12):
        assert asyncio.Task.get_context(task) is task.get_context()
    await task


@pytest.mark.parametrize("kind", LOOPS)
def test_r31_a_task_that_asyncio_has_begun_again_on_another_loop_enters_nothing_there(kind):
    own, other = LOOPS[kind](), LOOPS[kind]()
    refused = []

    async def enters():
        for block in (aionursery.CancelScope, aionursery.Nursery):
            with pytest.raises(RuntimeError, match="another loop's") as raised:
                async with contextlib.AsyncExitStack() as stack:
                    if block is aionursery.Nursery:
                        await stack.enter_async_context(block())
                    else:
                        stack.enter_context(block())
            refused.append(raised.value)

    first = waits_for(asyncio.Event())
    task = aionursery.Task(first, loop=own)
    task._log_destroy_pending = False
    asyncio.Task.__init__(task, enters(), loop=other)
    first.close()
    other.run_until_complete(turns(5))
    assert len(refused) == 2
    refused.clear()
    gone = weakref.ref(task)
    del task
    other.close()
    own.close()
    del own, other
    gc.collect()
    assert gone() is None


async def waits_for(event):
    await event.wait()
