"""Owns what a blocked child weighs: one process for each contender and meter, nothing timed.

Meters: `traced` is tracemalloc. `beyond` is what malloc gave (mallinfo2) less the large Python
objects that pymalloc passes on to malloc, so what is left went to extension modules. `malloc` is
all of malloc in a process in which Python itself uses it too (PYTHONMALLOC=malloc). `rss` is the
resident set. `counted` = `traced` + `beyond`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

from contenders import all_contenders
from contenders.case import NotThere

PYMALLOC_LARGEST = 512


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def _from_malloc() -> int:
    info = ctypes.CDLL(None).mallinfo2
    info.restype = _Mallinfo2
    now = info()
    return now.uordblks + now.hblkhd


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Meter:
    """Reads the difference between the start and the end of its `with` block."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.bytes: dict[str, int] = {}

    def _read(self) -> dict[str, int]:
        gc.collect()
        if self.what == "traced":
            traced = tracemalloc.get_traced_memory()[0]
            traces = tracemalloc.take_snapshot().traces
            large = sum(trace.size for trace in traces if trace.size > PYMALLOC_LARGEST)
            return {"traced": traced, "large": large}
        if self.what == "plain":
            # Resident set first: reading it allocates, and reading malloc does not.
            return {"rss": _resident(), "from_malloc": _from_malloc()}
        return {"malloc": _from_malloc()}

    def __enter__(self) -> Meter:
        self._before = self._read()
        return self

    def __exit__(self, *exc: object) -> None:
        after = self._read()
        self.bytes = {key: after[key] - before for key, before in self._before.items()}


def _weigh(row: str, contender_key: str, loop: str, size: int, what: str) -> dict[str, float]:
    contender = next(c for c in all_contenders() if c.key == contender_key)
    case = contender.case(row)
    if case is None:
        raise NotThere("-")
    if what == "traced":
        tracemalloc.start(1)
    meter = Meter(what)

    async def main() -> None:
        await case(Meter(what), 10)  # what the first child of a loop sets up
        await case(meter, size)

    contender.run(main, loop)
    return {key: value / size for key, value in meter.bytes.items()}


def weigh(row: str, contender: str, loop: str, size: int) -> dict[str, Any]:
    """All meters of one contender; a `note` where it can't be weighed."""
    found: dict[str, Any] = {}
    for what in ("traced", "plain", "malloc"):
        environment = dict(os.environ, PYTHONHASHSEED="0")
        if what == "malloc":
            environment["PYTHONMALLOC"] = "malloc"
        command = [sys.executable, __file__, row, contender, loop, str(size), what]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        if ended.returncode != 0:
            last = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
            return {"note": f"failed: {last[0]}"}
        found.update(json.loads(ended.stdout))
        if "note" in found:
            return {"note": found["note"]}
    found["beyond"] = max(0.0, found.pop("from_malloc") - found.pop("large"))
    found["counted"] = found["traced"] + found["beyond"]
    return found


def main() -> None:
    row, contender, loop, size, what = sys.argv[1:]
    try:
        print(json.dumps(_weigh(row, contender, loop, int(size), what)))
    except NotThere as reason:
        print(json.dumps({"note": str(reason)}))
    except (ImportError, AttributeError) as error:
        print(json.dumps({"note": f"not there yet: {error}"}))


if __name__ == "__main__":
    main()
