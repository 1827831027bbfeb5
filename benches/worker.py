"""Owns one measuring process: takes samples on one loop, contenders alternating, and prints them.

It writes one JSON object a line to stdout and must never print a table or judge a figure. A row
that crashes or hangs takes only this process with it; `rounds.py` starts another for the rest.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from contenders import all_contenders
from contenders.case import Case, Contender, NotThere
from stopwatch import Stopwatch
from workloads import BY_KEY, Row

HANGS_AFTER = 300  # seconds for one sample; then the stacks are printed and the process ends


@dataclass
class Cell:
    """One contender in one row: knows how often to repeat its case for a sample."""

    row: Row
    contender: Contender
    case: Case
    repeats: int = 1

    def sample(self, loop: str) -> dict[str, float]:
        clock = Stopwatch()

        async def main() -> None:
            if self.row.calibrated:
                await self.case(Stopwatch(), self.row.size)  # what a loop's first nursery sets up
            for _ in range(self.repeats):
                await self.case(clock, self.row.size)

        gc.collect()
        if not self.row.collected:
            gc.disable()
        faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
        try:
            self.contender.run(main, loop)
        finally:
            faulthandler.cancel_dump_traceback_later()
            gc.enable()
        units = self.row.size * self.repeats
        return {"wall": clock.wall / units, "cpu": clock.cpu / units}

    def warm_up(self, loop: str, shortest: float) -> None:
        """Runs the case until it is warm, and finds how many repeats fill a sample."""
        if not self.row.warm:
            return
        taken = self.sample(loop)["wall"] * self.row.size * self.repeats
        while self.row.calibrated and taken < shortest:
            self.repeats = max(self.repeats + 1, int(self.repeats * 1.1 * shortest / taken))
            taken = self.sample(loop)["wall"] * self.row.size * self.repeats


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def cells_of(rows: list[Row], contenders: list[Contender], without: list[str]) -> Iterator[Cell]:
    for row in rows:
        for contender in contenders:
            if contender.section != row.section or f"{row.key}/{contender.key}" in without:
                continue
            if row.contenders is not None and contender.key not in row.contenders:
                continue
            try:
                case = contender.case(row.key)
            except NotThere as reason:
                say(row=row.key, contender=contender.key, note=str(reason))
                continue
            if case is not None:
                yield Cell(row, contender, case)


def attempt(cell: Cell, do: Any) -> Any:
    """A contender that fails loses its cell, and the others go on."""
    say(row=cell.row.key, contender=cell.contender.key, doing=True)
    try:
        return do()
    except ImportError as error:
        note = f"not installed: {error.name}"
    except (Exception, SystemExit) as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        note = f"failed: {type(error).__name__}: {error}"
        if isinstance(error, AttributeError) and is_ours(error.obj):
            note = f"not there yet: {error}"
    say(row=cell.row.key, contender=cell.contender.key, note=note)
    return None


def is_ours(thing: Any) -> bool:
    module = getattr(thing, "__module__", None) or getattr(thing, "__name__", "")
    return str(module).startswith("aionursery")


def measure(cells: list[Cell], loop: str, rounds: int, shortest: float) -> None:
    alive = []
    for cell in cells:
        if attempt(cell, lambda cell=cell: (cell.warm_up(loop, shortest), True)):
            alive.append(cell)
    for number in range(rounds):
        # A B C, then C B A: none always runs in the wake of the same neighbour.
        for cell in alive if number % 2 == 0 else alive[::-1]:
            if sample := attempt(cell, lambda cell=cell: cell.sample(loop)):
                say(row=cell.row.key, contender=cell.contender.key, round=number, sample=sample)


def groups(rows: list[Row]) -> list[list[Row]]:
    """Rows of one group take turns with each other; the others stand alone."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.group or row.key, []).append(row)
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--shortest", type=float, required=True, help="ms a sample at least")
    parser.add_argument("--only-ours", action="store_true")
    parser.add_argument("--without", action="append", default=[], help="ROW/CONTENDER that died")
    args = parser.parse_args()
    faulthandler.enable()
    # An unretrieved exception or a warning of a peer's belongs to stderr, not into the samples.
    warnings.simplefilter("ignore")

    contenders = all_contenders(args.only_ours)
    for group in groups([BY_KEY[key] for key in args.rows.split(",")]):
        rounds = args.rounds
        if any(row.fewer_rounds for row in group):
            rounds = max(1, (rounds + 1) // 3)
        cells = list(cells_of(group, contenders, args.without))
        measure(cells, args.loop, rounds, args.shortest * 1e6)
        for row in group:
            say(row=row.key, done=True)


if __name__ == "__main__":
    main()
