"""The steps that any code can take, also a destructor: everything of the API that does not wait.

A step chooses from the pools by its numbers and does one thing. That it may fail is its business;
only what must never be is a finding, and `World.do` looks for that.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import weakref
from collections.abc import Callable
from typing import Any

from . import classes
from .blocks import hold, seconds
from .blocks import make_nursery as new_nursery
from .blocks import make_scope as new_scope
from .objects import Thing, Word, error
from .odd import awaitable, forget_to_await, new_target
from .odd import future as new_future
from .shown import shown_too_often
from .waiting import condition_of, event_of, lock_of, queue_of
from .world import Out, World

STEPS: dict[str, Callable[[World, int, int], Any]] = {}
VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("hostile")


def step(function: Callable[[World, int, int], Any]) -> Callable[[World, int, int], Any]:
    """Make a step of a function, by its name."""
    STEPS[function.__name__.rstrip("_")] = function
    return function


def _options(world: World, a: int, b: int) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if a & 12 == 4:
        options["name"] = (Thing, Word)[b & 1]()._teach(a, b)
    if a & 48 == 16:
        options["context"] = world.pick("contexts", b) or contextvars.copy_context()
    if a & 192 == 64:
        options["shield"] = True
    return options


def _start(world: World, how: str, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a)
    if nursery is not None:
        with new_target(world, b, a) as (made, args):
            number = world.number()
            world.keep_task(getattr(nursery, how)(made, *args, **_options(world, b, a)), number)


@step
def start_soon(world: World, a: int, b: int) -> None:
    _start(world, "start_soon", a, b)


@step
def start_now(world: World, a: int, b: int) -> None:
    _start(world, "start_now", a, b)


@step
def task(world: World, a: int, b: int) -> None:
    coro = awaitable(world, b, a)
    options = _options(world, a, b)
    options.pop("shield", None)
    kind = a % 6
    group = world.pick("groups", b)
    number = world.number()
    try:
        if kind == 0:
            made = asyncio.ensure_future(coro, loop=world.loop)
        elif kind == 1:
            made = world.loop.create_task(coro, name=options.get("name"))
        elif kind == 2 and group is not None:
            made = group.create_task(coro)
        elif kind == 3:
            made = classes.tasks(world)[b % 3](coro, loop=world.loop, **options)
        elif kind == 4:
            made = asyncio.Task(coro, loop=world.loop)
        else:
            made = world.api.Task(coro, loop=world.loop, **options)
        world.keep_task(made, number)
    finally:
        forget_to_await(coro)


@step
def cancel_task(world: World, a: int, b: int) -> None:
    made = world.pick("tasks", a)
    if made is not None:
        made.cancel(Thing()._teach(a, b) if b & 2 else None)


@step
def cancel_nursery(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a)
    if nursery is not None and b & 3 == 3:
        nursery.cancel_remaining()
    elif nursery is not None:
        nursery.cancel(Thing()._teach(a, b) if b & 4 else None)


@step
def cancel_scope(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a) if b & 2 else None
    scope = nursery.cancel_scope if nursery is not None else world.pick("scopes", a)
    if scope is not None:
        scope.cancel(Thing()._teach(a, b) if b & 4 else None)


@step
def cancel_wait(world: World, a: int, b: int) -> None:
    wait = world.pick("waits", a)
    if wait is None:
        return
    kind = b % 8
    if kind == 0:
        wait.close()
    elif kind == 1:
        wait.send(None)
    elif kind == 2:
        wait.throw(error(a, b))
    elif kind == 3:
        wait.add_done_callback(Thing()._teach(a, b))
    elif kind == 4:
        wait.set_result(Thing()._teach(a, b))
    elif kind == 5:
        wait.remove_done_callback(Thing()._teach(a, b))
    else:
        wait.cancel(Thing()._teach(a, b))


@step
def exit_again(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a)
    if nursery is None:
        return
    leaving = nursery.__aexit__(None, None, None)
    if b & 3 == 0:
        leaving.close()
    elif b & 3 == 1:
        leaving.throw(error(a, b))
    elif b & 3 == 2:
        repr(leaving)


@step
def uncancel(world: World, a: int, b: int) -> None:
    made = world.pick("tasks", a)
    if made is not None:
        made.uncancel() if b & 1 else made.cancelling()


@step
def settings(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a) if b & 1 else None
    scope = nursery.cancel_scope if nursery is not None else world.pick("scopes", a)
    if scope is None:
        return
    kind = b % 7
    if kind < 2:
        scope.deadline = world.loop.time() + seconds(a)
    elif kind < 4:
        scope.shield = bool(a & 8)
    elif kind < 6:
        scope.cleanup = (None, 0, 0.002, 1)[a % 4]
    else:
        scope.deadline = Thing()._teach(a, b)


@step
def scope_enter(world: World, a: int, b: int) -> None:
    scope = world.pick("scopes", a) if b & 1 else new_scope(world, a, b)
    if scope is not None:
        scope.__enter__()


@step
def scope_exit(world: World, a: int, b: int) -> None:
    scope = world.pick("scopes", a)
    if scope is not None:
        exc = world.pick("errors", b) if b & 2 else None
        scope.__exit__(type(exc) if exc is not None else None, exc, None)


@step
def watch_scope(world: World, a: int, b: int) -> None:
    nursery = world.pick("nurseries", a) if b & 2 else None
    scope = nursery.cancel_scope if nursery is not None else world.pick("scopes", a)
    if scope is not None:
        world.keep("watches", scope.on_cancel(Thing()._teach(a, b)))


@step
def unwatch_scope(world: World, a: int, b: int) -> None:
    remove = world.pick("watches", a)
    if remove is not None:
        remove()


@step
def tree_variable(world: World, a: int, b: int) -> None:
    var = world.shared("tree variable", lambda: world.api.TreeVar("tree variable"))
    if b & 1:
        world.keep("tokens", var.set(Thing()._teach(a, b)))
    elif b & 2:
        token = world.pick("tokens", a)
        if token is not None:
            var.reset(token)
    else:
        var.get(None)


@step
def make_nursery(world: World, a: int, b: int) -> None:
    new_nursery(world, a, b)


@step
def make_scope(world: World, a: int, b: int) -> None:
    new_scope(world, a, b)


@step
def make_future(world: World, a: int, b: int) -> None:
    world.keep("futures", new_future(world, a, b))


@step
def make_wait(world: World, a: int, b: int) -> None:
    api = world.api
    made = (
        lambda: api.sleep(seconds(a), Thing()._teach(a, b)),
        lambda: api.sleep_until(world.loop.time() + seconds(a)),
        api.sleep_forever,
        api.checkpoint,
        api.checkpoint_if_cancelled,
    )[b % 5]()
    world.keep("waits", made)


@step
def make_coroutine(world: World, a: int, b: int) -> None:
    made = awaitable(world, a, b)
    if made is not None and asyncio.iscoroutine(made):
        world.keep("coroutines", made)


@step
def future(world: World, a: int, b: int) -> None:
    made = world.pick("futures", a)
    if made is None:
        return
    kind = b % 4
    if kind == 0:
        made.cancel(Thing()._teach(a, b))
    elif kind == 1:
        made.set_exception(error(a, b))
    else:
        made.set_result(Thing()._teach(a, b))


@step
def wake(world: World, a: int, b: int) -> None:
    kind = b % 4
    if kind == 0:
        event_of(world, a).set() if a & 8 else event_of(world, a).clear()
    elif kind == 1:
        queue = queue_of(world, a)
        queue.get_nowait() if a & 8 else queue.put_nowait(Thing()._teach(a, b))
    elif kind == 2:
        lock_of(world, a).release()
    else:
        condition_of(world, a).notify()


@step
def callback(world: World, a: int, b: int) -> None:
    made = world.pick("tasks" if b & 1 else "futures", a)
    if made is None:
        return
    if b & 6 == 6:
        made.remove_done_callback(world.pick("callbacks", b))
    else:
        called = world.keep("callbacks", Thing()._teach(a, b))
        made.add_done_callback(called, context=world.pick("contexts", b))


@step
def coroutine(world: World, a: int, b: int) -> None:
    coro = world.pick("coroutines", a)
    if coro is None or (inspect.iscoroutine(coro) and coro.cr_running):
        return
    kind = b % 4
    if kind == 0:
        coro.close()
    elif kind == 1:
        coro.throw(error(a, b))
    else:
        coro.send(None)


@step
def collect(world: World, a: int, b: int) -> None:
    # CPython crashes where it finds no memory for the list of all objects.
    if world.looks and not world.starves:
        world.looks -= 1
        for found in shown_too_often(world.api.counted):
            world.find("collector", found)
    gc.collect()


@step
def forget(world: World, a: int, b: int) -> None:
    pools = sorted(pool for pool in world.pools if world.pools[pool])
    if not pools:
        return
    items = world.pools[pools[a % len(pools)]]
    if b & 1:
        gone = list(items)
        items.clear()
        gone.clear()
    else:
        items.popleft()


@step
def look(world: World, a: int, b: int) -> None:
    pools = sorted(pool for pool in world.pools if world.pools[pool])
    if not pools:
        return
    item = world.pick(pools[a % len(pools)], b)
    for name in dir(item):
        if name.startswith("_") and not name.startswith("_asyncio") and b & 1:
            continue
        try:
            getattr(item, name)
        except Exception as exc:
            world.see(exc, f"{type(item).__name__}.{name}")
    repr(item)
    # A frame's `f_back` that finds no memory leaves its error set (3.11), and asyncio goes on.
    if isinstance(item, world.api.Task) and not world.starves:
        item.get_stack()


@step
def error_(world: World, a: int, b: int) -> None:
    exc = world.keep("errors", error(a, b))
    if a % 3 == 0:
        raise Out(exc)


@step
def weak(world: World, a: int, b: int) -> None:
    item = world.pick(("tasks", "nurseries", "generators", "errors")[a % 4], b)
    if item is not None:
        world.keep("weak", weakref.ref(item, Thing()._teach(a, b)))


@step
def generator(world: World, a: int, b: int) -> None:
    made = world.keep("generators", hold(world, a, b))
    step_ = made.asend(None)
    if a & 8:
        step_.send(None)


@step
def deadline(world: World, a: int, b: int) -> None:
    world.api.current_effective_deadline()


@step
def stuck(world: World, a: int, b: int) -> None:
    world.api.warn_stuck_after(seconds(a))


@step
def context(world: World, a: int, b: int) -> None:
    made = world.keep("contexts", contextvars.copy_context())
    made.run(VARIABLE.set, Thing()._teach(a, b))


@step
def factory(world: World, a: int, b: int) -> None:
    api = world.api
    world.loop.set_task_factory(
        (None, api.task_factory, api.eager_task_factory)[b % 3] if b & 4 else api.task_factory
    )
