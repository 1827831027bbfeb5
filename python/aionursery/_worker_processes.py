"""Processes that run one function after another: the worker's loop, and its owner's side of it.

The pools of the standard library cannot lose a single worker: one that is killed while it writes a
result can hang its pool. Here each worker has a pipe whose other end is closed in this process, so
its death is always seen. Must know nothing of loops and tasks.
"""

from __future__ import annotations

import atexit
import io
import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable
from multiprocessing import process
from multiprocessing.connection import Connection
from multiprocessing.pool import RemoteTraceback  # type: ignore[attr-defined]
from multiprocessing.reduction import ForkingPickler
from typing import Any
from weakref import WeakSet

#: All workers of this process, also one that is being started.
_workers: WeakSet[Worker] = WeakSet()


class BrokenWorkerProcess(Exception):
    """A worker process has ended before the function that it ran."""


class Worker:
    """A process, started anew, and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._end = context.Pipe()
        self.process = context.Process(target=_serve, args=(self._end,), name="aionursery worker")
        _workers.add(self)
        try:
            self.process.start()
        finally:
            self._end.close()

    def run(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Have the process call a function; block until it has, and return what it returns.

        Raises what the function raises, what pickling raises, and BrokenWorkerProcess.
        """
        call = _pickled((fn, args))
        del fn, args
        try:
            self._pipe.send_bytes(call)
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError):
            self.close()
            code = self.process.exitcode
            raise BrokenWorkerProcess(f"the process has ended with exit code {code}") from None
        returned, value, text = pickle.loads(answer)
        if returned:
            return value
        value.__cause__ = RemoteTraceback(text)
        try:
            raise value
        finally:
            del value

    def close(self) -> None:
        """End a process that has nothing to do, or join one that has ended or was told to."""
        self._pipe.close()
        self.process.join()

    def disown(self) -> None:
        """Let go of a worker in a process that was forked from its owner.

        A pipe that stays open there keeps the end of either side from being seen.
        """
        self._pipe.close()
        self._end.close()
        # multiprocessing joins at exit what stands here, and only the owner can.
        process._children.discard(self.process)  # type: ignore[attr-defined]


def _serve(pipe: Connection) -> None:
    """Run what comes, in the worker, until the other end is closed."""
    # Ctrl-C reaches every process of a terminal: what it means is the program's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            call = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            fn, args = pickle.loads(call)
            value = fn(*args)
            answer = _pickled((True, value, ""))
            del fn, args, value
        except BaseException as exc:
            answer = _pickled((False, _picklable(exc), traceback.format_exc()))
        try:
            pipe.send_bytes(answer)
        except OSError:
            return
        del call, answer


def _pickled(value: object) -> bytes:
    # Not `ForkingPickler.dumps`, which leaves a buffer that complains when an error keeps it.
    buffer = io.BytesIO()
    ForkingPickler(buffer).dump(value)
    return buffer.getvalue()


def _picklable(error: BaseException) -> BaseException:
    """Return an error that arrives at the other side: itself if it does."""
    try:
        pickle.loads(_pickled(error))
    except Exception:
        return RuntimeError(f"{error!r}, which cannot be pickled")
    return error


#: Workers that have nothing to do.
_idle: list[Worker] = []


def take_worker() -> Worker:
    """Return a worker that has nothing to do, or a new one. Raises OSError if none can start."""
    while _idle:
        worker = _idle.pop()
        if worker.process.is_alive():
            return worker
        worker.close()
    return Worker()


def keep_worker(worker: Worker) -> None:
    """Keep a worker whose call has ended for the next one."""
    _idle.append(worker)


@atexit.register
def _close_idle() -> None:
    # Before multiprocessing, which was imported earlier, joins all processes.
    while _idle:
        _idle.pop().close()


def _disown_all() -> None:
    """Let go of all workers: they are those of the process that forked."""
    while _workers:
        _workers.pop().disown()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
