"""Makes a failing program small: takes away what it also fails without. Runs nothing itself."""

from __future__ import annotations

from collections.abc import Callable

from .program import Program, Step

#: So many attempts are made for one program.
ATTEMPTS = 400


def reduced(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Return a program with few steps that fails in the same way."""
    left = ATTEMPTS

    def attempt(candidate: Program) -> bool:
        nonlocal left
        if left <= 0:
            return False
        left -= 1
        return fails(candidate)

    smaller = True
    while smaller and left > 0:
        before = program.size()
        for part in ("scripts", "hooks"):
            for number in range(len(getattr(program, part))):
                program = _shorten(program, part, number, attempt)
        smaller = program.size() < before
    for key, value in list(program.settings.items()):
        if value and value != "asyncio":
            plain = {**program.settings, key: "asyncio" if key in ("loop", "host") else 0}
            candidate = Program(program.seed, plain, program.scripts, program.hooks)
            if attempt(candidate):
                program = candidate
    return program


def _shorten(
    program: Program, part: str, number: int, attempt: Callable[[Program], bool]
) -> Program:
    steps: list[Step] = getattr(program, part)[number]
    size = len(steps)
    while size >= 1:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            candidate = _with(program, part, number, fewer)
            if attempt(candidate):
                program, steps = candidate, fewer
            else:
                at += size
        size //= 2
    return program


def _with(program: Program, part: str, number: int, steps: list[Step]) -> Program:
    parts = {"scripts": list(program.scripts), "hooks": list(program.hooks)}
    parts[part][number] = steps
    return Program(program.seed, program.settings, parts["scripts"], parts["hooks"])
