"""Runs a program of trio's words on trio and on us, and tells what each task saw.

It must not know what is right: it says what happened, the same way for both.

What is told, per task: when each sleep ended, how each block was left (which errors, cancelled or
not), whether its scope caught its cancellation, what was handled. The order of events of two tasks
at one moment is not told, and neither is the order of errors that one moment brought.

What the rules decide otherwise than trio, and how programs keep off it:

- Each child begins with a sleep of its own, so that no two things happen at one moment.
- R8: an error beside a cancellation leaves our block as a `MultiError` and the cancellation comes
  at the next await, where trio carries both in one group. Here handling an error ends with a
  checkpoint, and on trio what was not an error goes on.
- R16: that a child was cancelled is no error and cancels nobody, so a host that was shielded while
  a scope around its block was cancelled leaves the block normally and is cancelled at its next
  await; on trio the child's cancellation leaves the block. Here a checkpoint follows each nursery.
  And where an error leaves a scope, its `cancelled_caught` is not told: trio's is true, too, if
  only children of blocks inside were cancelled.
- R21: a `fail_after` block that somebody cancels has not timed out, so it is left quietly; trio
  says that it was too slow. Here nobody cancels one by hand.
- trio's budget for cleaning up is none: on us the whole program stands in a scope with `cleanup=0`
  that nobody cancels (R18).
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import trio
import trio.testing

import aionursery

from .clock import BoundedLoop
from .programs import (
    SHORT,
    Block,
    Cancel,
    Catch,
    Checkpoint,
    Child,
    Finally,
    Raise,
    Scope,
    Sleep,
    Spawn,
    Statement,
)


class Boom(Exception):
    """An error of a program's."""


class Face:
    """What trio and we call differently."""

    def __init__(self, library: Any, cancelled: type[BaseException], timeout: type) -> None:
        self.library = library
        self.cancelled = cancelled
        self.timeout = timeout

    def now(self) -> float:
        if self.library is trio:
            return trio.current_time()
        return asyncio.get_running_loop().time()

    def nursery(self, block: Block) -> Any:
        if self.library is trio:
            return trio.open_nursery()
        return aionursery.Nursery(deadline=self.now() + block.seconds, shield=block.shield)

    def scope(self, scope: Scope) -> Any:
        library = self.library
        if scope.kind == "shield" or scope.kind == "scope":
            return library.CancelScope(deadline=self.now() + scope.seconds, shield=scope.shield)
        make = library.move_on_after if scope.kind == "move_on" else library.fail_after
        seconds = max(scope.seconds, 0)
        return make(None if seconds == math.inf and library is aionursery else seconds)

    def shield(self) -> Any:
        return self.library.CancelScope(shield=True)

    def shape(self, error: BaseException | None) -> Any:
        """Which errors, in which groups; no cancellations."""
        if error is None:
            return "returned"
        found = self._shape(error)
        return "cancelled" if found is None else found

    def _shape(self, error: BaseException) -> Any:
        if isinstance(error, self.cancelled):
            return None
        if isinstance(error, BaseExceptionGroup):
            inner = [self._shape(part) for part in error.exceptions]
            inner = sorted((part for part in inner if part is not None), key=repr)
            return inner or None
        if isinstance(error, self.timeout):
            return "timeout"
        if isinstance(error, Boom):
            return f"boom {error}"
        return repr(error)


