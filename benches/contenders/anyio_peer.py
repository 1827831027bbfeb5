"""Owns how anyio takes part, on its asyncio backend."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from contenders import children
from contenders.case import Contender, run_on_asyncio
from contenders.function_style import Toolkit, at_once, blocked, cases


async def _sleep0(kit: Toolkit, clock: Any, size: int) -> None:
    # asyncio's own sleep(0), the coroutine that the other contenders on asyncio's loops run.
    child = children.yields_once
    with clock:
        async with kit.open() as group:
            start = group.start_soon
            for _ in range(size):
                start(child)


async def _child(kit: Toolkit, clock: Any, size: int) -> None:
    waiting, waited_for = children.awaits, children.yields_once
    with clock:
        async with kit.open() as group:
            start = group.create_task
            for _ in range(size):
                start(waiting(start(waited_for())))


async def _cleanup(kit: Toolkit, clock: Any, size: int, child: Callable[[], Any]) -> None:
    async with kit.open() as group:
        group.start_soon(child)
        await blocked(kit)
        clock.__enter__()
        group.cancel_scope.cancel()
    clock.__exit__()


async def _echo(kit: Toolkit, clock: Any, size: int) -> None:
    from contenders.echo import echo_server, request

    async with echo_server() as (session, url):
        with clock:
            async with kit.open() as group:
                start = group.start_soon
                for _ in range(size):
                    start(request, session, url)


def contenders() -> list[Contender]:
    try:
        import anyio
    except ImportError:
        return []
    kit = Toolkit(
        open=anyio.create_task_group,
        sleep=anyio.sleep,
        event=anyio.Event,
        channel=anyio.create_memory_object_stream,
        timeout=anyio.fail_after,
    )
    table = cases(kit) | {
        "sleep0": partial(_sleep0, kit),
        "child": partial(_child, kit),
        "echo": partial(_echo, kit),
        "cleanup_shield": partial(_cleanup, kit, child=children.cleans_up_behind_a_shield),
        "cleanup_native": partial(_cleanup, kit, child=children.cleans_up_in_a_native_task),
        "at_once": partial(at_once, kit),
    }
    return [Contender("anyio", "anyio", run_on_asyncio, table)]
