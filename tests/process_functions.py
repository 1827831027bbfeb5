"""What the tests run in worker processes, which import it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


class Refuses(Exception):
    """An error that cannot be pickled back."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def add(a, b):
    return a + b


def identity():
    return os.getpid()


def fail(text):
    raise ValueError(text)


def fail_unpicklably():
    raise Refuses("cannot be", "pickled")


def unpicklable():
    return lambda: None


def leave(code):
    os._exit(code)


def exit_politely():
    sys.exit(3)


def wait_for_ever(path, *, deaf=False):
    """Say which process runs, then wait; a deaf one does not hear that it is terminated."""
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(60)


def raise_when_terminated(path, error):
    """Say which process runs, then wait; raise an error where it is terminated."""

    def end(*_):
        raise error

    signal.signal(signal.SIGTERM, end)
    wait_for_ever(path)


def much(path, size):
    """Return more than fits into a pipe."""
    Path(path).write_text(str(os.getpid()))
    return b"x" * size
