"""Owns the list of rows: what is measured, in which unit, and what has to be reached.

How a contender does the work is in `contenders`; this module must never import one of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`ours` against `against`; which loops it is asked of is said by the two limits."""

    against: str
    default: float | None
    uvloop: float | None = None
    kind: str = "at least"  # times less than the other; "at most" times as much; "not slower"

    def limit(self, loop: str) -> float | None:
        return self.uvloop if loop == "uvloop" else self.default


@dataclass(frozen=True)
class Line:
    """One line of the table; a row that is read by several meters prints several lines."""

    title: str
    metric: str  # a key of the samples: "wall", "cpu", or one of the memory meters
    unit: str
    divide_by: float  # from nanoseconds or bytes to the unit
    targets: tuple[Target, ...] = ()
    base: str | None = None  # the row against which "at most" targets on oneself are taken


@dataclass(frozen=True)
class Row:
    key: str
    size: int  # children, entries, requests: what one call of the case does
    lines: tuple[Line, ...]
    section: str = "nursery"
    group: str | None = None  # rows of one group take turns with each other
    calibrated: bool = True  # repeat the case until a sample is long enough
    fewer_rounds: bool = False
    in_quick: bool = True
    contenders: tuple[str, ...] | None = None  # None: every contender with a case for it
    warm: bool = True  # take a first sample that does not count
    collected: bool = True  # Python's garbage collector is on


def us(title: str, *targets: Target, metric: str = "wall", base: str | None = None) -> Line:
    return Line(title, metric, "µs", 1e3, targets, base)


def ms(title: str, *targets: Target, metric: str = "wall") -> Line:
    return Line(title, metric, "ms", 1e6, targets)


def times(limit: float, uvloop: float | None = None, against: str = "taskgroup") -> Target:
    return Target(against, limit, uvloop)


ANYIO = times(10, against="anyio")
NOT_SLOWER = Target("taskgroup", 1, 1, kind="not slower")
NOT_SLOWER_THAN_TASK = Target("task", 1, 1, kind="not slower")
FEW = ("ours", "taskgroup", "floor", "floor_held", "floor_context")
SCALE = (*FEW, "gather", "anyio", "trio")


def _scale(size: int, contenders: tuple[str, ...], in_quick: bool) -> Row:
    targets = (Target("itself", 1.3, kind="at most"),) if size > 1000 else ()
    return Row(
        f"scale_{size}",
        size,
        (us(f"{size:,} children: cost of each", *targets, base="scale_1000"),),
        group="scale",
        calibrated=size == 1000,
        fewer_rounds=True,
        in_quick=in_quick,
        contenders=contenders,
    )


def _uncollected(size: int) -> Row:
    """How much of what many children cost is the collector's work."""
    return Row(
        f"uncollected_{size}",
        size,
        (us(f"{size:,} children, collector off: cost of each"),),
        group="uncollected",
        calibrated=size == 1000,
        fewer_rounds=True,
        in_quick=False,
        contenders=FEW,
        collected=False,
    )


