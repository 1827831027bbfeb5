"""Counts the instructions of the hottest paths and compares them with the limits kept here.

    python benches/instructions.py             ends with 1 if a path is more than 5 % over its limit
    python benches/instructions.py --rust      the paths of the Rust crate, which cargo builds first
    python benches/instructions.py --update    makes today's counts the limits of this Python

Counts do not depend on how busy the machine is, so this check can run in CI. Every path runs N
times in a process of its own and 2N times in another; the difference is N times the path, and
start-up cancels out. What another path leaves behind would not: an allocator's lists, and
addresses, by which dictionaries sort some of their keys, move a count by a tenth. `perf stat`
counts where the machine lets it, otherwise valgrind's callgrind does; the
two count alike but not the same (system calls, instruction sets), so each has limits of its own.
Must never measure time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LIMITS = HERE / "instruction-limits.json"
ALLOWED = 1.05
IMPROVED = 0.90  # further below its limit than this, a path asks for --update


@dataclass(frozen=True)
class Program:
    """What runs each path as often as it is told to."""

    name: str  # of its limits
    title: str
    command: list[str]
    count: int


def this_python() -> Program:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [sys.executable, str(HERE / "hot_paths.py")]
    # Long enough for the interpreter to have specialised its code in the first N.
    return Program(version, f"CPython {version}", command, 2000)


def the_rust_crate() -> Program:
    command = ["cargo", "bench", "-p", "aionursery", "--bench", "hot_paths", "--no-run"]
    built = _run([*command, "--message-format=json"])
    artefacts = (json.loads(line).get("executable") for line in built.stdout.splitlines())
    binary = next(path for path in artefacts if path)
    # Long enough for what grows with the number of children to be seen in a path of many.
    return Program("rust", "Rust", [binary], 10_000)


def environment() -> dict[str, str]:
    # A fixed hash seed fixes the shape of every dict and set.
    return dict(os.environ, PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")


def with_perf(command: list[str]) -> int:
    ended = _run(["perf", "stat", "-x", ",", "-e", "instructions:u", *command])
    found = re.search(r"^(\d+),,instructions:u", ended.stderr, re.MULTILINE)
    if not found:
        raise SystemExit(f"perf counted nothing:\n{ended.stderr}")
    return int(found.group(1))


def with_callgrind(command: list[str], keep: Path | None = None) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = keep or Path(folder) / "callgrind.out"
        ended = _run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *command])
    found = re.search(r"Collected : (\d+)", ended.stderr)
    if not found:
        raise SystemExit(f"callgrind counted nothing:\n{ended.stderr}")
    return int(found.group(1))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nended with {ended.returncode}:\n{ended.stderr}")
    return ended


def perf_counts() -> bool:
    if not shutil.which("perf"):
        return False
    probe = ["perf", "stat", "-x", ",", "-e", "instructions:u", "true"]
    ended = subprocess.run(probe, capture_output=True, text=True, check=False)
    return re.search(r"^\d+,,instructions:u", ended.stderr, re.MULTILINE) is not None


def available_paths(program: Program) -> list[str]:
    return _run([*program.command, "--available"]).stdout.split()


def count_all(
    program: Program, paths: list[str], tool: str, keep: Path | None = None
) -> dict[str, float]:
    """Instructions of one pass through each path."""

    def total(path: str, times: int) -> int:
        command = [*program.command, f"{path}={program.count * times}"]
        if tool == "perf":
            return with_perf(command)
        return with_callgrind(command, keep if times > 1 else None)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        totals = [[pool.submit(total, path, times) for times in (1, 2)] for path in paths]
        return {
            path: (twice.result() - once.result()) / program.count
            for path, (once, twice) in zip(paths, totals, strict=True)
        }


def read_limits() -> dict[str, dict[str, dict[str, int]]]:
    """Tool, then the program's name, then path."""
    return json.loads(LIMITS.read_text()) if LIMITS.exists() else {}


def compare(counts: dict[str, float], limits: dict[str, int]) -> list[str]:
    """Prints every path; gives back those that are over."""
    over = []
    for path, count in counts.items():
        limit = limits.get(path)
        if limit is None:
            print(f"{path:40}{count:>10,.0f}   no limit yet: --update")
            over.append(path)
            continue
        change = count / limit - 1
        verdict = "OVER" if count > limit * ALLOWED else "ok"
        if count < limit * IMPROVED:
            verdict = "better: --update keeps it"
        print(f"{path:40}{count:>10,.0f}   limit {limit:>8,} {change:>+7.1%}   {verdict}")
        if verdict == "OVER":
            over.append(path)
    return over


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--rust", action="store_true", help="of the Rust crate, not of this Python")
    parser.add_argument("--tool", choices=("perf", "callgrind"))
    parser.add_argument("--path", action="append", help="only this one; may be given again")
    parser.add_argument("--keep", type=Path, help="callgrind's profile of the one --path goes here")
    args = parser.parse_args()

    tool = args.tool or ("perf" if perf_counts() else "callgrind")
    if tool == "callgrind" and not shutil.which("valgrind"):
        raise SystemExit("neither perf (with counters) nor valgrind is here to count instructions")
    program = the_rust_crate() if args.rust else this_python()
    available = available_paths(program)
    missing = [path for path in args.path or [] if path not in available]
    if missing:
        raise SystemExit(f"no such path: {', '.join(missing)}; there are {', '.join(available)}")
    if args.keep and (tool != "callgrind" or len(args.path or []) != 1):
        raise SystemExit("--keep needs callgrind and exactly one --path")

    limits = read_limits()
    kept = limits.get(tool, {}).get(program.name, {})
    if not kept and not args.update:
        print(f"there are no limits for {program.title} and {tool}; --update makes them")
        return 0
    counts = count_all(program, args.path or available, tool, args.keep)
    print(f"instructions a pass, {program.title}, counted by {tool}")
    if args.update:
        kept |= {path: round(count) for path, count in counts.items()}
        limits.setdefault(tool, {})[program.name] = kept
        LIMITS.write_text(json.dumps(limits, indent=2, sort_keys=True) + "\n")
    over = compare(counts, kept)
    # A path that has a limit and can no longer be counted is no less of a failure.
    gone = [] if args.path else [path for path in kept if path not in available]
    for path in gone:
        print(f"{path:40}           has a limit, but can't be run")
    return 1 if over or gone else 0


if __name__ == "__main__":
    sys.exit(main())
