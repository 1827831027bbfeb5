"""Steps with a defect planted in them, to prove that the harness sees each kind of defect.

Only the self-test asks for them; no program is drawn with one. The control has none, so that a
planted defect passes for one of the library's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from .objects import Thing
from .steps import step
from .world import World

KEPT: list[Any] = []
#: Which kind of finding each of them must become.
PLANTED = {
    "plant_crash": "crash",
    "plant_exit": "crash",
    "plant_panic": "panic",
    "plant_panic_error": "panic",
    "plant_system_error": "system error",
    "plant_report": "system error",
    "plant_destructor": "system error",
    "plant_hang": "hang",
    "plant_stuck": "stuck",
    "plant_leak": "leak",
    "plant_lie": "lie",
    "plant_interrupt": "interrupt",
}


@step
def plant_crash(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        os.kill(os.getpid(), signal.SIGSEGV)


@step
def plant_exit(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        os._exit(3)


@step
def plant_panic(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        os.write(2, b"thread '<unnamed>' panicked at crates/somewhere.rs:1:1:\nplanted\n")


class PanicException(BaseException):
    """Named as PyO3's."""


@step
def plant_panic_error(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        raise PanicException("planted")


@step
def plant_system_error(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        try:
            raise SystemError("planted")
        except SystemError as exc:
            raise ExceptionGroup("hidden", [ValueError()]) from exc


@step
def plant_report(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        context = {"message": "planted", "exception": SystemError("planted")}
        world.loop.call_exception_handler(context)


class _Falls:
    def __del__(self) -> None:
        raise SystemError("planted")


@step
def plant_destructor(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        _Falls()


@step
def plant_hang(world: World, a: int, b: int) -> None:
    while not world.api.plain:
        time.sleep(0.01)


async def _stubborn() -> None:
    while True:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            pass


@step
def plant_stuck(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        world.keep_task(asyncio.Task(_stubborn(), loop=world.loop))


@step
def plant_leak(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        KEPT.append(Thing()._teach(a, 0))


@step
def plant_lie(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        task = asyncio.Task(asyncio.sleep(0), loop=world.loop)

        def tell() -> None:
            context = {"message": "Task was destroyed but it is pending!", "task": task}
            world.loop.call_exception_handler(context)

        task.add_done_callback(lambda _: tell())


@step
def plant_interrupt(world: World, a: int, b: int) -> None:
    if not world.api.plain:
        try:
            raise world.send()
        except KeyboardInterrupt:
            pass
