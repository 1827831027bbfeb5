"""Runs each `async def test_...` on both loops, as a task of asyncio's and as one of ours."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

import aionursery

from .loop_kinds import LOOPS

#: After this many seconds a test hangs.
PATIENCE = 20

WORLDS: dict[str, tuple[Callable[[], asyncio.AbstractEventLoop], bool]] = {
    name + suffix: (kind, ours)
    for name, kind in LOOPS.items()
    for suffix, ours in [("", False), ("-ours", True)]
}


class World:
    """A loop, and whether its tasks are ours."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.new_loop, self.ours = WORLDS[name]
        self.reports: list[dict[str, Any]] = []

    def run(self, main: Coroutine[Any, Any, Any], *, debug: bool = False) -> Any:
        """Run a coroutine as `asyncio.run` does; what reaches the exception handler is kept."""

        async def bounded() -> Any:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: self.reports.append(context))
            if self.ours:
                loop.set_task_factory(aionursery.task_factory)
                return await loop.create_task(main)
            return await main

        with asyncio.Runner(loop_factory=self.new_loop, debug=debug) as runner:
            loop = runner.get_loop()
            # A test that hangs is stopped from outside: inside, it could swallow it.
            handle = loop.call_later(PATIENCE, loop.stop)
            try:
                return runner.run(bounded())
            except RuntimeError as exc:
                if "stopped before Future completed" in str(exc):
                    pytest.fail(f"the test has not ended within {PATIENCE} seconds")
                raise
            finally:
                handle.cancel()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        metafunc.parametrize("world", WORLDS, indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(request.param)
    yield world
    gc.collect()
    if world.reports and not request.node.get_closest_marker("reports"):
        pytest.fail(f"reported to the loop's exception handler: {world.reports}")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "reports: the test means to reach the exception handler")
    # A program that a shell starts in the background inherits that Ctrl-C is ignored, and hands
    # that on to the programs that these tests start and stop with Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        function = getattr(item, "function", None)
        if inspect.iscoroutinefunction(function) and "world" not in item.fixturenames:
            raise pytest.UsageError(f"{item.nodeid}: an async test needs the fixture 'world'")


def pytest_collection_finish() -> None:
    # Each test ends with a collection, which would look at all that has been imported. That took
    # more than half of the tests' time. What is frozen lives on, and is of no test's making.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    # What is imported from now on may ask the collector what refers to what.
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    pyfuncitem.funcargs["world"].run(pyfuncitem.obj(**arguments))
    return True
