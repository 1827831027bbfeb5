"""Makes a program that fails small. It knows statements only by their fields, and runs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from .statements import Statement

Program = tuple[Statement, ...]

#: The simplest value of a field that is no statement.
SIMPLEST = {"seconds": math.inf, "after": 0.0, "shield": False, "ours": False, "then": "again"}


def smaller(program: Program, fails: Callable[[Program], bool]) -> Program:
    """The smallest program on the way down from this one that fails, too."""
    while True:
        for candidate in of_many(program):
            if fails(candidate):
                program = candidate
                break
        else:
            return program


def of_many(items: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Fewer items, or one of them smaller; the boldest attempts first."""
    if len(items) > 2:
        half = len(items) // 2
        yield items[:half]
        yield items[half:]
    for index, item in enumerate(items):
        before, behind = items[:index], items[index + 1 :]
        yield before + behind
        if isinstance(item, Statement):
            for inner in parts(item):
                yield before + inner + behind
    for index, item in enumerate(items):
        for candidate in of_one(item):
            yield (*items[:index], candidate, *items[index + 1 :])


def parts(item: Any) -> Iterator[tuple[Any, ...]]:
    """The statements inside a statement."""
    for field in fields(item):
        value = getattr(item, field.name)
        if isinstance(value, tuple):
            if all(isinstance(part, Statement) for part in value):
                yield value
            else:
                yield from (part.body for part in value)
        elif is_dataclass(value):
            yield (value,) if isinstance(value, Statement) else value.body


def of_one(item: Any) -> Iterator[Any]:
    for field in fields(item):
        value = getattr(item, field.name)
        if isinstance(value, tuple):
            candidates: Iterator[Any] = of_many(value)
        elif is_dataclass(value):
            candidates = of_one(value)
        elif field.name == "taken" and value:
            candidates = iter([value - 1])
        elif field.name in SIMPLEST and value != SIMPLEST[field.name]:
            candidates = iter([SIMPLEST[field.name]])
        else:
            continue
        for candidate in candidates:
            yield replace(item, **{field.name: candidate})
