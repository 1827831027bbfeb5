"""The end of the interpreter while a loop of ours still runs in a daemon thread."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
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


def test_a_daemon_thread_with_a_busy_nursery_does_not_crash_the_end():
    for _ in range(8):
        command = [sys.executable, "-X", "dev", "-c", PROGRAM]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr
