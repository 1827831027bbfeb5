"""Children of `os.fork` inside a running loop, and interpreters beside the main one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import asyncio, gc, os, sys, threading, warnings
import aionursery, uvloop

warnings.simplefilter("ignore")  # 3.12 and later warn of a fork beside threads

new_loop = {loop}
make = {task}

async def child(value):
    await aionursery.sleep(0.001)
    return value

async def fails():
    raise ValueError

async def forever():
    await asyncio.get_running_loop().create_future()

async def inside():
    "All that a program of its own does."
    loop = asyncio.get_running_loop()
    with aionursery.move_on_after(0.001) as scope:
        await aionursery.sleep_forever()
    assert scope.cancelled_caught
    try:
        async with aionursery.Nursery() as nursery:
            kept = nursery.start_soon(child(5))
            nursery.start_soon(forever())
            await kept
            nursery.start_soon(fails())
    except aionursery.MultiError as error:
        assert len(error) == 1
    assert {{task.get_coro().__name__ for task in asyncio.all_tasks()}} == {{"inside"}}
    return kept.result()

def alone():
    "A loop of its own, in a process that was forked."
    loop = new_loop()
    try:
        value = loop.run_until_complete(make(inside(), loop=loop))
    finally:
        loop.close()
    return value

def fork(end):
    "The exit code of a child that runs `alone`."
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        status = 70
        try:
            gc.collect()
            status = alone()
            gc.collect()
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            end(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

IN_A_STEP = """
async def main():
    async with aionursery.Nursery() as nursery:
        nursery.start_soon(forever())
        nursery.start_soon(aionursery.sleep(1000))
        with aionursery.fail_after(1000):
            await asyncio.sleep(0)
            print("child", fork(os._exit))
            await asyncio.sleep(0)
            print("child", fork(os._exit))
            kept = nursery.start_soon(child("parent"))
            print(await kept)
        nursery.cancel()
    print("ends")

loop = new_loop()
loop.run_until_complete(make(main(), loop=loop))
loop.close()
"""

IN_A_CALLBACK = """
async def main():
    loop = asyncio.get_running_loop()
    gate = loop.create_future()
    async with aionursery.Nursery() as nursery:
        nursery.start_soon(forever())
        loop.call_soon(lambda: gate.set_result(fork(os._exit)))
        print("child", await gate)
        nursery.cancel()
    print("ends")

loop = new_loop()
loop.run_until_complete(make(main(), loop=loop))
loop.close()
"""

BESIDE_A_LOOP = """
# The loop runs in a thread that the child does not have, and the child ends as a program does.
loop = new_loop()
ready = threading.Event()

async def main():
    async with aionursery.Nursery() as nursery:
        global stop
        stop = nursery.cancel
        nursery.start_soon(forever())
        nursery.start_soon(aionursery.sleep(1000))
        await aionursery.sleep(0.001)
        ready.set()

thread = threading.Thread(target=lambda: loop.run_until_complete(make(main(), loop=loop)))
thread.start()
ready.wait()
print("child", fork(sys.exit))
loop.call_soon_threadsafe(stop)
thread.join(20)
assert not thread.is_alive()
loop.close()
print("ends")
"""

WITH_MULTIPROCESSING = """
import multiprocessing

def target(queue):
    queue.put(alone())

