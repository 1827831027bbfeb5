"""Owns the reading of clocks around a case's timed part; must never know what is being timed."""

from __future__ import annotations

from time import perf_counter_ns, process_time_ns


class Stopwatch:
    """Adds up wall and CPU time over every `with` block, so that a case leaves its set-up out."""

    __slots__ = ("_cpu_start", "_wall_start", "cpu", "wall")

    def __init__(self) -> None:
        self.wall = 0
        self.cpu = 0

    def __enter__(self) -> Stopwatch:
        self._cpu_start = process_time_ns()
        self._wall_start = perf_counter_ns()
        return self

    def __exit__(self, *exc: object) -> None:
        # The wall clock is inside the CPU clock on both sides: reading the latter is a system call.
        self.wall += perf_counter_ns() - self._wall_start
        self.cpu += process_time_ns() - self._cpu_start
