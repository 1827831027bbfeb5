"""Owns the measuring processes: starts them in turn for each loop and gathers their samples.

It must never measure in its own process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from contenders import all_contenders
from memory import weigh
from workloads import MEMORY_ROWS, Row

WORKER = Path(__file__).with_name("worker.py")
Samples = dict[str, dict[str, dict[str, Any]]]  # row -> contender -> {"wall": [...]} or {"note"}


def gather(
    rows: list[Row],
    loops: list[str],
    *,
    processes: int,
    rounds: int,
    shortest: float,
    only_ours: bool,
    quick: bool,
    progress: Callable[[str], None],
) -> dict[str, Samples]:
    found: dict[str, Samples] = {loop: {} for loop in loops}
    timed = [row.key for row in rows if row not in MEMORY_ROWS]
    options = ["--rounds", str(rounds), "--shortest", str(shortest)]
    options += ["--only-ours"] * only_ours
    for number in range(processes):
        for loop in loops:
            left = timed
            while left:
                progress(f"process {number + 1} of {processes}, {loop}")
                left = _one_process(loop, left, options, found[loop], progress)
    for row in rows:
        if row in MEMORY_ROWS:  # a task weighs the same on every loop: the first one will do
            progress(f"{row.key}, {loops[0]}")
            found[loops[0]][row.key] = _weigh_all(row, loops[0], only_ours, quick)
    return found


def _one_process(
    loop: str,
    rows: list[str],
    options: list[str],
    samples: Samples,
    progress: Callable[[str], None],
) -> list[str]:
    """Runs one worker; gives back the rows that it did not finish because it died.

    Samples count once their row is finished: half a row has nothing to be compared with. Who died
    in a row is left out when the row is measured again.
    """
    command = [sys.executable, str(WORKER), "--loop", loop, "--rows", ",".join(rows), *options]
    left, at, running = list(rows), ("", ""), {}
    for row, cells in samples.items():
        for contender, cell in cells.items():
            if cell.get("died"):
                command += ["--without", f"{row}/{contender}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            message = json.loads(line)
            if message.get("done"):
                _merge(samples.setdefault(message["row"], {}), running.pop(message["row"], {}))
                left.remove(message["row"])
                continue
            if message["row"] != at[0]:
                progress(f"  {message['row']}")
            at = (message["row"], message["contender"])
            cell = running.setdefault(at[0], {}).setdefault(at[1], {})
            if "note" in message:
                cell["note"] = message["note"]
            for metric, value in message.get("sample", {}).items():
                cell.setdefault(metric, []).append(value)
    if worker.returncode == 0:
        return []
    if not at[0]:
        raise SystemExit(f"the measuring process ended with {worker.returncode} before its work")
    ended = "hung and was stopped" if worker.returncode == 1 else f"ended with {worker.returncode}"
    note = f"failed: the process {ended}"
    samples.setdefault(at[0], {})[at[1]] = {"note": note, "died": True}
    return left


def _merge(row: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]]) -> None:
    for contender, cell in found.items():
        known = row.setdefault(contender, {})
        for key, value in cell.items():
            known[key] = known.get(key, []) + value if isinstance(value, list) else value


def _weigh_all(row: Row, loop: str, only_ours: bool, quick: bool) -> dict[str, dict[str, Any]]:
    """Weighing is not timed, so all processors may do it at once."""
    keys = [
        contender.key
        for contender in all_contenders(only_ours)
        if contender.section == row.section and row.key in contender.cases
        if not quick or contender.key in ("ours", "taskgroup")
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        weights = list(pool.map(lambda key: weigh(row.key, key, loop, row.size), keys))
    return {
        key: {meter: value if meter == "note" else [value] for meter, value in found.items()}
        for key, found in zip(keys, weights, strict=True)
    }
