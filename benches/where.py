"""Says in which part of the process the instructions of each hot path are spent.

    python benches/where.py [PATH ...]      needs valgrind; prints a table in Markdown

Parts are told apart by object file and, inside CPython, by the source file of the function, where
the interpreter has kept its debugging information. Must never judge: limits are for
`instructions.py`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from instructions import COUNT, SCRIPT, available_paths, environment

#: A name in callgrind's output: written out the first time, a number from then on.
NAME = re.compile(r"(ob|fl|fn)=\((\d+)\)(?: (.+))?")

#: The end of a source file's name, and what is done there.
PARTS = {
    "obmalloc.c": "memory and collector",
    "gcmodule.c": "memory and collector",
    "gc.c": "memory and collector",
    "memset": "memory and collector",
    "malloc.c": "memory and collector",
    "typeobject.c": "memory and collector",
    "context.c": "contexts",
    "hamt.c": "contexts",
    "_asynciomodule.c": "asyncio's C part",
    "_collectionsmodule.c": "the loop's queue",
    "dictobject.c": "dicts (current task, attributes)",
    "weakrefobject.c": "weak references (all_tasks)",
    "setobject.c": "weak references (all_tasks)",
}
OURS, REST = "aionursery", "the interpreter: coroutines, calls, frames"
ORDER = [OURS, REST, *dict.fromkeys(PARTS.values())]


def part_of(source: str, function: str, binary: str) -> str:
    if "_aionursery" in binary:
        return OURS
    if "mem" in function and "libc" in binary:
        return PARTS["memset"]
    for ending, part in PARTS.items():
        if source.endswith(ending):
            return part
    return REST


def parts(path: str, count: int) -> Counter[str]:
    """Instructions of a process that runs one path so often."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        run = [*command, sys.executable, str(SCRIPT), f"{path}={count}"]
        subprocess.run(run, env=environment(), capture_output=True, check=True)
        return read(out.read_text(errors="replace").splitlines())


def read(lines: list[str]) -> Counter[str]:
    """What callgrind has written: names, and after them the cost of each line of source."""
    found: Counter[str] = Counter()
    names: dict[tuple[str, str], str] = {}
    now = {"ob": "", "fl": "", "fn": ""}
    called = False  # the next cost is what a call has cost, which its callee has counted
    for line in lines:
        if match := NAME.match(line):
            kind, number, name = match.groups()
            now[kind] = names.setdefault((kind, number), name)
        elif match := re.match(r"cf[il]=\((\d+)\) (.+)", line):
            names.setdefault(("fl", match[1]), match[2])
        elif match := re.match(r"(cob|cfn)=\((\d+)\) (.+)", line):
            names.setdefault((match[1][1:], match[2]), match[3])
        elif match := re.match(r"f[ie]=\((\d+)\) (.+)", line):
            names.setdefault(("fl", match[1]), match[2])  # of code that was inlined
        elif line.startswith("calls="):
            called = True
        elif line[:1] in "0123456789+-*" and line:
            if not called:
                found[part_of(now["fl"], now["fn"], now["ob"])] += int(line.split()[1])
            called = False
    return found


def table(paths: list[str]) -> str:
    runs = [(path, times * COUNT) for path in paths for times in (1, 2)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(zip(runs, pool.map(parts, *zip(*runs, strict=True)), strict=True))
    each = {
        path: {
            part: (counted[path, 2 * COUNT][part] - counted[path, COUNT][part]) / COUNT
            for part in ORDER
        }
        for path in paths
    }
    lines = [
        "| | " + " | ".join(path.replace("_", " ") for path in paths) + " |",
        "|--|" + "--:|" * len(paths),
    ]
    for part in ORDER:
        figures = " | ".join(f"{each[path][part]:,.0f}" for path in paths)
        lines.append(f"| {part} | {figures} |")
    lines.append(
        "| all | " + " | ".join(f"{sum(each[path].values()):,.0f}" for path in paths) + " |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(sys.argv[1:] or available_paths()))
