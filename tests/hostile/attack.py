"""The verb: draws programs, runs each in a process of its own, prints what fails, made small.

This process never runs a program: it has imported everything, and forks for each. So a crash, a
hang and what a program leaves behind are the child's.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import linecache
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from typing import Any

from .host import run_program
from .objects import BitingError, BitingExit, BitingGroup
from .program import Program, draw
from .reduce import reduced
from .world import Interrupt

#: After so many seconds a program hangs. Debug builds take long where they collect at each
#: allocation.
PATIENCE = 40.0 if hasattr(sys, "gettotalrefcount") else 10.0
#: So often it looks whether a program leaves something behind with asyncio's own tasks, too.
LOOKS = 20
#: What must never stand in what a program writes.
WORDS = {
    "panicked at": "panic",
    "PanicException": "panic",
    "SystemError: ": "system error",
    "Fatal Python error": "crash",
    "refcount": "crash",
    "AddressSanitizer": "crash",
}
#: By what CPython's debug builds end themselves, though the control may not meet it: where a trace
#: function raises as a generator is resumed, where StopIteration is thrown into one that has not
#: begun, where a sort that checks its comparisons has come to the limit of recursion, and where a
#: function is only being entered while uvloop, in debug mode, asks for the frame that runs.
CPYTHONS = (
    "_PyFrame_GetFrameObject: Assertion",
    "Assertion `throwflag' failed",
    "gen_send_ex2: Assertion",
    "unsafe_latin_compare: Assertion",
)
#: The same, where they find no memory: for a coroutine, a function, a frame, a longer list, for the
#: frame that an error of a Python function is noted in.
WITHOUT_MEMORY = (
    "SystemError: <function ",
    "PyFunction_NewWithQualName: Assertion",
    "_Py_MakeCoro",
    "Assertion `_PyErr_Occurred(tstate)' failed",
    "tstate->current_frame->stackpointer != NULL' failed",
)


def starves(program: Program) -> bool:
    """Whether an allocation fails in a program."""
    scripts = (*program.scripts, *program.hooks)
    return any(name == "memory" for script in scripts for name, _, _ in script)


def made_function(text: str) -> bool:
    """Whether what ended the process was the making of a coroutine or, on 3.13, of a function or a
    generator expression."""
    top = re.search(r'most recent call first\):\n  File "([^"]+)", line (\d+)', text)
    line = linecache.getline(top[1], int(top[2])).strip() if top is not None else ""
    inner = re.search(r"lambda|\(.* for .* in ", line)
    return line.startswith(("async def ", "def ")) or inner is not None


def run_apart(program: Program, *, control: bool, patience: float = PATIENCE) -> dict[str, Any]:
    """Run a program in a fork; return its findings, and what it has written."""
    with tempfile.TemporaryFile() as written, tempfile.TemporaryFile() as answer:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _child(program, written.fileno(), answer.fileno(), control, patience)
        status = _wait(child, patience * 1.5)
        written.seek(0)
        text = written.read(200_000).decode(errors="replace")
        answer.seek(0)
        said = answer.read().decode()
    result = json.loads(said) if said else {"findings": [], "done": {}, "errors": {}}
    findings = [tuple(found) for found in result["findings"]]
    if status == "timeout" or "Timeout (0:" in text:
        findings.append(("hang", text[-1500:]))
    elif any(words in text for words in CPYTHONS) or (
        starves(program) and (any(words in text for words in WITHOUT_MEMORY) or made_function(text))
    ):
        # A forked child of the program ends so, too.
        findings = [found for found in findings if found[0] != "crash"]
        return {**result, "findings": findings, "text": text}
    elif status != 0:
        findings.append(("crash", f"ended with {status}\n{text[-2500:]}"))
    for word, kind in WORDS.items():
        if word in text and not any(found[0] == kind for found in findings):
            at = max(0, text.index(word) - 300)
            findings.append((kind, text[at : at + 1500]))
    return {**result, "findings": findings, "text": text}


def _child(program: Program, written: int, answer: int, control: bool, patience: float) -> None:
    try:
        os.dup2(written, 1)
        os.dup2(written, 2)
        faulthandler.enable(file=sys.__stderr__, all_threads=True)
        faulthandler.dump_traceback_later(patience, exit=True, file=sys.__stderr__)
        # What was there before the program is no garbage of its, and is not looked at.
        gc.freeze()
        result = run_program(program, control=control)
        os.write(answer, json.dumps(result).encode())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    except (Interrupt, MemoryError, SystemExit, BitingError, BitingExit, BitingGroup):
        # What the program has sent ahead came in lines of the harness.
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)


def _wait(child: int, patience: float) -> int | str:
    deadline = time.monotonic() + patience
    pause = 0.0005
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "timeout"
        time.sleep(pause)
        pause = min(pause * 1.3, 0.02)


def signature(kind: str, detail: str) -> str:
    """What two findings of the same defect have in common, as far as one can tell."""
    lines = [line for line in detail.splitlines() if line.strip()] or [""]
    line = next((line for line in lines if "rror" in line or "panicked" in line), lines[0])
    return f"{kind}: " + re.sub(r"0x[0-9a-f]+|\d+|'[^']*'", "#", line)[:100]


def kinds(result: dict[str, Any]) -> set[str]:
    """Which kinds of findings there are."""
    return {kind for kind, _ in result["findings"]}


def judge(program: Program, *, patience: float = PATIENCE) -> tuple[str, str] | None:
    """Run a program; return the first finding that asyncio has not, too."""
    result = run_apart(program, control=False, patience=patience)
    if not result["findings"]:
        return None
    control: set[str] = set()
    # What asyncio's run leaves behind depends on when the collector comes, too.
    for _ in range(LOOKS if "leak" in kinds(result) else 1):
        control |= kinds(run_apart(program, control=True, patience=patience))
        if control >= kinds(result):
            break
    if "crash" in control:
        # What CPython's own tasks do not live through says nothing of ours.
        return None
    for kind, detail in result["findings"]:
        if kind not in control:
            return kind, detail
    return None


def report(program: Program, kind: str, detail: str, *, patience: float = PATIENCE) -> str:
    """Make a failing program small, and say everything about it."""

    def fails(smaller: Program) -> bool:
        found = judge(smaller, patience=min(patience, 4.0))
        return found is not None and found[0] == kind

    small = reduced(program, fails)
    found = judge(small, patience=patience)
    lines = [f"{kind}: seed {program.seed}: {program.size()} steps, made {small.size()}"]
    lines += [f"    {line}" for line in small.show()]
    lines += ["    " + line for line in (found[1] if found else detail).splitlines()[:40]]
    lines.append(f"    again: make attack SEED={program.seed}")
    lines.append(f"    small: {small.to_json()}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, help="run this one alone, and show it")
    parser.add_argument("--first", type=int, help="the first seed; the clock's, if not said")
    parser.add_argument("--count", type=int, default=10**9, help="run so many at the most")
    parser.add_argument("--program", help="a program as it was printed: run it, and show it")
    parser.add_argument("--small", help="a program as it was printed: make it small")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds, then it hangs")
    parser.add_argument("--plain", action="store_true", help="asyncio's own, as a control")
    parser.add_argument("--alike", type=int, default=1, help="print so many that look alike")
    parser.add_argument("--findings", type=int, default=1000, help="stop after so many")
    options = parser.parse_args()
    print(f"CPython {sys.version.split()[0]}, {sys.executable}")
    if options.small:
        return _shrink(Program.from_json(options.small), options.patience)
    if options.seed is not None or options.program:
        program = draw(options.seed) if options.seed is not None else None
        return _one(program or Program.from_json(options.program), options.plain)
    first = options.first if options.first is not None else int(time.time()) * 1000
    seen: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    alike: Counter[str] = Counter()
    count = 0
    end = time.monotonic() + options.seconds
    while (
        count < options.count and time.monotonic() < end and sum(seen.values()) < options.findings
    ):
        program = draw(first + count)
        count += 1
        result = run_apart(program, control=options.plain)
        steps.update(result["done"])
        errors.update(result["errors"])
        if not result["findings"]:
            continue
        if options.plain:
            print(program.seed, [f"{k}: {d[:150]}" for k, d in result["findings"]])
            continue
        found = judge(program)
        if found is None:
            seen["asyncio, too, or not again"] += 1
            continue
        seen[found[0]] += 1
        alike[signature(*found)] += 1
        if alike[signature(*found)] <= options.alike:
            print(report(program, *found), flush=True)
    # What asyncio does, too, is no defect of ours.
    seen_text = ", ".join(f"{n} {kind}" for kind, n in sorted(seen.items())) or "nothing found"
    print(f"{count} programs from seed {first}, {sum(steps.values())} steps: {seen_text}")
    for text, number in alike.most_common():
        print(f"    {number} {text}")
    unused = sorted(set(run_program.__globals__["STEPS"]) - set(steps))
    if unused and count > 200:
        print("never done:", ", ".join(unused))
    return 1 if set(seen) - {"asyncio, too, or not again"} else 0


def _shrink(program: Program, patience: float) -> int:
    found = judge(program, patience=patience)
    print(report(program, *found, patience=patience) if found else "nothing found")
    return 1 if found else 0


def _one(program: Program, control: bool) -> int:
    for line in program.show():
        print(line)
    result = run_apart(program, control=control)
    print("done:", result["done"])
    print("errors:", result["errors"])
    for kind, detail in result["findings"]:
        print(f"{kind}: {detail}")
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