class Telling:
    """One run of one program."""

    def __init__(self, face: Face) -> None:
        self.face = face
        self.story: dict[str, list[Any]] = defaultdict(list)
        self.blocks: dict[int, Any] = {}
        self.nurseries: dict[int, Any] = {}
        self.began = face.now()

    def tell(self, task: str, *what: Any) -> None:
        self.story[task].append((*what, round((self.face.now() - self.began) / SHORT)))

    def tell_left(self, task: str, key: int, left: BaseException | None, scope: Any) -> None:
        shape = self.face.shape(left)
        caught = shape in ("returned", "cancelled") and scope.cancelled_caught
        self.tell(task, "left", key, shape, caught)

    async def checkpoint(self) -> None:
        library = self.face.library
        await (trio.lowlevel if library is trio else library).checkpoint()

    async def all(self, task: str, statements: tuple[Statement, ...]) -> None:
        for statement in statements:
            await self.one(task, statement)

    async def one(self, task: str, statement: Statement) -> None:
        library = self.face.library
        match statement:
            case Sleep(seconds):
                await library.sleep(seconds)
                self.tell(task, "slept")
            case Checkpoint():
                await self.checkpoint()
            case Raise(name, after):
                await library.sleep(after)
                self.tell(task, "raises", name)
                raise Boom(name)
            case Cancel(block, after):
                await library.sleep(after)
                if block in self.blocks:
                    self.tell(task, "cancels", block)
                    self.blocks[block].cancel()
            case Scope():
                await self.scope(task, statement)
            case Block():
                await self.block(task, statement)
            case Spawn(block, child):
                if block in self.nurseries:
                    self.start(self.nurseries[block], child)
            case Finally(body, shielded, cleanup):
                try:
                    await self.all(task, body)
                finally:
                    if shielded:
                        with self.face.shield():
                            await self.all(task, cleanup)
                    else:
                        await self.all(task, cleanup)
            case Catch(_, body):
                await self.catch(task, body)

    async def catch(self, task: str, body: tuple[Statement, ...]) -> None:
        try:
            await self.all(task, body)
        except (Exception, BaseExceptionGroup) as error:
            shape = self.face.shape(error)
            if shape == "cancelled":
                raise
            self.tell(task, "handles", shape)
            if isinstance(error, BaseExceptionGroup):
                cancellations, _ = error.split(self.face.cancelled)
                if cancellations is not None:
                    raise cancellations from None
            await self.checkpoint()

    async def scope(self, task: str, statement: Scope) -> None:
        key = int(statement.name)
        left: BaseException | None = None
        scope: Any = None
        try:
            with self.face.scope(statement) as scope:
                scope.shield = statement.shield
                if statement.kind != "fail":
                    self.blocks[key] = scope
                try:
                    await self.all(task, statement.body)
                finally:
                    self.blocks.pop(key, None)
        except BaseException as error:
            left = error
            raise
        finally:
            self.tell_left(task, key, left, scope)

    async def block(self, task: str, statement: Block) -> None:
        key = int(statement.name)
        left: BaseException | None = None
        nursery: Any = None
        try:
            async with self.face.nursery(statement) as nursery:
                if self.face.library is trio:
                    nursery.cancel_scope.deadline = self.face.now() + statement.seconds
                    nursery.cancel_scope.shield = statement.shield
                self.blocks[key] = nursery.cancel_scope
                self.nurseries[key] = nursery
                for child in statement.children:
                    self.start(nursery, child)
                try:
                    await self.all(task, statement.body)
                finally:
                    del self.nurseries[key]
            await self.checkpoint()
        except BaseException as error:
            left = error
            raise
        finally:
            self.blocks.pop(key, None)
            self.tell_left(task, key, left, nursery.cancel_scope)

    def start(self, nursery: Any, child: Child) -> None:
        nursery.start_soon(self.child, child)

    async def child(self, child: Child) -> None:
        await self.face.library.sleep(child.after)
        try:
            await self.all(child.name, child.body)
        except BaseException as error:
            self.tell(child.name, "ends", self.face.shape(error))
            raise
        self.tell(child.name, "ends", "returned")


Story = dict[str, list[Any]]


async def _tell(face: Face, program: tuple[Statement, ...]) -> Story:
    telling = Telling(face)
    left: BaseException | None = None
    try:
        await telling.all("main", program)
    except (Exception, BaseExceptionGroup) as error:
        left = error
    telling.tell("main", "ends", face.shape(left))
    return dict(telling.story)


def on_trio(program: tuple[Statement, ...]) -> Story:
    async def main() -> Story:
        return await _tell(Face(trio, trio.Cancelled, trio.TooSlowError), program)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def on_us(program: tuple[Statement, ...], *, ours: bool) -> Story:
    async def main() -> Story:
        aionursery.warn_stuck_after(math.inf)
        with aionursery.CancelScope(cleanup=0):
            return await _tell(Face(aionursery, asyncio.CancelledError, TimeoutError), program)

    with asyncio.Runner(loop_factory=BoundedLoop) as runner:
        if ours:
            runner.get_loop().set_task_factory(aionursery.task_factory)
        return runner.run(main())


def differs(program: tuple[Statement, ...], run: Callable[[], Story], tries: int = 12) -> str:
    """Say how a run differs from every one that trio makes of the program, or nothing.

    trio takes the tasks of one moment in random order; where that decides what happens, ours is
    right if trio has it, too. So trio is asked again only after a difference.
    """
    mine = run()
    theirs: Story = {}
    for _ in range(tries):
        theirs = on_trio(program)
        if mine == theirs:
            return ""
    lines = []
    for task in sorted({*mine, *theirs}):
        if mine.get(task) != theirs.get(task):
            lines += [f"task {task}", f"  we:   {mine.get(task)}", f"  trio: {theirs.get(task)}"]
    return "\n".join(lines)
