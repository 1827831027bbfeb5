"""What a hostile program is, and how a seed becomes one. Nothing here runs anything.

A program is data: settings, scripts for tasks, and hooks for objects that bite. A step is a name
and two small numbers; what they choose is looked up where the step runs, so any program from which
steps were taken is a program, too.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

#: A step: what to do, and two numbers that choose with what.
Step = tuple[str, int, int]

#: What several steps of a script stand inside, until `end` or the end of the script.
BLOCKS = ("nursery", "group", "scope", "timeout", "swallow", "finally", "generator", "repeat")
#: What waits, so only tasks can do it.
WAITING = (
    "turn",
    "sleep",
    "event",
    "queue",
    "lock",
    "condition",
    "await_task",
    "await_future",
    "await_odd",
    "await_wait",
    "wait_many",
    "start",
    "cancel_and_wait",
    "open_by_hand",
    "leave_by_hand",
    "generator_step",
    "generator_close",
    "end",
    "raise",
)
#: What any code can do, also a destructor.
SYNC = (
    "start_soon",
    "start_now",
    "task",
    "cancel_task",
    "cancel_nursery",
    "cancel_scope",
    "cancel_wait",
    "uncancel",
    "settings",
    "scope_enter",
    "scope_exit",
    "make_nursery",
    "make_scope",
    "make_future",
    "make_wait",
    "make_coroutine",
    "future",
    "wake",
    "callback",
    "coroutine",
    "collect",
    "forget",
    "look",
    "error",
    "weak",
    "generator",
    "deadline",
    "stuck",
    "context",
    "factory",
)
#: What any code can do, too. It is drawn apart, so that a seed draws the rest as ever.
ADDED = ("watch_scope", "watch_scope", "unwatch_scope", "tree_variable")
#: What is done at channels, drawn apart as well: what waits, and what any code can do.
CHANNEL_WAITING = ("channel", "channel", "channel_held", "channel_items")
CHANNEL_SYNC = ("channel_nowait", "channel_end", "channel_open", "channel_transfer")
#: What is done with what is written around the nursery, drawn apart as well.
SHELF_WAITING = (
    "race",
    "supervise",
    "limiter",
    "free",
    "limited",
    "stopping",
    "safe_channel",
    "tell_nursery",
    "lost_nursery",
    "await_service",
)
SHELF_SYNC = ("service", "shutdown", "cancel_after", "tokens", "fields", "fields", "exit_again")
#: What is done at anyio's objects, drawn apart as well.
ANYIO_WAITING = ("any_group", "any_group", "any_scope", "any_wait", "any_wait", "any_start")
ANYIO_SYNC = (
    "any_start_soon",
    "any_start_soon",
    "any_cancel",
    "any_settings",
    "any_set",
    "any_leave",
)
#: What does violence to the loop, the interpreter or the library's objects: few programs have one.
VIOLENT = (
    "stop",
    "close_loop",
    "other_loop",
    "nested_run",
    "ready",
    "state",
    "reinit",
    "class",
    "thread",
    "fork",
    "subinterpreter",
    "interrupt",
    "interrupt_later",
    "trace",
    "memory",
    "recursion",
    "objects",
    "freeze",
    "base_method",
    "close_running",
    "tracemalloc",
)


@dataclass
class Program:
    seed: int
    settings: dict[str, int | str | bool] = field(default_factory=dict)
    scripts: list[list[Step]] = field(default_factory=list)
    hooks: list[list[Step]] = field(default_factory=list)

    def size(self) -> int:
        return sum(map(len, self.scripts)) + sum(map(len, self.hooks))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Program:
        data = json.loads(text)
        for part in ("scripts", "hooks"):
            data[part] = [[tuple(step) for step in steps] for steps in data[part]]
        return cls(**data)

    def show(self) -> Iterator[str]:
        changed = {key: value for key, value in self.settings.items() if value}
        yield f"settings {changed}"
        for title, parts in (("script", self.scripts), ("hook", self.hooks)):
            for number, steps in enumerate(parts):
                if steps:
                    yield f"{title} {number}: " + "; ".join(f"{n} {a} {b}" for n, a, b in steps)


def _some(rng: random.Random, names: tuple[str, ...], share: float) -> list[str]:
    return [name for name in names if rng.random() < share] or [rng.choice(names)]


def _steps(rng: random.Random, names: list[str], count: int) -> list[Step]:
    return [(rng.choice(names), rng.randrange(256), rng.randrange(256)) for _ in range(count)]


def draw(seed: int, *, apart: bool = True) -> Program:
    """Draw a program: the same one for the same seed, on every interpreter.

    Without what is drawn apart it is the one that the seed drew before there were steps for that.
    """
    rng = random.Random(f"hostile {seed}")
    settings: dict[str, int | str | bool] = {
        "loop": rng.choice(["asyncio", "asyncio", "asyncio", "biting", "uvloop"]),
        "host": rng.choice(["asyncio", "ours"]),
        "factory": rng.choice(["none", "ours", "ours", "eager", "asyncio-eager"]),
        "threshold": rng.choice([0, 0, 1]),
        "debug": rng.random() < 0.1,
        "hold": rng.random() < 0.5,
    }
    # Only some of the steps in each program: what needs many of one kind is found sooner.
    blocks = _some(rng, BLOCKS, 0.6)
    waiting = _some(rng, WAITING, 0.5)
    sync = _some(rng, SYNC, 0.4)
    violent = _some(rng, VIOLENT, 0.06) if rng.random() < 0.5 else []
    anything = blocks * 2 + waiting + sync + ["start_soon", "turn", "nursery"]
    scripts = [
        _steps(rng, anything + violent, rng.randint(3, 14)) for _ in range(rng.randint(2, 6))
    ]
    hooks = [_steps(rng, sync + violent, rng.randint(1, 4)) for _ in range(rng.randint(1, 5))]
    added = random.Random(f"hostile, added, {seed}")
    for steps in (*scripts, *hooks):
        while added.random() < 0.3:
            step = (added.choice(ADDED), added.randrange(256), added.randrange(256))
            steps.insert(added.randrange(len(steps) + 1), step)
    for name, share, waits, any_code in (
        ("channels", 0.4, CHANNEL_WAITING, CHANNEL_SYNC),
        ("shelf", 0.3, SHELF_WAITING, SHELF_SYNC),
        ("anyio", 0.2, ANYIO_WAITING, ANYIO_SYNC),
    ):
        apart_rng = random.Random(f"hostile, {name}, {seed}")
        # Many steps in some programs find more than a few in each.
        if apart and apart_rng.random() < share:
            for steps, names in (
                *((script, waits + any_code) for script in scripts),
                *((hook, any_code) for hook in hooks),
            ):
                for step in _steps(apart_rng, list(names), apart_rng.randint(0, 5)):
                    steps.insert(apart_rng.randrange(len(steps) + 1), step)
    return Program(seed, settings, scripts, hooks)
