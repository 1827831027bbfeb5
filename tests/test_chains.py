"""A long chain of tasks, each held by the next alone, goes without using up the stack."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import asyncio, contextvars, gc, threading
import aionursery

LENGTH = 20_000
gc.disable()
variable = contextvars.ContextVar("variable")

async def returns(held):
    return held

async def fails(held):
    raise ValueError

async def waits(held):
    await asyncio.sleep(3600)

async def nothing():
    pass

def result(loop, before):
    return aionursery.Task(returns(before), loop=loop)

def eager_result(loop, before):
    return aionursery.eager_task_factory(loop, returns(before))

def result_in_a_list(loop, before):
    return aionursery.Task(returns([before]), loop=loop)

def failure(loop, before):
    task = aionursery.Task(fails(before), loop=loop)
    task.add_done_callback(lambda task: task.exception())
    return task

def context(loop, before):
    holds = contextvars.Context()
    holds.run(variable.set, before)
    return aionursery.Task(nothing(), loop=loop, context=holds)

def message(loop, before):
    task = aionursery.Task(waits(None), loop=loop)
    task.cancel(before)
    return task

def never_started(loop, before):
    task = aionursery.Task(waits(before), loop=loop)
    task._log_destroy_pending = False
    return task

async def build(make):
    loop = asyncio.get_running_loop()
    task = None
    loop.set_debug(make is never_started)  # then nothing but the loop's handles holds them
    for _ in range(LENGTH):
        task = make(loop, task)
    if make is never_started:
        return None  # the loop is closed over them
    await aionursery.sleep(0.01)
    return [task]

def run():
    chain = asyncio.Runner()
    loop = chain.get_loop()
    if {make} is never_started:
        loop.run_until_complete(build({make}))
        loop._ready.clear()
        loop.close()
    else:
        last = chain.run(build({make}))
        print("built", flush=True)
        last.clear()
        chain.close()
    print("gone", flush=True)

threading.stack_size(512 * 1024)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""

CHAINS = [
    "result",
    "eager_result",
    "result_in_a_list",
    "failure",
    "context",
    "message",
    "never_started",
]


@pytest.mark.parametrize("make", CHAINS)
def test_a_long_chain_of_tasks_goes_without_using_up_the_stack(make):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM).format(make=make)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("gone\n")


SINGLE = """
import threading, warnings
import aionursery

LENGTH = 20_000
warnings.simplefilter("ignore")

def run():
    last = None
    for _ in range(LENGTH):
        last = {make}
    print("built", flush=True)
    del last
    print("gone", flush=True)

threading.stack_size(512 * 1024)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(
    "make",
    [
        "aionursery.CancelScope(reason=last)",
        "aionursery.sleep(1, last)",
        "aionursery.sleep(1, aionursery.CancelScope(reason=last))",
    ],
)
def test_r31_a_long_chain_of_scopes_and_sleeps_goes_without_using_up_the_stack(make):
    command = [sys.executable, "-c", SINGLE.format(make=make)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("gone\n")
