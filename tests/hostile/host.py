"""Runs one program in this process, ends everything that it has left, and looks at what remains.

The end is patient: again and again it cancels all tasks, wakes all waits, and lets the loop go
round. What has not ended then never will.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import warnings
import weakref
from typing import Any

from . import blocks, channels, on_anyio, shelf, violence, waiting  # noqa: F401
from .actor import actor
from .api import ours, plain
from .loops import CountingLoop, new_loop
from .program import Program
from .steps import STEPS
from .world import World

#: So many turns a program has for itself, and so many each round of its end.
TURNS = 80
ROUND = 12
#: So many rounds nothing may end before what is left counts as stuck.
ROUNDS = 12
#: So many turns what has not ended by then has to itself.
PATIENCE = 1000


def run_program(program: Program, *, control: bool) -> dict[str, Any]:
    """Run a program; return its findings and what has happened."""
    api = plain() if control else ours()
    world = World.current = World(program, api)
    world.steps = STEPS
    warnings.simplefilter("ignore")
    sys.unraisablehook = world.unraisable
    before = _count(api)
    threshold = gc.get_threshold()
    if program.settings.get("threshold"):
        gc.set_threshold(1)
    if (
        on_anyio.anyio is not None
        and not control
        and any(
            name.startswith("any_")
            for steps in (*program.scripts, *program.hooks)
            for name, _, _ in steps
        )
    ):
        from aionursery import anyio as engine

        engine.install()
    try:
        _live(world)
        pending = _end(world)
        _close(world, pending)
    finally:
        world.settle()
        gc.set_threshold(*threshold)
    loops = list(world.loops)
    # uvloop runs for ever where an interrupt comes as it ends its run, and is not closed.
    runs = world.loop is not None and world.loop.is_running()
    # What sees errors stays: what goes now may still raise some.
    world.forget()
    del pending
    if world.done["memory"]:
        _let_go_of_memory_errors()
    for _ in range(4):
        gc.collect()
    # What went may have run hooks.
    world.settle()
    World.current = None
    sys.unraisablehook = sys.__unraisablehook__
    # What a nursery holds that was never left comes out where it is collected. Of several, one may
    # be raised where another is on its way, and takes its place.
    if world.interrupts == 1 and not world.interrupts_seen:
        world.find("interrupt", "a KeyboardInterrupt came out nowhere")
    left = {name: n - before.get(name, 0) for name, n in _count(api).items()}
    left = {name: n for name, n in left.items() if n > 0}
    if any(ref() is not None for ref in loops):
        left["loop"] = 1
    things = [type(item).__name__ for ref in world.born if (item := ref()) is not None]
    # A thread that was not waited for to the end still has a loop.
    if (left or things) and threading.active_count() == 1 and not runs:
        world.find("leak", f"left alive: {left} {sorted(things)[:10]}")
    return {"findings": world.findings, "done": world.done, "errors": world.errors}


def _let_go_of_memory_errors() -> None:
    """Have CPython let go of a traceback.

    Its last MemoryError, which it raises while many others live, is never freed, and keeps its own.
    """
    from _testcapi import raise_memoryerror

    held: list[BaseException] = []
    for _ in range(64):
        try:
            raise_memoryerror()
        except MemoryError as exc:
            held.append(exc)
    for error in held:
        error.with_traceback(None)
        error.__context__ = None


def _count(api: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in gc.get_objects():
        if isinstance(item, api.counted):
            name = next(k.__name__ for k in type(item).__mro__ if k in api.counted)
            counts[name] = counts.get(name, 0) + 1
    return counts


def _live(world: World) -> None:
    settings, api = world.program.settings, world.api
    loop = world.loop = new_loop(str(settings.get("loop", "asyncio")))
    world.loops.append(weakref.ref(loop))
    loop.set_exception_handler(world.report)
    loop.set_debug(bool(settings.get("debug")))
    kind = settings.get("factory")
    if kind == "ours":
        loop.set_task_factory(api.task_factory)
    elif kind == "eager":
        loop.set_task_factory(api.eager_task_factory)
    elif kind == "asyncio-eager" and sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    cls = api.Task if settings.get("host") == "ours" else asyncio.Task
    coro, number = actor(world, 0), world.number()
    try:
        host = world.keep_task(cls(coro, loop=loop), number)
    except BaseException as exc:
        # The loop has refused it.
        world.see(exc, "making the host", out=True)
        coro.close()
        return
    _turns(world, TURNS, host)


def _turns(world: World, count: int, until: Any = None) -> None:
    """Let the loop go round so often, whatever comes out of it."""
    loop = world.loop
    # Each exit leaves the loop; a program may have one in each of its blocks.
    for _ in range(200):
        # An interrupt that is still to come would come in these lines.
        sys.settrace(None)
        if loop.is_closed() or (until is not None and until.done()):
            break
        try:
            if isinstance(loop, CountingLoop):
                if loop.run_turns(count, until):
                    break
            elif _tick(loop, count, until):
                break
        except BaseException as exc:
            sys.settrace(None)
            # It may have come where asyncio takes these back.
            sys.set_asyncgen_hooks(None, None)
            asyncio._set_running_loop(None)
            world.see(exc, "run_forever", out=True)
            # What a trace function raises in the loop's own lines takes a step along.
            world.lost_steps |= world.done["trace"] > 0
        if world.pause is not None:
            pause, world.pause = world.pause, None
            _call(world, pause)


def _tick(loop: Any, left: int, until: Any) -> bool:
    """Run a loop whose clock is the machine's; whether the turns or the time are used up.

    A stop from before an exit has left the loop stops uvloop's next run.
    """
    late = time.monotonic() + 0.3

    def tick() -> None:
        nonlocal left
        if left < 0:
            # An exit has left the loop, which runs again for something else.
            return
        left -= 1
        if left <= 0 or (until is not None and until.done()):
            loop.stop()
        elif left % 4:
            loop.call_soon(tick)
        else:
            loop.call_later(0.0005, tick)

    loop.call_soon(tick)
    guard = loop.call_later(0.3, loop.stop)
    try:
        loop.run_forever()
        return left <= 0 or time.monotonic() >= late
    finally:
        left = -1
        guard.cancel()


def _end(world: World) -> list[Any]:
    """Cancel and wake everything until it has ended; return the tasks that have not."""
    world.ending = True
    world.settle()
    pending = _pending(world)
    number = 0
    while pending and number < ROUNDS and not world.loop.is_closed():
        for pool, methods in (
            ("nurseries", ("cancel",)),
            ("scopes", ("cancel",)),
            ("futures", ("cancel",)),
            ("waits", ("cancel",)),
        ):
            for item in list(world.pools.get(pool, ())):
                for method in methods:
                    _call(world, getattr(item, method, None))
        for key, item in list(world.things.items()):
            if key[0] == "event":
                _call(world, item.set)
        if number >= 3:
            # One that the program has begun by hand, and stands in, may hold a nursery's place.
            driven = {id(task.get_coro()) for task in pending}
            for made in list(world.pools.get("coroutines", ())):
                if id(made) not in driven:
                    _call(world, getattr(made, "close", None))
            made = None
        for task in pending:
            if number < 6:
                _call(world, task.cancel)
            # What is shielded is woken only by what it waits for; a join only by children.
            waits_for = getattr(task, "_fut_waiter", None)
            joins = waits_for is None or "wait join" in repr(waits_for)
            if number >= 3 and not joins and not isinstance(waits_for, asyncio.Task):
                _call(world, waits_for.cancel)
        del task
        _turns(world, ROUND)
        left = _pending(world)
        number = number + 1 if len(left) >= len(pending) else 0 if number < 3 else 3
        pending = left
    if pending:
        # A task may stand in hundreds of blocks, each of which cleans up for a turn.
        _turns(world, PATIENCE)
    return _pending(world)


def _pending(world: World) -> list[Any]:
    tasks = {id(t): t for ref in world.tasks if (t := ref()) is not None}
    if not world.loop.is_closed():
        tasks |= {id(t): t for t in asyncio.all_tasks(world.loop)}
    return [t for t in tasks.values() if not t.done() and t.get_loop() is world.loop]


def _call(world: World, method: Any) -> None:
    if method is None:
        return
    try:
        method()
    except BaseException as exc:
        world.see(exc, "end", out=True)


def _close(world: World, pending: list[Any]) -> None:
    loop = world.loop
    # asyncio's tasks, too, are lost where an interrupt comes while they are scheduled.
    excused = world.interrupts > 0 or world.lost_steps
    if pending and not loop.is_closed() and not excused:
        shown = [repr(task)[:160] for task in pending[:3]]
        world.find("stuck", f"{len(pending)} tasks never end: {shown}")
    if not loop.is_closed():
        task = asyncio.Task(loop.shutdown_asyncgens(), loop=loop)
        _turns(world, 30, task)
        if not task.done() and not excused:
            world.find("stuck", "shutdown_asyncgens() never ends")
        if not task.done():
            task._log_destroy_pending = False
        else:
            world.see(task.exception() if not task.cancelled() else None, "shutdown", out=True)
        _turns(world, 3)
    for task in pending:
        task._log_destroy_pending = False
    if not loop.is_closed():
        _call(world, loop.close)
    for ref in world.tasks:
        task = ref()
        if task is not None and task.done() and not task.cancelled():
            world.see(task.exception(), "task", out=True)
