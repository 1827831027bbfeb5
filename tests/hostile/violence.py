"""The steps that do violence: to the loop, the interpreter, and the library's own objects.

What they change in the interpreter is undone when the program ends. Each is done in a way in which
asyncio's own task survives it, or the control says that it does not.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import tracemalloc
from typing import Any

from . import classes
from .actor import actor
from .loops import is_link, new_loop, run_nested
from .objects import Thing
from .steps import step
from .world import World


@step
def stop(world: World, a: int, b: int) -> None:
    world.loop.stop()


@step
def close_loop(world: World, a: int, b: int) -> None:
    # A loop that runs refuses; so it is closed in the pause between two runs.
    world.pause = world.loop.close
    world.loop.stop()


@step
def other_loop(world: World, a: int, b: int) -> None:
    """Use what is there on another loop, in a thread of its own."""

    def use() -> None:
        loop = new_loop("asyncio")
        try:
            if b & 1:
                loop.set_task_factory(world.api.task_factory)
            coro = actor(world, a)
            task = (world.api.Task if b & 2 else asyncio.Task)(coro, loop=loop)
            task._log_destroy_pending = False
            for _ in range(30):
                loop.call_soon(loop.stop)
                loop.run_forever()
            task.cancel()
            loop.call_soon(loop.stop)
            loop.run_forever()
        except BaseException as exc:
            world.see(exc, "other loop", out=True)
        finally:
            loop.close()

    _in_thread(world, use)


def _in_thread(world: World, function: Any) -> None:
    # Python's own start() waits for ever for a thread that has found no memory; and hundreds of
    # them, one in another's loop, still run when the program is over.
    if world.starves or world.done["other_loop"] + world.done["thread"] > 20:
        return
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(5)


@step
def thread(world: World, a: int, b: int) -> None:
    _in_thread(world, lambda: world.hook(a))


@step
def nested_run(world: World, a: int, b: int) -> None:
    run_nested(world, world.pick("tasks", b), a % 6 + 1)


@step
def ready(world: World, a: int, b: int) -> None:
    handles = getattr(world.loop, "_ready", None)
    if not handles:
        return
    if b % 3 < 2 and any(not is_link(handle) for handle in list(handles)):
        # A step of asyncio's own task that is taken away never comes again.
        world.lost_steps = True
    if b % 3 == 0:
        handles.clear()
    elif b % 3 == 1:
        for handle in list(handles):
            handle.cancel()
    else:
        handles.rotate(a % 5)


@step
def state(world: World, a: int, b: int) -> None:
    vars(world.loop).pop("_aionursery", None)


@step
def reinit(world: World, a: int, b: int) -> None:
    if b & 1:
        made = world.pick("tasks", a)
        # Whose coroutine runs would lose it: asyncio's does not survive that. Nor is asyncio's own
        # looked at: a second __init__ inside one keeps its loop.
        if isinstance(made, world.api.Task) and not getattr(made.get_coro(), "cr_running", False):
            made.__init__(actor(world, b), loop=world.loop)
    else:
        nursery = world.pick("nurseries", a)
        if nursery is not None:
            nursery.__init__()


@step
def class_(world: World, a: int, b: int) -> None:
    made = world.pick("tasks" if b & 1 else "nurseries", a)
    if made is not None:
        kinds = classes.tasks(world) if b & 1 else classes.nurseries(world)
        made.__class__ = kinds[b % len(kinds)]


@step
def fork(world: World, a: int, b: int) -> None:
    # Hundreds take a busy machine longer than a program may. And CPython's own child ends itself
    # where it finds no memory for its locks; with a fault handler it waits for one for ever.
    if world.done["fork"] > 20 or world.starves:
        return
    child = os.fork()
    if child == 0:
        try:
            world.hook(a)
            gc.collect()
        except BaseException:
            pass
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        world.find("crash", f"a forked child ended with {status}")


@step
def subinterpreter(world: World, a: int, b: int) -> None:
    """Import it in another interpreter: that must be refused in words."""
    # tracemalloc keeps names of files that go with an interpreter, and reads them; and CPython 3.14
    # crashes where it finds no memory for another interpreter.
    if world.starves or tracemalloc.is_tracing() or world.shared(("flag", "subinterpreter"), list):
        return
    world.shared(("flag", "subinterpreter"), list).append(True)
    path = [p for p in sys.path if isinstance(p, str)]
    code = (
        f"import sys; sys.path[:] = {path!r}\n"
        "try: import aionursery\n"
        "except ImportError: pass\n"
        "else: raise SystemExit('imported')\n"
    )
    try:
        import _interpreters as module
    except ImportError:
        try:
            import _xxsubinterpreters as module  # type: ignore[no-redef]
        except ImportError:
            return
    made = module.create()
    try:
        failed = module.run_string(made, code)
        if failed is not None:
            world.find("subinterpreter", f"{failed}")
    except Exception as exc:
        world.find("subinterpreter", repr(exc))
    finally:
        module.destroy(made)


@step
def interrupt(world: World, a: int, b: int) -> None:
    """Ctrl-C, as its handler raises it: at once, or at the next line of Python."""
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, lambda *_: _raise(world))
    signal.raise_signal(signal.SIGINT)


@step
def interrupt_later(world: World, a: int, b: int) -> None:
    """Ctrl-C at the n-th line of Python from now on."""
    if threading.current_thread() is not threading.main_thread():
        return
    left = a

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            sys.settrace(None)
            _raise(world)
        return trace

    sys.settrace(trace)


def _raise(world: World) -> None:
    raise world.send()


@step
def trace(world: World, a: int, b: int) -> None:
    """Trace or profile, with hooks run in between."""
    count = 0

    def called(*_: Any) -> Any:
        nonlocal count
        count += 1
        if count % (a % 50 + 10) == 0:
            world.hook(b)
        return called

    if b % 3 == 0:
        sys.settrace(called)
    elif b % 3 == 1 or not hasattr(sys, "monitoring"):
        sys.setprofile(called)
    else:
        events = sys.monitoring.events
        try:
            sys.monitoring.use_tool_id(3, "hostile")
        except ValueError:
            return
        for event in (events.PY_START, events.PY_YIELD, events.PY_RETURN, events.C_RETURN):
            sys.monitoring.register_callback(3, event, called)
        sys.monitoring.set_events(3, events.PY_START | events.PY_YIELD | events.CALL)
        world.undo.append(lambda: sys.monitoring.free_tool_id(3))
        world.undo.append(lambda: sys.monitoring.set_events(3, 0))


@step
def memory(world: World, a: int, b: int) -> None:
    """Let the n-th allocation fail while a hook runs, or until the next turn."""
    # CPython 3.13 crashes where it finds none for the function that is made below.
    if world.starves:
        return
    try:
        import _testcapi
    except ImportError:
        return

    def feed() -> None:
        _testcapi.remove_mem_hooks()
        world.starves = False

    world.starves = True
    if b & 1:
        _testcapi.set_nomemory(a, a + 1)
        try:
            world.hook(b >> 1)
        finally:
            feed()
    else:
        world.loop.call_soon(feed)
        world.undo.append(feed)
        _testcapi.set_nomemory(a * 2, a * 2 + 1)


@step
def recursion(world: World, a: int, b: int) -> None:
    """Run a hook where the stack is nearly used up."""
    left = a % 40 + 2

    def deeper(depth: int) -> None:
        if depth:
            deeper(depth - 1)
        else:
            world.hook(b)

    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    old = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 100 + left)
    try:
        deeper(100)
    finally:
        sys.setrecursionlimit(old)


@step
def objects(world: World, a: int, b: int) -> None:
    """Find what is being taken apart, and use it."""
    for item in gc.get_objects():
        if isinstance(item, world.api.counted):
            for name in ("cancel", "children", "get_coro", "deadline", "__repr__", "size"):
                try:
                    found = getattr(item, name)
                    if callable(found):
                        found()
                except Exception as exc:
                    world.see(exc, f"{type(item).__name__}.{name} of all objects")


@step
def freeze(world: World, a: int, b: int) -> None:
    gc.freeze() if b & 1 else gc.unfreeze()
    world.undo.append(gc.unfreeze)


@step
def base_method(world: World, a: int, b: int) -> None:
    """Call a method of asyncio's on a task that is not asyncio's own."""
    made = world.pick("tasks", a)
    if not isinstance(made, world.api.Task):
        # To begin a task of asyncio's again breaks it.
        return
    base = asyncio.Task if b & 1 else asyncio.Future
    names = sorted(name for name in vars(base) if name not in ("__new__", "__getattribute__"))
    found = vars(base)[names[b * 7 % len(names)]]
    if hasattr(found, "__set__"):
        found.__get__(made)
    elif callable(found):
        try:
            found(made)
        except TypeError:
            found(made, Thing()._teach(a, b))


@step
def close_running(world: World, a: int, b: int) -> None:
    """Close the coroutine of a task that waits."""
    made = world.pick("tasks", a)
    coro = made.get_coro() if made is not None else None
    # CPython 3.11 reads what one that runs awaits from a stack where nothing stands.
    if coro is not None and not getattr(coro, "cr_running", False):
        coro.close()


@step
def tracemalloc_(world: World, a: int, b: int) -> None:
    # Where it stops, it puts back the allocator that it has found.
    if world.starves:
        return
    tracemalloc.start(a % 5 + 1)
    world.undo.append(tracemalloc.stop)
