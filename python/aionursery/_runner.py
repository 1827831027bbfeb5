"""`run` and `Runner`: asyncio's own, with our tasks on the loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from ._aionursery import task_factory
from ._factory import eager_task_factory

T = TypeVar("T")


class Runner(asyncio.Runner):
    """`asyncio.Runner` whose loop makes our tasks.

    Everything else is asyncio's: SIGINT cancels the main task, leftover tasks are cancelled,
    async generators and the default executor are shut down. ``eager=True`` has every task take
    its first step at once.
    """

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        eager: bool = False,
    ) -> None:
        super().__init__(debug=debug, loop_factory=loop_factory)
        self._factory: Any = eager_task_factory if eager else task_factory
        self._prepared = False

    def __enter__(self) -> Runner:
        super().__enter__()
        self._prepare()
        return self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop, made at the first call."""
        return self._prepare()

    def run(self, coro: Coroutine[Any, Any, T], *, context: Context | None = None) -> T:
        """Run a coroutine on the loop and return its result."""
        self._prepare()
        try:
            return super().run(coro, context=context)
        except (TypeError, ValueError) as error:
            if callable(coro) and not inspect.isawaitable(coro):
                # asyncio has refused it, and nothing has run.
                name = getattr(coro, "__name__", "main")
                call = "call it" if name == "<lambda>" else f"call it: run({name}())"
                error.add_note(f"{name} is a function; {call}")
            raise

    def _prepare(self) -> asyncio.AbstractEventLoop:
        loop = super().get_loop()
        if not self._prepared:
            # Once: what the program sets afterwards stays.
            self._prepared = True
            loop.set_task_factory(self._factory)
        return loop


def run(
    main: Coroutine[Any, Any, T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    eager: bool = False,
) -> T:
    """Run a program as `asyncio.run` does, with our tasks on the loop.

    For uvloop: ``run(main(), loop_factory=uvloop.new_event_loop)``. Raises RuntimeError if a loop
    runs in this thread already.
    """
    if asyncio._get_running_loop() is not None:
        # The coroutine stays the caller's, as with asyncio: a notebook awaits it then.
        raise RuntimeError(
            "aionursery.run() cannot be called from a running event loop; await the coroutine, "
            "or start it in a nursery"
        )
    with Runner(debug=debug, loop_factory=loop_factory, eager=eager) as runner:
        return runner.run(main)
