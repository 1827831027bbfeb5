"""What is put in place of what, in a process that then runs the tests of another project.

Owns the substitutions. Never changes a test: a test sees another class under asyncio's name, or a
loop that was made with a task factory, and nothing else. Each substitution is checked when it is
made, for a suite that quietly runs on asyncio's own classes proves nothing.
"""

from __future__ import annotations

import asyncio
import asyncio.base_events
import functools
import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Names:
    """Where the things are found that are put in place, each as `module:attribute`."""

    task: str = "aionursery:Task"
    factory: str = "aionursery:task_factory"
    eager_factory: str = "aionursery:eager_task_factory"
    task_group: str = "aionursery:TaskGroup"
    #: A module that has `Lock`, `Queue` and so on.
    primitives: str = "aionursery"


def asyncio_task_factory(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """Make what a loop without a factory makes."""
    return asyncio.Task(coro, loop=loop, **options)


OURS = Names()

#: asyncio's own classes, put in place as ours are: shows what the harness itself does to a test.
BASELINE = Names(
    task="asyncio:Task",
    factory=f"{__name__}:asyncio_task_factory",
    eager_factory="asyncio:eager_task_factory",
    task_group="asyncio:TaskGroup",
    primitives="asyncio",
)

LOCKS = ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore")
QUEUES = ("Queue", "PriorityQueue", "LifoQueue")


def load(name: str) -> Any:
    """Find what `module:attribute` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def put_task(names: Names) -> None:
    """Make the class *the* task of asyncio, before the tests are imported that take it from there.

    The modules of CPython build their test cases from `asyncio.tasks._CTask`; a loop without a
    factory makes `asyncio.tasks.Task`.
    """
    task = load(names.task)
    asyncio.Task = asyncio.tasks.Task = asyncio.tasks._CTask = task
    check_tasks_of_loops(task)


def put_factory(names: Names) -> None:
    """Set the task factory on every loop of asyncio's that is made from now on."""
    factory = load(names.factory)
    plain = asyncio.base_events.BaseEventLoop.__init__

    @functools.wraps(plain)
    def with_factory(loop: Any, *args: Any, **options: Any) -> None:
        plain(loop, *args, **options)
        loop.set_task_factory(factory)

    asyncio.base_events.BaseEventLoop.__init__ = with_factory
    check_tasks_of_loops(load(names.task))


def put_runner(names: Names) -> None:
    """Set the task factory on loops of others too, where `asyncio.Runner` has a `loop_factory`."""
    factory = load(names.factory)
    plain = asyncio.Runner.__init__

    @functools.wraps(plain)
    def with_factory(
        runner: asyncio.Runner, *, debug: bool | None = None, loop_factory: Any = None
    ) -> None:
        def make_loop() -> asyncio.AbstractEventLoop:
            loop = loop_factory()
            if loop.get_task_factory() is None:
                loop.set_task_factory(factory)
            return loop

        plain(runner, debug=debug, loop_factory=make_loop if loop_factory else None)

    asyncio.Runner.__init__ = with_factory


def put_eager_factory(names: Names) -> None:
    """Give the class's own eager factory wherever one is asked for this class."""
    put_task(names)
    task = load(names.task)
    eager_factory = load(names.eager_factory)
    create = asyncio.create_eager_task_factory

    def create_eager_task_factory(constructor: Any) -> Any:
        return eager_factory if constructor is task else create(constructor)

    asyncio.create_eager_task_factory = create_eager_task_factory
    asyncio.tasks.create_eager_task_factory = create_eager_task_factory
    asyncio.eager_task_factory = asyncio.tasks.eager_task_factory = eager_factory


def put_task_group(names: Names) -> None:
    asyncio.TaskGroup = asyncio.taskgroups.TaskGroup = load(names.task_group)


def put_primitives(names: Names, home: Any, wanted: tuple[str, ...]) -> None:
    """Put the primitives of these names in place of the ones in `asyncio` and in `home`."""
    for name in wanted:
        primitive = load(f"{names.primitives}:{name}")
        setattr(asyncio, name, primitive)
        setattr(home, name, primitive)


def check_tasks_of_loops(task: type) -> None:
    """Refuse to go on with a loop that makes other tasks than it should."""

    async def main() -> type:
        return type(asyncio.current_task())

    loop = asyncio.new_event_loop()
    try:
        made = loop.run_until_complete(main())
    finally:
        loop.close()
    if made is not task:
        raise RuntimeError(f"the loop makes {made!r}, not {task!r}: check --task-class, --factory")


#: How each thing is put in place.
PLACES: dict[str, Callable[[Names], None]] = {
    "task": put_task,
    "factory": put_factory,
    "runner": put_runner,
    "eager": put_eager_factory,
    "taskgroup": put_task_group,
    "locks": lambda names: put_primitives(names, asyncio.locks, LOCKS),
    "queues": lambda names: put_primitives(names, asyncio.queues, QUEUES),
}


def put(place: str, names: Names) -> None:
    """Put everything in place that `place` lists: "taskgroup+factory" is two things."""
    for part in place.split("+"):
        PLACES[part](names)


def concerns(place: str, case: type, names: Names) -> bool:
    """Whether a test case says something about what was put in place.

    asyncio's pure Python task has test cases of its own, "PyTask_CFuture_Tests", "TestCallStackPy"
    and so on; with a "PyFuture" alone, a case may be about any task. Where the factory is in place,
    a test case that brings a class of tasks makes its own factory of it.
    """
    if "Py" in case.__name__.replace("PyFuture", ""):
        return False
    own_task = getattr(case, "Task", None)
    if own_task is None:
        return True
    return place in ("task", "eager") and issubclass(own_task, load(names.task))