async def main():
    context = multiprocessing.get_context("fork")
    async with aionursery.Nursery() as nursery:
        nursery.start_soon(forever())
        await asyncio.sleep(0)
        queue = context.SimpleQueue()
        processes = [context.Process(target=target, args=(queue,)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            await asyncio.to_thread(process.join)
        print([process.exitcode for process in processes], [queue.get() for _ in processes])
        nursery.cancel()
    print("ends")

loop = new_loop()
loop.run_until_complete(make(main(), loop=loop))
loop.close()
"""

FORKS = {
    "in a step": (IN_A_STEP, "child 5\nchild 5\nparent\nends\n"),
    "in a callback": (IN_A_CALLBACK, "child 5\nends\n"),
    "beside a loop": (BESIDE_A_LOOP, "child 5\nends\n"),
    "with multiprocessing": (WITH_MULTIPROCESSING, "[0, 0, 0] [5, 5, 5]\nends\n"),
}


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that a defect may kill, or keep."""
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("where", FORKS)
@pytest.mark.parametrize("task", ["asyncio.Task", "aionursery.Task"])
@pytest.mark.parametrize("loop", ["asyncio.SelectorEventLoop", "uvloop.new_event_loop"])
def test_r31_a_process_that_was_forked_runs_a_loop_of_its_own(loop, task, where):
    program, printed = FORKS[where]
    done = run(PREAMBLE.format(loop=loop, task=task) + program)
    assert (done.returncode, done.stdout) == (0, printed), done.stderr


GATE = """
import os, signal, sys, threading, time, warnings
import aionursery

warnings.simplefilter("ignore")
waits, gate = os.pipe()

def fork_one_that_waits():
    "Fork a process that lives until this one has ended."
    if os.fork() == 0:
        os.close(gate)
        os.read(waits, 1)
        os._exit(0)
"""

WHILE_A_THREAD_HAS_THE_LOCK = """
from aionursery import _worker_threads

async def call():
    return await aionursery.to_thread(lambda: 5)

held, let = threading.Event(), threading.Event()

def hold():
    with _worker_threads._lock:
        held.set()
        let.wait()

aionursery.run(call())
thread = threading.Thread(target=hold)
thread.start()
held.wait()
if (pid := os.fork()) == 0:
    signal.alarm(20)
    os._exit(aionursery.run(call()))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
let.set()
thread.join()
"""

BESIDE_A_WORKER_PROCESS = """
async def call():
    await aionursery.to_process(os.getpid)

aionursery.run(call())
if (pid := os.fork()) == 0:
    sys.exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

WHILE_A_WORKER_PROCESS_RUNS = """
from aionursery import _processes

take = _processes.take_worker

def take_and_fork():
    worker = take()
    fork_one_that_waits()
    return worker

_processes.take_worker = take_and_fork

async def call():
    await aionursery.to_process(os.getpid)

aionursery.run(call())
print(5)
"""

WHILE_A_WORKER_PROCESS_STARTS = """
from multiprocessing.context import SpawnProcess

start, forked = SpawnProcess.start, threading.Event()

def start_and_fork(process):
    start(process)
    fork_one_that_waits()
    forked.set()

SpawnProcess.start = start_and_fork

async def main():
    async with aionursery.Nursery() as nursery:
        nursery.start_process(time.sleep, 1000)
        await aionursery.to_thread(forked.wait)
        nursery.cancel()

aionursery.run(main())
print(5)
"""

FORKS_BESIDE_WORKERS = {
    "while a thread has the lock": WHILE_A_THREAD_HAS_THE_LOCK,
    "beside a worker process": BESIDE_A_WORKER_PROCESS,
    "while a worker process runs": WHILE_A_WORKER_PROCESS_RUNS,
    "while a worker process starts": WHILE_A_WORKER_PROCESS_STARTS,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("where", FORKS_BESIDE_WORKERS)
def test_a_process_that_was_forked_has_none_of_the_workers(where):
    done = run(GATE + FORKS_BESIDE_WORKERS[where])
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")


SUBINTERPRETERS = """
import sys
import aionursery

if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    kinds = ["isolated", "legacy"]
    create = interpreters.create
else:
    import _xxsubinterpreters as interpreters
    kinds = [True, False]
    create = lambda kind: interpreters.create(isolated=kind)

PROGRAM = '''
import sys
try:
    import aionursery
except ImportError as exc:
    assert "subinterpreter" in str(exc), exc
    assert "aionursery" in str(exc), exc
else:
    raise AssertionError("it was imported")
assert len(sys.modules) > 1  # the refusal takes nothing away
'''

async def main():
    async with aionursery.Nursery() as nursery:
        for _ in range(3):
            for kind in kinds:
                interpreter = create(kind)
                run = getattr(interpreters, "exec", None) or interpreters.run_string
                failed = run(interpreter, PROGRAM)
                assert failed is None, failed
                interpreters.destroy(interpreter)
                task = nursery.start_soon(aionursery.sleep(0.001, kind))
                assert await task == kind
    print("ends")

aionursery.run(main())
"""


@pytest.mark.parametrize("first", ["main", "sub"])
def test_an_interpreter_beside_the_main_one_is_refused_clearly(first):
    program = textwrap.dedent(SUBINTERPRETERS)
    if first == "sub":
        # The main interpreter imports it only after another has tried to.
        program = program.replace("import aionursery\n", "", 1).replace(
            "async def main", f"{TRY}\nimport aionursery\n\nasync def main", 1
        )
    done = run(program)
    assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr


TRY = """
for kind in kinds:
    interpreter = create(kind)
    run = getattr(interpreters, "exec", None) or interpreters.run_string
    failed = run(interpreter, PROGRAM)
    assert failed is None, failed
    interpreters.destroy(interpreter)
"""
