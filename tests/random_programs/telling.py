"""Runs a program on trio or on us, and tells what each of its tasks saw, the same way for both.

It must not know what is right, nor which of the two it runs on. What is told, per task: when it
began and ended and how, when each await ended, how each block was left (which errors, cancelled or
not), what its scope says of itself, what was caught. The order of what two tasks did in one moment
is not told, and neither is the order of errors in a group.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from contextlib import AbstractAsyncContextManager
from typing import Any

from . import statements as p
from .faces import Boom, Face, Story
from .programs import LONG, SHORT

#: When a program that still runs is ended: its shields fall, its events are set, it is cancelled.
END = 1000 * LONG


class Task:
    """A task of a program."""

    def __init__(self, name: str, task_status: Any = None) -> None:
        self.name = name
        self.task_status = task_status
        #: The locks it holds.
        self.held: list[tuple[int, bool]] = []


class Telling:
    """One run of one program."""

    def __init__(self, face: Face, top: Any) -> None:
        self.face = face
        self.top = top
        self.story: Story = defaultdict(list)
        #: The scopes of the blocks that are entered.
        self.scopes: dict[Any, Any] = {}
        self.nurseries: dict[int, Any] = {}
        both = [(number, ours) for number in range(2) for ours in (False, True)]
        self.events = {key: face.event(ours=key[1]) for key in both}
        self.locks = {key: face.lock(ours=key[1]) for key in both}
        self.known = [Boom("known 0"), Boom("known 1")]
        self.over = False
        self.began = face.now()

    async def whole(self, program: tuple[p.Statement, ...]) -> Story:
        """Run the program in its top scope."""
        main = Task("main")
        left: BaseException | None = None
        try:
            with self.top:
                await self.all(main, program)
        except BaseException as error:
            left = error
        self.tell(main, "ends", self.face.shape(left), self.face.caught(self.top, left))
        return self.story

    def end(self) -> None:
        """What still runs, waits for what never comes."""
        self.over = True
        for scope in self.scopes.values():
            scope.shield = False
        for event in self.events.values():
            event.set()
        self.top.cancel()

    def told(self) -> Story:
        """The whole story, once the run is over."""
        reports = sorted(repr(self.face.shape(error)) for error in self.face.reports)
        return {**self.story, "reports": reports}

    def moment(self, time: float) -> float:
        try:
            return round((time - self.began) / SHORT)
        except OverflowError:
            return time

    def tell(self, task: Task, *what: Any) -> None:
        self.story[task.name].append((*what, self.moment(self.face.now())))

    async def all(self, task: Task, statements: tuple[p.Statement, ...]) -> None:
        for statement in statements:
            await self.one(task, statement)

    async def after(self, task: Task, seconds: float) -> None:
        if seconds:
            await self.face.sleep(seconds)

    async def one(self, task: Task, statement: p.Statement) -> None:
        match statement:
            case p.Sleep(seconds):
                await self.face.sleep(seconds)
                self.tell(task, "slept")
            case p.Checkpoint():
                await self.face.checkpoint()
                self.tell(task, "went on")
            case p.Raise(name, after):
                await self.after(task, after)
                raise Boom(name)
            case p.RaiseKnown(number):
                raise self.known[number]
            case p.RaiseBase("GeneratorExit"):
                raise GeneratorExit
            case p.RaiseBase("KeyboardInterrupt"):
                raise KeyboardInterrupt
            case p.RaiseBase("SystemExit"):
                raise SystemExit
            case p.Cancel(block, after):
                await self.after(task, after)
                if block in self.scopes:
                    self.scopes[block].cancel()
            case p.Move(block, seconds):
                if block in self.scopes and not self.over:
                    self.face.move(self.scopes[block], self.face.now() + seconds)
            case p.Wall(block, shield):
                if block in self.scopes and not self.over:
                    if shield:
                        self.tell(task, "shields", block)
                    self.scopes[block].shield = shield
            case p.Look(block):
                self.look(task, block)
            case p.WaitEvent(number, ours):
                event = self.events[number, ours]
                if not event.is_set():
                    await event.wait()
                    self.tell(task, "woke")
            case p.SetEvent(number, ours):
                self.events[number, ours].set()
            case p.Locked(number, ours, body):
                await self.locked(task, (number, ours), body)
            case p.Spawn(block, child):
                if block in self.nurseries:
                    self.start_soon(task, self.nurseries[block], child)
            case p.Start(block, child):
                if block in self.nurseries:
                    value = await self.face.start(self.nurseries[block], self.child, child)
                    self.tell(task, "started", child.name, value)
            case p.Started():
                if task.task_status is not None:
                    self.tell(task, "is ready")
                    task.task_status.started(task.name)
            case p.Scope() | p.Block():
                async with Entered(self, task, statement):
                    await self.all(task, statement.body)
            case p.Generated():
                await self.generated(task, statement)
            case p.Finally():
                await self.finally_(task, statement)
            case p.Catch(_, body):
                try:
                    await self.all(task, body)
                except Exception as error:
                    self.tell(task, "handles", self.face.shape(error))
            case p.CatchAll():
                await self.catch_all(task, statement)

    def look(self, task: Task, block: int) -> None:
        self.tell(task, "deadline", self.moment(self.face.effective_deadline()))
        if block in self.scopes:
            scope = self.scopes[block]
            called = scope.cancel_called
            self.tell(task, "sees", called, self.moment(scope.deadline), scope.shield)

    async def locked(
        self, task: Task, key: tuple[int, bool], body: tuple[p.Statement, ...]
    ) -> None:
        if key in task.held:
            return
        await self.face.acquire(self.locks[key])
        self.tell(task, "holds", key)
        task.held.append(key)
        try:
            await self.all(task, body)
        finally:
            task.held.remove(key)
            self.locks[key].release()

    def start_soon(self, task: Task, nursery: Any, child: p.Child) -> None:
        try:
            self.face.start_soon(nursery, self.child, child)
        except RuntimeError as error:
            self.tell(task, "refused", self.face.shape(error))

    async def child(self, child: p.Child, *, task_status: Any = None) -> None:
        task = Task(child.name, task_status)
        self.tell(task, "begins")
        try:
            await self.all(task, child.body)
        except BaseException as error:
            self.tell(task, "ends", self.face.shape(error))
            raise
        self.tell(task, "ends", "returned")

    async def finally_(self, task: Task, statement: p.Finally) -> None:
        try:
            await self.all(task, statement.body)
        finally:
            if statement.shielded:
                async with self.shielded(task):
                    await self.all(task, statement.cleanup)
            else:
                await self.all(task, statement.cleanup)

    def shielded(self, task: Task) -> Entered:
        return Entered(self, task, p.Scope("", "shield", float("inf"), True, 0.0, ()))

    async def catch_all(self, task: Task, statement: p.CatchAll) -> None:
        try:
            await self.all(task, statement.body)
        except BaseException as error:
            self.tell(task, "catches", self.face.shape(error))
            boom = Boom(statement.name)
            match statement.then:
                case "again":
                    raise
                case "replace":
                    raise boom from error
                case "alone":
                    raise BaseExceptionGroup("", [error]) from None
                case "beside":
                    raise BaseExceptionGroup("", [error, boom]) from None
                case "deep":
                    inner = BaseExceptionGroup("", [BaseExceptionGroup("", [error])])
                    raise BaseExceptionGroup("", [boom, inner]) from None

    async def generated(self, task: Task, statement: p.Generated) -> None:
        async def generator() -> Any:
            async with Entered(self, task, statement.block):
                for step in statement.steps:
                    await self.all(task, step.body)
                    yield

        async with contextlib.aclosing(generator()) as steps:
            for _ in range(statement.taken):
                try:
                    await anext(steps)
                except StopAsyncIteration:
                    break
                async with self.shielded(task):
                    await self.all(task, statement.between)


class Entered(AbstractAsyncContextManager[Any]):
    """A block of a program, entered by one of its tasks."""

    def __init__(self, telling: Telling, task: Task, statement: p.Scope | p.Block) -> None:
        self.telling = telling
        self.task = task
        self.statement = statement
        #: What is in the way of the program's own end must be found, and has no number.
        self.key: Any = int(statement.name) if statement.name else object()

    async def __aenter__(self) -> None:
        telling = self.telling
        statement = self.statement
        if isinstance(statement, p.Scope):
            self.manager: Any = telling.face.scope(statement)
            self.scope = self.manager.__enter__()
        else:
            self.manager = telling.face.nursery(statement)
            nursery = await self.manager.__aenter__()
            self.scope = nursery.cancel_scope
            telling.nurseries[self.key] = nursery
            for child in statement.children:
                telling.start_soon(self.task, nursery, child)
        if telling.over:
            self.scope.shield = False
        telling.scopes[self.key] = self.scope

    async def __aexit__(self, kind: Any, raised: BaseException | None, traceback: Any) -> bool:
        left: BaseException | None = None
        try:
            if isinstance(self.statement, p.Scope):
                caught = self.manager.__exit__(kind, raised, traceback)
            else:
                caught = await self.manager.__aexit__(kind, raised, traceback)
            if not caught:
                left = raised
            return caught
        except BaseException as error:
            left = error
            raise
        finally:
            telling = self.telling
            telling.scopes.pop(self.key, None)
            telling.nurseries.pop(self.key, None)
            shape = telling.face.shape(left)
            caught = telling.face.caught(self.scope, left)
            called = self.scope.cancel_called
            telling.tell(self.task, "left", self.statement.name, shape, called, caught)
