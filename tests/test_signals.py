"""R7, R9: SIGINT for real, at any moment of a drain. Nothing is lost, and no batch is forgotten."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import asyncio, os, random, signal, sys, time
import aionursery, uvloop

random.seed(17)
new_loop = {loop}
signal.signal(signal.SIGINT, signal.default_int_handler)

async def child(ended):
    try:
        while True:
            for _ in range(3):
                await asyncio.sleep(0)
            await aionursery.sleep(0)
            if count is not None:
                return
    finally:
        ended.append(1)
"""

#: A handler that raises wherever it is called inside the loop: in a step, a callback, between two.
RAISES = """
SIGNALS, CHILDREN, ALONE = {signals}, 30, 5
# What runs only inside the loop: all of it, or where it is C code, what it calls.
INSIDE = {{"_run_once", "child", "alone", "host"}}
count = raised = 0
armed = False

def handler(signum, frame):
    global count, raised
    count += 1
    # Where a loop is begun or left, neither asyncio's nor uvloop survives an interrupt.
    while frame and frame.f_code.co_name not in INSIDE:
        frame = frame.f_back
    if armed and frame:
        raised += 1
        raise KeyboardInterrupt

def send(parent):
    while os.getppid() == parent:
        time.sleep(random.uniform(0.0001, 0.002))
        os.kill(parent, signal.SIGINT)

async def host(children, ended):
    async with aionursery.Nursery() as nursery:
        for _ in range(CHILDREN):
            children.append(nursery.start_soon(child(ended)))

async def alone(done):
    "No nursery knows it, so what the loop forgets is forgotten."
    for _ in range(6):
        await asyncio.sleep(0)
    done.append(1)

def drain(loop, tasks):
    "Run the loop until all have ended, however often an interrupt leaves it."
    global armed
    for _ in range(50 + 10 * len(tasks)):
        if all(task.done() for task in tasks):
            return
        waits = loop.create_task(asyncio.wait(tasks))
        waits._log_destroy_pending = False
        armed = True
        try:
            loop.run_until_complete(waits)
        except KeyboardInterrupt:
            armed = False
        except RuntimeError as exc:
            armed = False
            assert "stopped before Future completed" in str(exc)
        finally:
            armed = False
            waits.cancel()
    raise AssertionError(f"the drain does not end: {{tasks}}")

def main():
    loop = new_loop()
    # In debug mode asyncio's loop takes a callback some steps before it calls it.
    loop.set_debug(False)
    loop.set_task_factory(aionursery.task_factory)
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    rounds = 0
    while count < SIGNALS:
        rounds += 1
        children, ended, done = [], [], []
        tasks = [loop.create_task(host(children, ended))]
        tasks += [loop.create_task(alone(done)) for _ in range(ALONE)]
        drain(loop, tasks)
        assert all(it.done() for it in children), "a child has outlived its nursery"
        interrupted = 0
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            assert error is None or type(error) is KeyboardInterrupt, repr(error)
            interrupted += task in tasks[1:] and error is not None
        assert len(done) + interrupted == ALONE, "a task was forgotten"
        failures = [it.exception() for it in children if not it.cancelled()]
        assert {{type(error) for error in failures}} <= {{type(None), KeyboardInterrupt}}
    loop.close()
    for context in reports:
        error = context.get("exception")
        assert error is None or type(error) is KeyboardInterrupt, context
    assert raised > SIGNALS // 4, (raised, count, rounds)
    print("ends")

parent = os.getpid()
sender = os.fork()
if not sender:
    try:
        send(parent)
    finally:
        os._exit(0)
signal.signal(signal.SIGINT, handler)
try:
    main()
finally:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.kill(sender, signal.SIGKILL)
    os.waitpid(sender, 0)
"""

#: asyncio's handler, which cancels what `run` was given.
CANCELS = """
ROUNDS = {rounds}
count = None
ask, asked = os.pipe()

def send(parent):
    while os.read(ask, 1):
        time.sleep(random.uniform(0, 0.003))
        os.kill(parent, signal.SIGINT)

async def main(ended, begun, errors):
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    os.write(asked, b"1")
    async with aionursery.Nursery() as outer:
        async with aionursery.Nursery() as nursery:
            for _ in range(20):
                begun.append(nursery.start_soon(child(ended)))
            outer.start_soon(aionursery.sleep_forever())
            await aionursery.sleep_forever()

parent = os.getpid()
sender = os.fork()
if not sender:
    os.close(asked)
    try:
        send(parent)
    finally:
        os._exit(0)
os.close(ask)
for _ in range(ROUNDS):
    ended, begun, errors = [], [], []
    try:
        aionursery.run(main(ended, begun, errors), loop_factory=new_loop)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("it was not interrupted")
    assert all(it.cancelled() for it in begun), begun
    # One that was cancelled before its first step has taken it all the same (R17).
    assert len(ended) == len(begun) and not errors, (len(ended), len(begun), errors)
os.close(asked)
os.waitpid(sender, 0)
print("ends")
"""

LOOPS = ["asyncio.SelectorEventLoop", "uvloop.new_event_loop"]


def run(program: str, **settings) -> None:
    """Run a program that a defect may kill, or keep for ever."""
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "faulthandler",
            "-c",
            textwrap.dedent(PREAMBLE + program).format(**settings),
        ],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr


@pytest.mark.parametrize("loop", LOOPS)
def test_r9_a_thousand_interrupts_at_any_moment_of_a_drain_lose_nothing(loop):
    run(RAISES, loop=loop, signals=1000)


@pytest.mark.parametrize("loop", LOOPS)
def test_r9_an_interrupt_of_run_ends_every_child_in_order(loop):
    run(CANCELS, loop=loop, rounds=200)
