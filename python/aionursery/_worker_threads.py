"""Threads that run one function after another, and end when they have long had nothing to do.

They are daemons: only what was abandoned still runs when the program ends. Must know nothing of
loops and tasks.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable

#: Seconds after which a thread with nothing to do ends.
IDLE = 10.0

_lock = threading.Lock()
_idle: deque[_Worker] = deque()


class _Worker:
    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[tuple[Callable[[], None], Callable[[], None]]] = (
            queue.SimpleQueue()
        )

    def work(self) -> None:
        while True:
            try:
                job, tell = self.jobs.get(timeout=IDLE)
            except queue.Empty:
                with _lock:
                    if self in _idle:
                        _idle.remove(self)
                        return
                # It was taken in the moment in which its time was up: a job is on its way.
                job, tell = self.jobs.get()
            job()
            # Before anything hears of the end: what starts the next call then finds this thread,
            # which is awake, and starts no other.
            with _lock:
                _idle.append(self)
            tell()
            # Nothing of it is kept while this waits.
            del job, tell


def run_in_thread(job: Callable[[], None], tell: Callable[[], None]) -> None:
    """Have a thread call ``job``, and then ``tell``, which says so and must not wait.

    Neither may raise. Raises RuntimeError if no thread can start.
    """
    with _lock:
        worker = _idle.pop() if _idle else None
    if worker is None:
        worker = _Worker()
        threading.Thread(target=worker.work, name="aionursery worker", daemon=True).start()
    worker.jobs.put((job, tell))


def _start_anew() -> None:
    """Forget the threads, of which a forked process has none; one of them may hold the lock."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