ROWS: tuple[Row, ...] = (
    Row(
        "at_once",
        1000,
        (
            us(
                "child returns at once",
                times(10, 6),
                Target("floor", 2.0, 2.0, kind="at most"),
                times(3, against="taskgroup_eager"),
                times(30, against="anyio"),
            ),
        ),
    ),
    Row("function", 1000, (us("child given as a function, returns at once"),)),
    Row(
        "drop_in",
        1000,
        (us("aionursery.TaskGroup: child returns at once"),),
        contenders=("ours", "ours_run", "taskgroup", "taskgroup_eager"),
    ),
    Row("sleep0", 1000, (us("one asyncio.sleep(0)", times(5, 3), ANYIO),)),
    Row("own_sleep0", 1000, (us("one sleep(0) of its own library"),)),
    Row(
        "sleep",
        1000,
        (
            us("one sleep(0.01): CPU", times(5, 4), ANYIO, metric="cpu"),
            us("one sleep(0.01): wall, of 10 µs at least"),
        ),
    ),
    Row("event", 1000, (us("waits for an event", times(3), ANYIO),)),
    Row("future", 1000, (us("waits for a future of asyncio's own, each another"),)),
    Row("queue", 1000, (us("waits for a queue's item", times(3), ANYIO),)),
    Row("child", 1000, (us("waits for another child (a pair)", times(3), ANYIO),)),
    Row("timeout", 1000, (us("timeout entered and left, in a child", times(5), ANYIO),)),
    Row("timeout_host", 1000, (us("timeout entered and left, in the host", times(5), ANYIO),)),
    Row("cancel", 1000, (us("cancel and join blocked children", times(4), ANYIO),)),
    Row("empty", 1000, (us("empty nursery", times(3), ANYIO),)),
    Row("one_child", 1000, (us("nursery with one child", times(3), ANYIO),)),
    _scale(1000, SCALE, True),
    _scale(10_000, SCALE, True),
    _scale(100_000, SCALE, False),
    _scale(1_000_000, FEW, False),
    *(_uncollected(size) for size in (1000, 10_000, 100_000, 1_000_000)),
    Row(
        "echo",
        200,
        (
            us("aiohttp echo: a request, wall", NOT_SLOWER),
            us("aiohttp echo: a request, CPU", NOT_SLOWER, metric="cpu"),
        ),
        calibrated=False,
    ),
    Row(
        "cleanup_shield",
        1,
        (ms("CPU while a cancelled child cleans up 1 s (shield)", metric="cpu"),),
        calibrated=False,
        fewer_rounds=True,
        warm=False,
    ),
    Row(
        "cleanup_native",
        1,
        (ms("CPU while a cancelled child cleans up 1 s (task)", metric="cpu"),),
        calibrated=False,
        fewer_rounds=True,
        warm=False,
    ),
    Row(
        "programs_create_task",
        1000,
        (us("1000 create_task, each awaited", NOT_SLOWER_THAN_TASK),),
        section="programs",
    ),
    Row(
        "programs_gather",
        1000,
        (us("gather of 1000", NOT_SLOWER_THAN_TASK),),
        section="programs",
    ),
    Row(
        "programs_taskgroup",
        1000,
        (us("asyncio.TaskGroup of 1000", NOT_SLOWER_THAN_TASK),),
        section="programs",
    ),
    Row(
        "programs_graphql",
        1000,
        (us("graphql-core: one async resolver of 1000", NOT_SLOWER_THAN_TASK),),
        section="programs",
    ),
    Row(
        "programs_starlette",
        50,
        (us("starlette BaseHTTPMiddleware: a request", NOT_SLOWER_THAN_TASK),),
        section="programs",
    ),
)

SHELF_ROWS: tuple[Row, ...] = (
    # One thread is busy all the time: CPU is what a busy machine tells best.
    Row("channel_0", 1000, (us("channel of no places: an item, CPU", metric="cpu"),), "shelf"),
    Row("channel_100", 1000, (us("channel of 100 places: an item, CPU", metric="cpu"),), "shelf"),
    Row("map", 10_000, (us("map of 10,000, limit 100: each, CPU", metric="cpu"),), "shelf"),
    Row("race", 100, (us("race of 3, one ends: a race, CPU", metric="cpu"),), "shelf"),
    Row(
        "to_thread",
        100,
        (
            us("a function called in a thread: a call, wall"),
            us("a function called in a thread: a call, CPU", metric="cpu"),
        ),
        "shelf",
    ),
)

# A blocked child's memory is read in processes of its own, with other meters than clocks.
MEMORY_ROWS: tuple[Row, ...] = tuple(
    Row(
        f"memory_{what}",
        10_000,
        (
            Line(
                f"blocked child ({title}): Python + extension",
                "counted",
                "B",
                1,
                (Target("taskgroup", 2.0, 2.0), ANYIO) if what == "event" else (),
            ),
            Line(f"blocked child ({title}): of these tracemalloc", "traced", "B", 1),
            Line(f"blocked child ({title}): all malloc, mallinfo2", "malloc", "B", 1),
            Line(f"blocked child ({title}): resident set", "rss", "B", 1),
        ),
        section="nursery",
    )
    for what, title in (("event", "event"), ("sleep", "sleep"))
)

ALL_ROWS = ROWS + SHELF_ROWS + MEMORY_ROWS
BY_KEY = {row.key: row for row in ALL_ROWS}
