"""Owns the floor: the child's coroutine driven by `coro.send` in a bare loop, with no scheduler."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from contenders import children
from contenders.case import Case, Contender, run_on_asyncio


async def _at_once(clock: Any, size: int) -> None:
    child = children.returns_at_once
    with clock:
        for _ in range(size):
            try:
                child().send(None)
            except StopIteration:
                continue


async def _sleep0(clock: Any, size: int) -> None:
    child = children.yields_once
    with clock:
        for _ in range(size):
            coro = child()
            coro.send(None)
            try:
                coro.send(None)
            except StopIteration:
                continue


async def _held(clock: Any, size: int) -> None:
    # As in a nursery, all coroutines exist before the first one runs: memory counts.
    child = children.returns_at_once
    with clock:
        coros = [child() for _ in range(size)]
        coros.reverse()
        pop = coros.pop
        while coros:
            try:
                pop().send(None)
            except StopIteration:
                continue


async def _in_context(clock: Any, size: int) -> None:
    # ... and each has a context of its own, as every task must: no task can be had for less.
    child, copy = children.returns_at_once, copy_context
    with clock:
        made = [(child(), copy()) for _ in range(size)]
        made.reverse()
        pop = made.pop
        while made:
            coro, context = pop()
            try:
                context.run(coro.send, None)
            except StopIteration:
                continue


def _many(case: Case) -> dict[str, Case]:
    sizes = (1000, 10_000, 100_000, 1_000_000)
    return {f"{row}_{size}": case for row in ("scale", "uncollected") for size in sizes}


def contenders() -> list[Contender]:
    return [
        Contender(
            "floor",
            "floor: coro.send",
            run_on_asyncio,
            {"at_once": _at_once, "sleep0": _sleep0, "own_sleep0": _sleep0, **_many(_at_once)},
        ),
        Contender(
            "floor_held",
            "floor, all made first",
            run_on_asyncio,
            {"at_once": _held, **_many(_held)},
        ),
        Contender(
            "floor_context",
            "floor, made first, a context each",
            run_on_asyncio,
            {"at_once": _in_context, **_many(_in_context)},
        ),
    ]
