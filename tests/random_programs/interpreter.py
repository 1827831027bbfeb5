"""Runs a program on us and writes down what happens. It judges nothing.

Every await of a program that waits for another task stands in a `move_on_after`, so that each
program ends: what still hangs is a defect, and the loop ends it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

import aionursery
from aionursery._aionursery import loop_state

from . import statements as p
from .clock import BoundedLoop
from .record import (
    Asked,
    Awaited,
    Ended,
    Entered,
    Handled,
    How,
    Left,
    Place,
    Raised,
    Received,
    Run,
    Swallowed,
    leaves,
)

#: How long a program waits for another part of it.
PATIENCE = 50

Body = Callable[["Me"], Awaitable[None]]


class Boom(Exception):
    """An error of a program's."""


def how_of(error: BaseException | None) -> How:
    if error is None:
        return "passed"
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"


class Me:
    """A task of the program, as it goes from place to place."""

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self.place = place
        self.task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]

    def count(self) -> int:
        return self.task.cancelling()


class Recorder:
    """Does what programs are made of, and writes it down."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.born: set[int] = set()
        self.tasks: dict[str, asyncio.Task[Any]] = {}

    def raises(self, me: Me, error: BaseException) -> None:
        if id(error) not in self.born:
            self.born.add(id(error))
            self.run.add(Raised(me.name, me.count(), error))

    def handles(self, me: Me, error: BaseException) -> None:
        for leaf in leaves(error):
            self.run.add(Handled(me.name, me.count(), leaf))

    async def wait(
        self, me: Me, awaitable: Awaitable[Any], *, of: asyncio.Future[Any] | None = None
    ) -> None:
        """An await that suspends; of whose result, if of another's."""
        before = me.place.reached_by()
        error: BaseException | None = None
        try:
            await awaitable
        except BaseException as caught:
            error = caught
            raise
        finally:
            if of is not None and how_of(error) == "failed":
                for leaf in leaves(error):
                    self.run.add(Received(me.name, me.count(), leaf))
            self.run.add(
                Awaited(
                    me.name,
                    me.count(),
                    how_of(error),
                    before,
                    me.place.reached_by(),
                    me.place.asked_by(),
                    me.place.shielded(),
                    of is not None and of.done() and of.cancelled(),
                )
            )

    async def within(
        self,
        me: Me,
        place: Place,
        kind: str,
        manager: AbstractContextManager[Any] | AbstractAsyncContextManager[Any],
        body: Body,
        alive: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        """Enter a block, do what is in it, leave it."""
        self.run.add(Entered(me.name, me.count(), place.name))
        outside = me.place
        came: BaseException | None = None
        left: BaseException | None = None

        async def inside() -> None:
            nonlocal came
            me.place = place
            try:
                await body(me)
            except BaseException as error:
                came = error
                raise

        try:
            if isinstance(manager, AbstractAsyncContextManager):
                async with manager:
                    await inside()
            else:
                with manager:
                    await inside()
        except BaseException as error:
            left = error
            if isinstance(error, TimeoutError):
                self.raises(me, error)
            raise
        finally:
            me.place = outside
            scope = getattr(manager, "cancel_scope", manager)
            self.run.add(
                Left(
                    me.name,
                    me.count(),
                    place.name,
                    kind,
                    how_of(came),
                    how_of(left),
                    outside.reached_by(),
                    outside.asked_by(),
                    alive(),
                    place.called(),
                    bool(getattr(scope, "cancelled_caught", False)),
                    left if how_of(left) == "failed" else None,
                )
            )

    async def child(self, name: str, place: Place, body: Body) -> None:
        """What a task of the program runs."""
        me = Me(name, place)
        self.tasks[name] = me.task
        if isinstance(me.task, aionursery.Task):
            self.run.ours.add(name)
        error: BaseException | None = None
        try:
            await body(me)
        except BaseException as caught:
            error = caught
            raise
        finally:
            self.run.add(Ended(name, me.count(), how_of(error)))

    def ask(self, name: str) -> None:
        """`Task.cancel()`."""
        task = self.tasks[name]
        if task.cancel():
            self.run.add(Asked(name, task.cancelling()))


class Interpreter(Recorder):
    """Runs programs."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.numbers = itertools.count()
        self.blocks: dict[int, Any] = {}
        #: Tasks that `wait_for` has made, before 3.12, and leaves behind if it is asked twice.
        self.apart: list[Any] = []
        self.nurseries: dict[int, tuple[Any, Place, list[tuple[str, asyncio.Task[Any]]]]] = {}
        self.events: dict[tuple[int, bool], Any] = {
            (number, ours): aionursery.Event() if ours else asyncio.Event()
            for number in range(2)
            for ours in (False, True)
        }

    async def all(self, me: Me, statements: tuple[p.Statement, ...]) -> None:
        for statement in statements:
            await self.one(me, statement)

    async def one(self, me: Me, statement: p.Statement) -> None:
        match statement:
            case p.Sleep(seconds):
                await self.wait(me, aionursery.sleep(seconds))
            case p.Checkpoint():
                await self.wait(me, aionursery.checkpoint())
            case p.Raise(name, after):
                await self.after(me, after)
                error = Boom(name)
                self.raises(me, error)
                raise error
            case p.Cancel(block, after):
                await self.after(me, after)
                if block in self.blocks:
                    self.blocks[block].cancel(f"statement of {me.name}")
            case p.CancelTask(child, after, wait):
                await self.after(me, after)
                await self.cancel_task(me, str(child), wait=wait)
            case p.Result(child):
                task = self.tasks.get(str(child))
                if task is not None and task is not me.task:
                    await self.patiently(me, lambda: result_of(task), of=task)
            case p.WaitEvent(number, ours):
                event = self.events[number, ours]
                if not event.is_set():
                    await self.patiently(me, event.wait)
            case p.SetEvent(number, ours):
                self.events[number, ours].set()
            case p.Spawn(block, child):
                if block in self.nurseries:
                    self.start(me, block, child)
            case p.Scope():
                await self.scope(me, statement)
            case p.Block():
                await self.block(me, statement)
            case p.Timeout():
                await self.timeout(me, statement)
            case p.Finally():
                await self.finally_(me, statement)
            case p.Catch(cancellations, body):
                await self.catch(me, body, cancellations=cancellations)

    def unique(self, name: str) -> str:
        """One task may stand in two blocks that it makes for itself."""
        return f"{name}, {next(self.numbers)}"

    async def after(self, me: Me, seconds: float) -> None:
        if seconds:
            await self.wait(me, aionursery.sleep(seconds))

    async def patiently(
        self,
        me: Me,
        make: Callable[[], Awaitable[Any]],
        *,
        of: asyncio.Future[Any] | None = None,
    ) -> None:
        scope = aionursery.move_on_after(PATIENCE)
        place = Place(self.unique(f"patience of {me.name}"), me.place, lambda: scope.cancel_called)

        async def body(me: Me) -> None:
            await self.wait(me, make(), of=of)

        await self.within(me, place, "scope", scope, body)

    async def cancel_task(self, me: Me, name: str, *, wait: bool) -> None:
        task = self.tasks.get(name)
        if task is None or task.done():
            return
        self.ask(name)
        if wait and task is not me.task and isinstance(task, aionursery.Task):
            await self.patiently(me, lambda: asyncio.wait([task]))

    async def scope(self, me: Me, s: p.Scope) -> None:
        aio = aionursery
        seconds = None if s.seconds == math.inf else max(s.seconds, 0)
        scope: aionursery.CancelScope
        match s.kind:
            case "move_on":
                scope = aio.move_on_after(seconds, shield=s.shield, cleanup=s.cleanup)
            case "fail":
                scope = aio.fail_after(seconds, shield=s.shield, cleanup=s.cleanup)
            case "shield":
                scope = aio.shield(deadline=now() + s.seconds, cleanup=s.cleanup)
            case "scope":
                scope = aio.CancelScope(
                    deadline=now() + s.seconds, shield=s.shield, cleanup=s.cleanup
                )
        place = Place(s.name, me.place, lambda: scope.cancel_called, s.shield)

        async def body(me: Me) -> None:
            self.blocks[int(s.name)] = scope
            try:
                await self.all(me, s.body)
            finally:
                del self.blocks[int(s.name)]

        await self.within(me, place, "fail" if s.kind == "fail" else "scope", scope, body)

    async def block(self, me: Me, b: p.Block) -> None:
        key = int(b.name)
        block: Any
        if b.kind == "asyncio.TaskGroup":
            block = asyncio.TaskGroup()
            # It cancels its host with `Task.cancel()`, and its children one by one.
            place = Place(b.name, me.place, lambda: block._parent_cancel_requested, alone=True)
            below = Place(b.name, None, lambda: block._aborting, alone=True)
        else:
            if b.kind == "TaskGroup":
                block = aionursery.TaskGroup()
            else:
                block = aionursery.Nursery(
                    on_error="collect" if b.kind == "collect" else "cancel",
                    deadline=now() + b.seconds,
                    shield=b.shield,
                    cleanup=b.cleanup,
                )
            place = Place(b.name, me.place, lambda: block.cancel_scope.cancel_called, b.shield)
            below = place
            self.blocks[key] = block.cancel_scope
        children: list[tuple[str, asyncio.Task[Any]]] = []

        async def body(me: Me) -> None:
            self.nurseries[key] = (block, below, children)
            for child in b.children:
                self.start(me, key, child)
            await self.all(me, b.body)

        def alive() -> tuple[str, ...]:
            self.nurseries.pop(key, None)
            self.blocks.pop(key, None)
            return tuple(name for name, task in children if not task.done())

        await self.within(me, place, b.kind, block, body, alive)

    def start(self, me: Me, key: int, child: p.Child) -> None:
        block, place, children = self.nurseries[key]
        how = child.how

        async def body(me: Me) -> None:
            await self.all(me, child.body)

        if how == "asyncio.shield" and isinstance(block, aionursery.Nursery):
            # A task beside the tree, which `asyncio.shield` has made.
            place = Place(child.name, None, never, edge=True)
        else:
            shield = how == "shield" and isinstance(block, aionursery.Nursery)
            place = Place(child.name, place, never, shield=shield, edge=True)
        coro = self.child(child.name, place, body)
        try:
            if not isinstance(block, aionursery.Nursery):
                task = block.create_task(coro)
            elif how == "now":
                task = block.start_now(coro)
            elif how == "asyncio.shield":
                task = block.start_soon(asyncio.shield(coro))
            else:
                task = block.start_soon(coro, shield=how == "shield")
        except RuntimeError:
            # The block closes, or shuts down.
            coro.close()
            return
        children.append((child.name, task))

    async def timeout(self, me: Me, t: p.Timeout) -> None:
        due = now() + t.seconds
        if t.kind == "timeout":
            manager: Any = asyncio.timeout(t.seconds)
            place = Place(t.name, me.place, manager.expired, alone=True)

            async def body(me: Me) -> None:
                await self.all(me, t.body)

            await self.within(me, place, "timeout", manager, body)
            return
        # Whether it runs its argument in a task of its own depends on the version.
        inline = Place(t.name, me.place, lambda: now() >= due, alone=True)

        failed: list[BaseException] = []
        left: list[BaseException] = []

        async def apart_body(apart: Me) -> None:
            try:
                await self.all(apart, t.body)
            except Exception as error:
                failed.append(error)
                if left:
                    self.handles(apart, error)
                raise

        async def outer(me: Me) -> None:
            async def inner() -> None:
                if asyncio.current_task() is me.task:
                    await self.all(me, t.body)
                    return
                apart = Place(t.name, None, lambda: True, alone=True)
                self.apart.append(asyncio.current_task())
                await self.child(f"{me.name} in {t.name}", apart, apart_body)

            try:
                await asyncio.wait_for(inner(), t.seconds)
            except BaseException as error:
                left.append(error)
                # What it has not passed on is asyncio's loss, not ours.
                for lost in failed:
                    if lost is not error:
                        self.handles(me, lost)
                raise

        await self.within(me, inline, "wait_for", _Nothing(), outer)

    async def finally_(self, me: Me, f: p.Finally) -> None:
        name = self.unique(f"cleanup of {me.name}")
        shield = p.Scope(name, "shield", math.inf, True, None, f.cleanup)
        try:
            await self.all(me, f.body)
        except BaseException as error:
            try:
                await self.cleanup(me, f, shield)
            except BaseException:
                self.handles(me, error)
                raise
            raise
        await self.cleanup(me, f, shield)

    async def cleanup(self, me: Me, f: p.Finally, shield: p.Scope) -> None:
        if not f.shielded:
            await self.all(me, f.cleanup)
            return
        scope = aionursery.shield()
        place = Place(shield.name, me.place, lambda: scope.cancel_called, shield=True)
        await self.within(me, place, "scope", scope, lambda me: self.all(me, f.cleanup))

    async def catch(self, me: Me, body: tuple[p.Statement, ...], *, cancellations: bool) -> None:
        try:
            await self.all(me, body)
        except asyncio.CancelledError:
            if not cancellations:
                raise
            self.run.add(Swallowed(me.name, me.count()))
        except Exception as error:
            if cancellations:
                raise
            self.handles(me, error)


class _Nothing:
    """A block that does nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


async def result_of(task: asyncio.Task[Any]) -> None:
    """Its result; to await it plainly would hand our cancellation on to it, as asyncio does."""
    await asyncio.wait([task])
    task.result()


def never() -> bool:
    return False


def now() -> float:
    return asyncio.get_running_loop().time()


def run_on_us(program: tuple[p.Statement, ...], *, ours: bool) -> Run:
    """Run a program in a task of ours or of asyncio's, and write down how it went."""
    run = Run()

    async def main() -> None:
        aionursery.warn_stuck_after(math.inf)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: run.reports.append(context))
        interpreter = Interpreter(run)
        top = Place("top", None, never)
        main = interpreter.child("0", top, lambda me: interpreter.all(me, program))
        # A task of its own, so that the program may cancel it.
        task = loop.create_task(main)
        await asyncio.wait([task])
        run.outcome = asyncio.CancelledError() if task.cancelled() else task.exception()
        if interpreter.apart:
            await asyncio.wait(interpreter.apart)
        for _ in range(3):
            await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        run.tasks_after = [task.get_name() for task in others]
        if ours:
            return
        run.size_after = loop_state(loop).size()

    with asyncio.Runner(loop_factory=BoundedLoop) as runner:
        if ours:
            runner.get_loop().set_task_factory(aionursery.task_factory)
        runner.run(main())
        if ours:
            run.size_after = loop_state(runner.get_loop()).size()
    return run
