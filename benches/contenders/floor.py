"""Owns the floor: the child's coroutine driven by `coro.send` in a bare loop, with no scheduler."""

from __future__ import annotations

from typing import Any

from contenders import children
from contenders.case import Contender, run_on_asyncio


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


def contenders() -> list[Contender]:
    sizes = (1000, 10_000, 100_000, 1_000_000)
    immediate = {f"scale_{size}": _at_once for size in sizes}
    held = {f"scale_{size}": _held for size in sizes}
    return [
        Contender(
            "floor",
            "floor: coro.send",
            run_on_asyncio,
            {"at_once": _at_once, "sleep0": _sleep0, "own_sleep0": _sleep0, **immediate},
        ),
        Contender(
            "floor_held",
            "floor, all made first",
            run_on_asyncio,
            {"at_once": _held, **held},
        ),
    ]
