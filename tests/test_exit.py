"""The end of the interpreter while a loop of ours still runs in a daemon thread."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from .loop_kinds import LOOPS

BUSY = """
import threading, aionursery

running = threading.Event()

async def child():
    while True:
        await aionursery.sleep(0)

async def host():
    async with aionursery.Nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(child())
        running.set()

threading.Thread(target=lambda: aionursery.run(host()), daemon=True).start()
running.wait()
print("ends", flush=True)
"""

#: A daemon thread that Python code called by ours never lets go on, and an end that takes its time.
STAYS = """
import asyncio, gc, threading, time
import aionursery
from tests.loop_kinds import LOOPS

class Slow:
    def __init__(self):
        self.sleep = time.sleep

    def __del__(self):
        self.sleep(0.2)  # the others are ended by now, as soon as they want to go on

slow = Slow()
inside = threading.Event()

def stay():
    inside.set()
    while True:
        {how}

class Stays:
    def __del__(self):
        stay()

class Odd:
    def __repr__(self):
        stay()
    def __eq__(self, other):
        stay()
    def __float__(self):
        stay()

class Loop(asyncio.SelectorEventLoop):
    def call_soon(self, callback, *args, context=None):
        if threading.current_thread() is thread and going:
            stay()
        return super().call_soon(callback, *args, context=context)

class LateLoop(asyncio.SelectorEventLoop):
    def time(self):
        if going:
            stay()
        return super().time()

going = []
{program}

kind = {kind}
thread = threading.Thread(
    target=lambda: aionursery.run(main(), loop_factory=kind), daemon=True
)
thread.start()
inside.wait()
time.sleep(0.02)
print("ends", flush=True)
"""

PROGRAMS = {
    "step": """
        async def main():
            async with aionursery.Nursery() as nursery:
                nursery.start_soon(child())
        async def child():
            stay()
    """,
    "step of a task that the loop wakes": """
        async def main():
            await asyncio.get_running_loop().run_in_executor(None, int)
            stay()
    """,
    "throw": """
        async def main():
            with aionursery.move_on_after(0.001):
                try:
                    await aionursery.sleep_forever()
                finally:
                    stay()
    """,
    "eager start": """
        async def main():
            async with aionursery.Nursery() as nursery:
                nursery.start_now(child())
        async def child():
            stay()
    """,
    "destructor": """
        async def main():
            async with aionursery.Nursery() as nursery:
                nursery.start_soon(child())
        async def child():
            return Stays()
    """,
    "repr": """
        async def main():
            aionursery.Task(Odd())
    """,
    "comparison": """
        async def main():
            task = aionursery.Task(asyncio.sleep(1))
            task.add_done_callback(print)
            task.remove_done_callback(Odd())
    """,
    "argument": """
        async def main():
            aionursery.CancelScope(deadline=Odd())
    """,
    "exception handler": """
        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda *_: stay())
            nursery = aionursery.Nursery()
            await nursery.__aenter__()
            del nursery
    """,
    "collector": """
        async def main():
            gc.callbacks.append(
                lambda *_: stay() if threading.current_thread() is thread else None
            )
            gc.set_threshold(1)
            kept = []
            while True:
                kept.append(aionursery.CancelScope())
                kept.append(aionursery.sleep_forever())
                kept.append(aionursery.Task(asyncio.sleep(1)))
    """,
    "call_soon": """
        async def main():
            async with aionursery.Nursery() as nursery:
                going.append(True)
                nursery.start_soon(asyncio.sleep(0))
    """,
    "time": """
        async def main():
            going.append(True)
            with aionursery.fail_after(1):
                pass
    """,
}


def end(program: str, *options: str) -> None:
    """Run a program that must end as if the thread were not there."""
    command = [sys.executable, *options, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr


def test_a_daemon_thread_with_a_busy_nursery_does_not_crash_the_end():
    for _ in range(8):
        end(BUSY, "-X", "dev")


@pytest.mark.parametrize("how", ["pass", "time.sleep(0.001)"], ids=["computes", "sleeps"])
@pytest.mark.parametrize("where", PROGRAMS)
def test_a_daemon_thread_that_stays_where_ours_called_it_does_not_crash_the_end(where, how):
    kinds = {"call_soon": ["Loop"], "time": ["LateLoop"]}
    for kind in kinds.get(where, [f"LOOPS[{name!r}]" for name in LOOPS]):
        program = textwrap.dedent(PROGRAMS[where])
        end(STAYS.format(program=program, how=how, kind=kind))


FLUSHES = """
import asyncio, atexit, threading

loop = asyncio.new_event_loop()

async def work():
    await asyncio.sleep(0.001)
    return "flushed"

def flush_there():
    print(asyncio.run_coroutine_threadsafe(work(), loop).result(timeout=20), flush=True)

def flush_in_a_thread():
    thread = threading.Thread(target=lambda: print(aionursery.run(work()), flush=True), daemon=True)
    try:
        thread.start()
    except RuntimeError:
        print("flushed", flush=True)  # 3.12 starts no thread by now
    else:
        thread.join(20)

atexit.register(flush_there)
atexit.register(flush_in_a_thread)
import aionursery

loop.set_task_factory(aionursery.task_factory)
threading.Thread(target=loop.run_forever, daemon=True).start()
asyncio.run_coroutine_threadsafe(work(), loop).result()
print("ends", flush=True)
"""


def test_what_is_to_be_done_at_the_end_can_wait_for_a_loop_in_a_daemon_thread():
    command = [sys.executable, "-c", FLUSHES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ends\nflushed\nflushed\n"), done.stderr
