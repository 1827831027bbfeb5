"""Owns the figures and the picture of the Rust crate's bench. Must never measure.

    for run in 1 2 3 4 5 6 7 8; do cargo bench -p aionursery -- 400; done > runs.txt
    python benches/rust.py runs.txt docs/images/rust

Prints the tables of docs/rust-performance.md. A figure is the median of the runs; a ratio is taken
within one.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from plot import ACCENT, PEER, Bar, Panel, picture

PLACES = ("current thread", "two workers")
WORK = ("returns at once", "one yield_now")
NAMES = {  # as the bench prints them, and as the docs do
    "start_soon": "`start_soon`",
    "start_soon, awaited": "`start_soon`, each awaited",
    "futures-buffered": "`futures_buffered::FuturesUnordered`",
    "FuturesUnordered": "`FuturesUnordered`",
    "FutureGroup": "`FutureGroup`",
    "moro": "`moro`",
    "spawn": "`spawn`",
    "spawn, awaited": "`spawn`, each awaited",
    "tokio::spawn, handles": "`tokio::spawn`, handles awaited",
    "JoinSet": "`JoinSet`",
    "TaskTracker, token each": "`TaskTracker`, a token each",
}
RATIOS = (
    ("start_soon", "FuturesUnordered"),
    ("start_soon", "JoinSet"),
    ("spawn", "JoinSet"),
    ("spawn", "tokio::spawn, handles"),
    ("spawn, awaited", "JoinSet"),
    ("spawn, awaited", "tokio::spawn, handles"),
)
OURS = ("start_soon", "start_soon, awaited", "spawn", "spawn, awaited")
CHILD = re.compile(r"  (.{24}) +(\d+) +([\d.]+) +[\d.]+ +(\d+) +([\d.]+) +[\d.]+$")
FRESH = re.compile(r"  spawn, no task kept, (.*?) +(\d+) +(\d+)$")
ONCE = {
    "fail_after": "`fail_after`",
    "tokio::time::timeout": "`tokio::time::timeout`",
    "nursery, one start_soon": "a nursery with one `start_soon`",
    "nursery, one spawn": "a nursery with one `spawn`",
    "FuturesUnordered of one": "`FuturesUnordered` of one",
    "moro, one child": "`moro` with one child",
    "JoinSet of one": "`JoinSet` of one",
}
DONE_ONCE = re.compile(rf"  ({'|'.join(map(re.escape, ONCE))}) +(\d+) +(\d+)$")
TREE = re.compile(r"  (.*?) +([\d.]+) ms$")


class Cost(NamedTuple):
    nanoseconds: int
    allocations: float


class Runs:
    """What the runs printed, by place and name; each list has one entry a run."""

    def __init__(self, text: str) -> None:
        self.costs: dict[tuple[str, str], list[tuple[Cost, Cost]]] = defaultdict(list)
        self.fresh: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.once: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.trees: dict[str, list[float]] = defaultdict(list)
        place = ""
        for line in text.splitlines():
            if line.startswith(PLACES):
                place = next(name for name in PLACES if line.startswith(name))
            elif found := FRESH.match(line):
                self.fresh[found[1]].append((int(found[2]), int(found[3])))
            elif found := DONE_ONCE.match(line):
                self.once[found[1]].append((int(found[2]), int(found[3])))
            elif found := CHILD.match(line):
                costs = Cost(int(found[2]), float(found[3])), Cost(int(found[4]), float(found[5]))
                self.costs[place, found[1].strip()].append(costs)
            elif found := TREE.match(line):
                self.trees[found[1]].append(float(found[2]))
        if not self.costs:
            raise SystemExit("no run in that file: is it what `cargo bench -p aionursery` prints?")

    def nanoseconds(self, place: str, name: str, work: int) -> float:
        return median(costs[work].nanoseconds for costs in self.costs[place, name])

    def ratios(self, place: str, name: str, peer: str, work: int) -> list[float]:
        pairs = zip(self.costs[place, name], self.costs[place, peer], strict=True)
        return [mine[work].nanoseconds / other[work].nanoseconds for mine, other in pairs]


def tables(runs: Runs) -> Iterator[str]:
    yield "| | current thread | two workers | allocations |"
    yield "|--|--|--|--|"
    for name, shown in NAMES.items():
        cells = [
            " / ".join(f"{runs.nanoseconds(place, name, work):.0f}" for work in (0, 1))
            for place in PLACES
        ]
        allocations = [
            median(costs[work].allocations for costs in runs.costs[PLACES[0], name])
            for work in (0, 1)
        ]
        cells.append(" / ".join(f"{count:.2f}" for count in allocations))
        yield f"| {shown} | " + " | ".join(cells) + " |"
    yield ""
    yield "| | of | current thread | two workers | the most in one run |"
    yield "|--|--|--|--|--|"
    for name, peer in RATIOS:
        taken = {
            (place, work): runs.ratios(place, name, peer, work)
            for place in PLACES
            for work in (0, 1)
        }
        cells = [
            " / ".join(f"{median(taken[place, work]):.2f}" for work in (0, 1)) for place in PLACES
        ]
        most = [max(max(taken[place, work]) for place in PLACES) for work in (0, 1)]
        cells.append(" / ".join(f"{ratio:.2f}" for ratio in most))
        yield f"| {NAMES[name]} | {NAMES[peer]} | " + " | ".join(cells) + " |"
    yield ""
    for place, costs in runs.fresh.items():
        spans = [
            f"{median(each):.0f} ({min(each)} to {max(each)})" for each in zip(*costs, strict=True)
        ]
        yield f"spawn, no task kept, {place}: {' / '.join(spans)}"
    yield ""
    yield "| one after another | ready / one `yield_now` |"
    yield "|--|--|"
    for name, costs in runs.once.items():
        medians = [f"{median(each):.0f}" for each in zip(*costs, strict=True)]
        yield f"| {ONCE[name]} | {' / '.join(medians)} |"
    yield ""
    for name, times in runs.trees.items():
        yield f"{name}: {median(times):.2f} ms"


def panels(runs: Runs) -> Iterator[Panel]:
    for work, title in enumerate(WORK):
        for place in PLACES:
            bars = []
            for name, shown in NAMES.items():
                value = runs.nanoseconds(place, name, work)
                colour = ACCENT if name in OURS else PEER
                bars.append(Bar(shown.replace("`", ""), value, f"{value:.0f} ns", colour))
            yield Panel(f"{title}, {place}", bars)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("path", type=Path, nargs="?", help="draw it, too: without .svg and .png")
    args = parser.parse_args()
    runs = Runs(args.runs.read_text())
    print(*tables(runs), sep="\n")
    if args.path:
        count = len(next(iter(runs.costs.values())))
        caption = (
            "Nanoseconds a child, shorter is better; 1000 children, median of "
            f"{count} runs. aionursery's own in orange."
        )
        picture(list(panels(runs)), caption, args.path)


if __name__ == "__main__":
    main()
