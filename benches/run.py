"""Measures nurseries side by side with their peers and prints the table.

    python benches/run.py [--quick] [--rows at_once,sleep] [--loops asyncio,uvloop] [--only-ours]

Owns the command line, and must never measure: `rounds.py` starts the processes that do. Ends with
1 when a contender of ours failed, whatever the figures are; a missed target is printed, not fatal.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import report
from contenders import all_contenders
from machine import describe, short_name
from rounds import gather
from table import lines
from workloads import ALL_ROWS, BY_KEY, MEMORY_ROWS, Row

RESULTS = Path(__file__).with_name("results")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="about a minute, rougher")
    parser.add_argument("--rows", help="keys or beginnings of keys, separated by commas")
    parser.add_argument("--loops", default="asyncio,uvloop")
    parser.add_argument("--only-ours", action="store_true", help="no peers, so no ratios")
    parser.add_argument("--rounds", type=int, help="rounds a process")
    parser.add_argument("--processes", type=int, help="processes a loop")
    parser.add_argument("--list", action="store_true", help="print the keys of the rows")
    parser.add_argument("--json", type=Path, help="where the result goes (benches/results/...)")
    parser.add_argument("--plot", type=Path, help="draw it: the path without .svg and .png")
    return parser.parse_args()


def chosen_rows(args: argparse.Namespace) -> list[Row]:
    if not args.rows:
        # The quick run leaves out what takes seconds by its nature.
        return [row for row in ALL_ROWS if not args.quick or quick_enough(row)]
    wanted = args.rows.split(",")
    for word in wanted:
        if not any(key.startswith(word) for key in BY_KEY):
            raise SystemExit(f"no row begins with {word!r}; --list prints them all")
    return [
        row
        for row in ALL_ROWS
        if row.key in wanted
        or any(row.key.startswith(word) for word in wanted if word not in BY_KEY)
    ]


def quick_enough(row: Row) -> bool:
    return row.in_quick and row not in MEMORY_ROWS[1:] and not row.key.startswith("cleanup_native")


def chosen_loops(args: argparse.Namespace) -> list[str]:
    loops = args.loops.split(",")
    if unknown := set(loops) - {"asyncio", "uvloop"}:
        raise SystemExit(f"unknown loop {', '.join(sorted(unknown))}: asyncio or uvloop")
    if "uvloop" in loops and importlib.util.find_spec("uvloop") is None:
        print("uvloop is not installed: its loop is left out", file=sys.stderr)
        loops.remove("uvloop")
    return loops


def failures(result: dict[str, Any]) -> list[str]:
    ours = {contender.key for contender in all_contenders(only_ours=True)}
    return [
        f"{loop} {row} {contender}: {cell['note']}"
        for loop, rows in result["samples"].items()
        for row, cells in rows.items()
        for contender, cell in cells.items()
        if contender in ours and cell.get("note", "").startswith("failed")
    ]


def main() -> int:
    args = arguments()
    if args.list:
        for row in ALL_ROWS:
            print(f"{row.key:24} {row.lines[0].title}")
        return 0
    rounds = args.rounds or (3 if args.quick else 9)
    processes = args.processes or (1 if args.quick else 2)
    shortest = 4.0 if args.quick else 20.0
    rows, loops = chosen_rows(args), chosen_loops(args)
    samples = gather(
        rows,
        loops,
        processes=processes,
        rounds=rounds,
        shortest=shortest,
        only_ours=args.only_ours,
        quick=args.quick,
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    result: dict[str, Any] = {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "settings": {"processes": processes, "rounds": rounds, "shortest": shortest},
        "lines": {loop: [line.as_json() for line in lines(samples[loop], loop)] for loop in loops},
        "samples": samples,
    }
    print(report.terminal(result))
    path = args.json or RESULTS / f"{short_name()}{'-quick' if args.quick else ''}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {path}")
    if args.plot:
        import plot

        for drawn in plot.draw(result, args.plot):
            print(f"drawn to {drawn}")
    failed = failures(result)
    for failure in failed:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
