"""What type checkers must refuse; each line says so, and an ignore that is not needed is an error.

It is only checked: run, it would raise.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import aionursery
from aionursery import Nursery, TaskStatus


async def count(text: str) -> int:
    return len(text)


async def serve(host: str, *, task_status: TaskStatus[str]) -> None:
    task_status.started(1)  # type: ignore[arg-type]


async def children(nursery: Nursery) -> None:
    nursery.start_soon(count, 1)  # type: ignore[arg-type]
    nursery.start_soon(len, "abc")  # type: ignore[arg-type]
    await nursery.start(serve, 1)  # type: ignore[misc]
    await nursery.start(serve)  # type: ignore[arg-type]
    await nursery.start(count, "abc")  # type: ignore[arg-type]
    nursery.cancel_scope.on_cancel(abs, "one")  # type: ignore[arg-type]
    await aionursery.map(count, [1, 2])  # type: ignore[arg-type]


class NamedGroup(aionursery.TaskGroup):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


async def blocks() -> None:
    with Nursery() as nursery:  # type: ignore[attr-defined]
        print(nursery)
    async with aionursery.fail_after(1):  # type: ignore[attr-defined]
        pass
    aionursery.CancelScope(5)  # type: ignore[call-arg]
    aionursery.TaskGroup(5)  # type: ignore[call-arg]
    aionursery.TaskGroup(cleanup=1)  # type: ignore[call-arg]
    NamedGroup()  # type: ignore[call-arg]
    aionursery.run(blocks)  # type: ignore[arg-type]


async def a_quiet_deadline_may_skip_the_return() -> int:  # type: ignore[return]
    with aionursery.move_on_after(1):
        return 1


async def so_may_a_shield_with_a_deadline() -> int:  # type: ignore[return]
    with aionursery.shield(deadline=1):
        return 1
