"""The state of one running program: what exists, what was seen, how much may still be done.

Everything that a step makes is kept in a pool, from which later steps choose. The budget bounds how
many steps run in all, so that no program goes on for ever by what it draws. Nothing here knows what
a step does.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter, deque
from typing import Any

from .program import Program, Step

#: So many steps run in one program, and so many hooks stand inside each other.
BUDGET = 500
DEEPEST = 3
#: Each such look takes as long as a hundred steps.
LOOKS = 20
#: A pool that is full lets its oldest go, which is a destructor at an odd moment.
KEPT = 24


class Interrupt(KeyboardInterrupt):
    """A Ctrl-C that the program has sent: it must come out somewhere."""


class Out(Exception):
    """Carries an error through the net that catches what a step raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


#: asyncio's own callbacks that take a task's step, or end the future that it waits for.
TAKES_A_STEP = tuple(
    f"Exception in callback {name}"
    for name in (
        "<TaskStepMethWrapper",
        "<_asyncio.TaskStepMethWrapper",
        "Task.task_wakeup",
        "_chain_future",
        "_release_waiter",
        "_set_result_unless_cancelled",
    )
)


class World:
    """What one program has, knows and may do."""

    #: The one that runs in this process; objects that bite find it here.
    current: World | None = None

    def __init__(self, program: Program, api: Any) -> None:
        self.program = program
        self.api = api
        self.loop: Any = None
        self.pools: dict[str, deque[Any]] = {}
        self.things: dict[Any, Any] = {}
        self.findings: list[tuple[str, str]] = []
        self.errors: Counter[str] = Counter()
        self.tasks: list[weakref.ref[Any]] = []
        self.born: list[weakref.ref[Any]] = []
        self.sent: list[weakref.ref[Any]] = []
        self.interrupts = 0
        self.interrupts_seen: set[int] = set()
        # Steps of asyncio's own tasks were taken out of the loop.
        self.lost_steps = False
        # An allocation is about to fail.
        self.starves = False
        self.loops: list[weakref.ref[Any]] = []
        self.steps: dict[str, Any] = {}
        self.numbers = 0
        self.order: dict[int, tuple[weakref.ref[Any], int]] = {}
        self.made: dict[int, int] = {}
        self.budget = BUDGET
        #: How often it is still looked at what the collector is shown.
        self.looks = LOOKS
        self.depth = 0
        self.ending = False
        self.gone = False
        self.done: Counter[str] = Counter()
        self.undo: list[Any] = []
        #: What is done once the loop has stopped.
        self.pause: Any = None

    # What exists.

    def keep(self, pool: str, item: Any) -> Any:
        """Put something into a pool; its oldest may go. Once it is over, nothing is kept."""
        if self.gone:
            return item
        items = self.pools.setdefault(pool, deque())
        items.append(item)
        if len(items) > KEPT:
            gone = items.popleft()
            del gone
        return item

    def pick(self, pool: str, number: int) -> Any:
        """Choose from a pool; `None` where it is empty."""
        items = self.pools.get(pool)
        # Newer ones are the likelier, the more of them are small numbers.
        return items[-1 - number % len(items)] if items else None

    def may_leave(self, nursery: Any, me: Any) -> bool:
        """Whether a task may leave a nursery, or drive what holds it.

        Who is younger than the nursery may be a child of it, which would wait for itself.
        """
        mine = self._age(me)
        return mine is not None and mine < self.made.get(id(nursery), 0)

    def shared(self, key: Any, make: Any) -> Any:
        """Return what all tasks share by this key, made at its first use."""
        if key not in self.things:
            self.things[key] = make()
        return self.things[key]

    def number(self) -> int:
        """The next number in the order in which tasks and nurseries are made."""
        self.numbers += 1
        return self.numbers

    def keep_task(self, task: Any, number: int | None = None) -> Any:
        """Keep a task, and know of it when the pool has let it go.

        A task that ran at once is kept later than the children that it has made: its `number` is of
        the time before it was made.
        """
        if task is not None:
            known = weakref.ref(task)
            self.order[id(task)] = (known, self.number() if number is None else number)
            self.tasks.append(known)
            self.keep("tasks", task)
        return task

    def pick_task(self, number: int, waiter: Any = None) -> Any:
        """Choose a task that can be waited for without waiting in a circle.

        A task waits only for younger ones, as a host does for its children; and a new child, which
        is the youngest, only for what waits for no other.
        """
        task = self.pick("tasks", number)
        if task is None or task.done() or task.get_coro().__class__.__name__ != "coroutine":
            return task
        if waiter is None:
            return None if task.get_coro().__name__ in ("actor", "wrap_awaitable") else task
        mine, other = self._age(waiter), self._age(task)
        return task if mine is not None and other is not None and mine < other else None

    def _age(self, task: Any) -> int | None:
        """The number of a task, if it is kept."""
        # Another may have lain at its address.
        known, number = self.order.get(id(task), (None, 0))
        return number if known is not None and known() is task else None

    # What is done.

    def over(self) -> bool:
        """Whether no more is to be done."""
        return self.ending or self.budget <= 0

    def spend(self) -> bool:
        """Take one step out of the budget; whether there was one."""
        if self.over():
            return False
        self.budget -= 1
        return True

    def do(self, step: Step) -> None:
        """Run a step that does not wait. What it raises is noted, and ends here, but for a few."""
        name, a, b = step
        if not self.spend():
            return
        self.done[name] += 1
        try:
            self.steps[name](self, a, b)
        except Out as out:
            raise out.error from None
        except BaseException as exc:
            self.see(exc, name)
            if isinstance(exc, (KeyboardInterrupt, SystemExit, GeneratorExit)):
                raise

    def hook(self, number: int) -> None:
        """Run a hook: what an object that bites does when it is touched."""
        if self.over() or self.depth >= DEEPEST or not self.program.hooks:
            return
        self.depth += 1
        try:
            for step in self.program.hooks[number % len(self.program.hooks)]:
                self.do(step)
        finally:
            self.depth -= 1

    # What is seen.

    def find(self, kind: str, detail: str) -> None:
        """Note a defect."""
        if len(self.findings) < 20:
            self.findings.append((kind, detail[:600]))

    def send(self) -> Interrupt:
        """Make an interrupt, to be raised at once."""
        self.interrupts += 1
        return Interrupt(self.interrupts)

    def see(self, exc: BaseException | None, where: str, *, out: bool = False) -> None:
        """Look at an error, and at what hangs on it, for what must never be.

        `out` is said where an interrupt may end: where it leaves the loop, or is reported.
        """
        found: list[BaseException] = [exc] if exc is not None else []
        looked: set[int] = set()
        while found:
            exc = found.pop()
            if id(exc) in looked:
                continue
            looked.add(id(exc))
            kind = type(exc).__name__
            self.errors[kind] += 1
            if isinstance(exc, SystemError) and not self._lost_by_cpython(str(exc)):
                self.find("system error", f"{where}: {exc}")
            elif kind == "PanicException":
                self.find("panic", f"{where}: {exc}")
            elif kind == "RecursionError":
                # A future of asyncio's that cannot call_soon() has forgotten its callbacks by then.
                self.lost_steps = True
            elif kind == "RuntimeError" and str(exc).startswith("Non-thread-safe operation"):
                # A loop in debug mode refuses a call from another thread, and asyncio's future has
                # forgotten its callbacks by then.
                self.lost_steps = True
            if out and isinstance(exc, Interrupt):
                # The collector has emptied one that goes together with what held it.
                self.interrupts_seen.add(exc.args[0] if exc.args else 0)
            if isinstance(exc, BaseExceptionGroup):
                found += BaseExceptionGroup.exceptions.__get__(exc)
            found += [e for e in (exc.__cause__, exc.__context__) if e is not None]

    def _lost_by_cpython(self, text: str) -> bool:
        """Whether a function of Python's has lost its error, or its frame, for want of memory.

        Where the frame of a function that raises is kept, 3.11 to 3.13 make a frame for its caller,
        and clear the error that is on its way if there is no memory for that. `f_back` of 3.11
        returns `None` then and leaves the error to the next call, which is that one.
        """
        own = (
            "error return without exception set",
            "<function ",
            "Missing frame when calling",
            "<built-in function getrecursionlimit>",
        )
        return self.done["memory"] > 0 and text.startswith(own)

    def unraisable(self, args: Any) -> None:
        """Take what a destructor or a callback of C's has raised."""
        self.see(args.exc_value, f"unraisable in {type(args.object).__name__}", out=True)

    def report(self, loop: Any, context: dict[str, Any]) -> None:
        """Take what reaches the loop's exception handler."""
        self.see(context.get("exception"), "exception handler", out=True)
        message = str(context.get("message"))
        self.errors[message[:40]] += 1
        if message.startswith((*TAKES_A_STEP, "A callback of a ")):
            # A step of asyncio's own task that fails never comes again, nor a future's callback.
            # One that cannot be scheduled is lost there without a word.
            self.lost_steps = True
        task = context.get("task")
        if "destroyed" in message and task is not None and task.done():
            self.find("lie", f"{message}, but it has ended: {task!r:.200}")

    def forget(self) -> None:
        """Let go of everything that the program has made."""
        self.ending = self.gone = True
        self.pools.clear()
        self.things.clear()
        self.tasks.clear()
        self.loops.clear()
        self.loop = self.pause = None

    def settle(self) -> None:
        """Take back what steps have done to the interpreter."""
        while True:
            # A trace function may raise at any line.
            try:
                sys.settrace(None)
                sys.setprofile(None)
                while self.undo:
                    self.undo.pop()()
                return
            except BaseException as exc:
                sys.settrace(None)
                self.see(exc, "undo", out=True)
