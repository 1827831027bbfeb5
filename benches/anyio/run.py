"""Counts the instructions of what is written for anyio, on anyio's own backend and on our engine.

    python benches/anyio/run.py [--rows middleware_1,streaming] [--loops asyncio,uvloop]

Owns the command line and the table; prints it in Markdown, each ratio beside the bar it was to
reach. Needs valgrind, x86_64 and the group `anyio` of pyproject.toml. Each row, loop and engine
has a process to itself. A bar that is missed is printed, not fatal.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import describe
from rows import CHAINED, ROWS

WORKER = Path(__file__).with_name("worker.py")
LOOPS = "asyncio", "uvloop"
ENGINES = "stock", "ours"

#: How many times fewer instructions a row is to take, on each loop.
BARS = {
    "middleware_1": (1.3, 1.25),
    "middleware_3": (1.5, 1.45),
    "streaming": (1.4, 1.3),
    "group_of_ten": (3.5, 3.2),
}
#: No row is to be slower.
BAR = (1.0, 1.0)

#: What a row is called in the table.
TITLES = {
    "fastapi_json": "FastAPI, JSON",
    "middleware_1": "one `BaseHTTPMiddleware`",
    "middleware_3": "three `BaseHTTPMiddleware`",
    "streaming": "`StreamingResponse`, three parts",
    "sync_endpoint": "a sync endpoint",
    "group_of_ten": "an endpoint with a task group of ten",
    "httpx_client": "a GET of httpx's client",
    "ping_pong": "memory streams, an item there and back",
    "to_thread": "`to_thread.run_sync`",
    "fail_after": "`fail_after`, entered and left",
    "mcp_session": "an MCP session of 100 calls",
}


def count(row: str, loop: str, engine: str, keep: Path | None = None) -> float:
    """Instructions of one pass, or of one request in a chain."""
    with tempfile.TemporaryDirectory() as folder:
        out = keep or Path(folder, "callgrind.out")
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
        command += [f"--callgrind-out-file={out}", sys.executable, str(WORKER), row, loop, engine]
        # A fixed hash seed fixes the shape of every dict and set; valgrind knows no io_uring.
        fixed = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "UV_USE_IO_URING": "0"}
        ended = subprocess.run(
            command, env=os.environ | fixed, capture_output=True, text=True, check=False
        )
    found = re.search(r"Collected : (\d+)", ended.stderr)
    if ended.returncode or not found:
        raise SystemExit(f"{' '.join(command)}\nended with {ended.returncode}:\n{ended.stderr}")
    each = CHAINED if row.endswith("_chained") else 1
    return int(found.group(1)) / ROWS[row][0] / each


def table(counts: dict[tuple[str, str, str], float], rows: list[str], loops: list[str]) -> str:
    heads = [f"{loop}: {name}" for loop in loops for name in ("anyio's own", "ours", "less")]
    lines = [f"| instructions | {' | '.join(heads)} |", "|--|" + "--:|" * len(heads)]
    for row in rows:
        cells = []
        for loop in loops:
            stock, ours = (counts[row, loop, engine] for engine in ENGINES)
            bar = BARS.get(row.removesuffix("_chained"), BAR)[LOOPS.index(loop)]
            missed = "" if stock / ours >= bar else f", to be {bar}"
            cells += [f"{stock:,.0f}", f"{ours:,.0f}", f"{stock / ours:.2f}{missed}"]
        title = TITLES[row.removesuffix("_chained")]
        if row.endswith("_chained"):
            title += ", in a chain"
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--loops", default=",".join(LOOPS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    parser.add_argument("--json", type=Path, help="where the counts go, too")
    parser.add_argument("--keep", type=Path, help="a folder for callgrind's profiles")
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        raise SystemExit("counting needs valgrind (Debian: apt install valgrind)")
    rows, loops = args.rows.split(","), args.loops.split(",")
    wrong = [*(set(rows) - set(ROWS)), *(set(loops) - set(LOOPS))]
    if wrong:
        raise SystemExit(f"no such row or loop: {', '.join(wrong)}; rows are {', '.join(ROWS)}")
    work = [(row, loop, engine) for row in rows for loop in loops for engine in ENGINES]
    keep = None
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        keep = [args.keep / f"callgrind.{'.'.join(item)}" for item in work]
    with ThreadPoolExecutor(args.jobs) as pool:
        found = pool.map(count, *zip(*work, strict=True), keep or [None] * len(work))
        counts = dict(zip(work, found, strict=True))
    print(table(counts, rows, loops))
    if args.json:
        kept = {"machine": describe(), "counts": {" ".join(key): n for key, n in counts.items()}}
        args.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
