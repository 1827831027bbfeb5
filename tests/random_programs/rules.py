"""The rules that every run must keep, as functions from a run to complaints. They run nothing."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Iterator

from aionursery import BaseMultiError

from .record import (
    Asked,
    Awaited,
    Ended,
    Entered,
    Event,
    Handled,
    Left,
    Raised,
    Received,
    Run,
    Swallowed,
    leaves,
)

NURSERIES = ("nursery", "collect")
#: Blocks of asyncio's own. They are held to what asyncio promises, which the rules do not judge.
FOREIGN = ("asyncio.TaskGroup", "timeout", "wait_for")


def complaints(run: Run) -> list[str]:
    """Everything that is wrong with a run."""
    return [
        *nothing_outlives_its_block(run),
        *each_error_comes_out_once(run),
        *no_request_is_lost(run),
        *no_cancellation_strays(run),
        *a_cancelled_scope_is_felt(run),
    ]


def nothing_outlives_its_block(run: Run) -> Iterator[str]:
    """R3."""
    for event in run.events:
        if isinstance(event, Left) and event.alive:
            yield f"R3: {event.name} was left while {event.alive} were alive"
    if run.tasks_after:
        yield f"R3: after the program there are still tasks: {run.tasks_after}"
    if any(run.size_after):
        yield f"R3: after the program the loop's tree holds {run.size_after}"


def each_error_comes_out_once(run: Run) -> Iterator[str]:
    """R7, R8."""
    born = {id(e.error): e.error for e in run.events if isinstance(e, Raised)}
    handled = Counter(id(e.error) for e in run.events if isinstance(e, Handled))
    received = Counter(id(e.error) for e in run.events if isinstance(e, Received))
    out = Counter(id(leaf) for leaf in leaves(run.outcome))
    reported = Counter(
        id(leaf) for report in run.reports for leaf in leaves(report.get("exception"))
    )
    for key, error in born.items():
        times = handled[key] + out[key] + reported[key]
        if not times:
            yield f"R7: {error!r} was lost"
        # What awaits a task receives its error, beside the nursery that the task belongs to.
        if times > 1 + received[key]:
            yield f"R7: {error!r} came out {times} times"
    for leaf in leaves(run.outcome):
        if id(leaf) not in born:
            yield f"R7: {leaf!r} came out and was never raised"
    for report in run.reports:
        error = report.get("exception")
        if error is None or not leaves(error):
            yield f"R7: the exception handler was told {report}"
    for event in run.events:
        if isinstance(event, Left) and event.kind in NURSERIES and event.error is not None:
            if not isinstance(event.error, BaseMultiError):
                yield f"R8: {event.name} raised {event.error!r}"
                continue
            members = Counter(id(error) for error in event.error.exceptions)
            if any(isinstance(e, asyncio.CancelledError) for e in event.error.exceptions):
                yield f"R7: a cancellation is among the errors of {event.name}"
            if max(members.values()) > 1:
                yield f"R7: {event.name} reports one error twice: {event.error!r}"


def by_task(run: Run) -> dict[str, list[Event]]:
    tasks = defaultdict(list)
    for event in run.events:
        tasks[event.task].append(event)
    return tasks


def heard(event: Awaited, run: Run) -> bool:
    """Whether a request may have come in here: at a shield it waits outside, where it can (R20)."""
    return not event.shielded or event.task not in run.ours


def no_request_is_lost(run: Run) -> Iterator[str]:
    """R13: from `Task.cancel()` to a CancelledError that only the program swallows."""
    for task, events in by_task(run).items():
        waiting = in_flight = False
        # Entered while it cleans up: what such a block catches is not what is in flight.
        since: set[str] = set()
        for event in events:
            if not in_flight:
                since.clear()
            match event:
                case Asked():
                    waiting = True
                case Entered():
                    since.add(event.name)
                case Awaited(how="cancelled") if heard(event, run):
                    in_flight = in_flight or waiting
                    waiting = False
                case Awaited(how="passed", shielded=False) if waiting:
                    yield f"R13: {task} was asked to end and an await passed: {event}"
                    waiting = False
                case Left(how="cancelled"):
                    in_flight = in_flight or waiting
                    waiting = False
                case Left(how="passed", kind=kind) if kind in FOREIGN:
                    # asyncio's own lose it on some versions.
                    waiting = in_flight = False
                case Left(came="cancelled", how="passed") if in_flight and event.name not in since:
                    waiting, in_flight = True, False
                case Left(how="failed") | Handled() | Swallowed():
                    in_flight = False
                    if isinstance(event, Swallowed):
                        waiting = False
                case Ended(how="passed") if in_flight:
                    yield f"R13: {task} was asked to end, and ended as if it was not"


def no_cancellation_strays(run: Run) -> Iterator[str]:
    """R14: each CancelledError has a cause that reaches there, and the count is as before."""
    for task, events in by_task(run).items():
        counts: dict[str, tuple[int, int, int]] = {}
        requests = 0
        # Blocks of asyncio's own that may not have taken back what they asked (3.11, 3.12).
        kept = 0
        waiting = open_requests = received = False
        for event in events:
            match event:
                case Asked():
                    requests += 1
                    waiting = open_requests = True
                case Entered():
                    counts[event.name] = (event.count, requests, kept)
                case Awaited():
                    received = event.how == "cancelled" and event.received
                    if event.how == "cancelled" and heard(event, run):
                        waiting = False
                    if event.how == "cancelled" and not (
                        event.now or event.asked or open_requests or received
                    ):
                        yield f"R14: a stray cancellation in {task}: {event}"
                    if (
                        event.how == "cancelled"
                        and event.shielded
                        and task in run.ours
                        and not (event.now or event.asked or received)
                    ):
                        yield f"R20: {task} was shielded and a bare cancel() came in: {event}"
                case Swallowed():
                    # Where it waits in a shield of a foreign task is not ours to say (R20).
                    open_requests = waiting or (open_requests and task not in run.ours)
                    received = False
                case Left():
                    before, then, kept_then = counts[event.name]
                    if event.kind == "wait_for" and event.how == "cancelled":
                        # What it waits for may have been cancelled itself, in a task of its own.
                        received = True
                    # One that was swallowed inside and not taken back by uncancel() is still to be
                    # honoured, as asyncio.timeout has it.
                    inside = requests > then
                    if event.how == "cancelled" and not (
                        event.now or event.asked or open_requests or received or kept or inside
                    ):
                        yield f"R14: a cancellation left {event.name}, whose it was: {event}"
                    if event.kind in FOREIGN:
                        kept += event.how != "passed"
                    else:
                        expected = before + requests - then
                        # A scope cancelled around it asks as often as it must, until it is left.
                        most = (
                            math.inf
                            if event.now
                            else expected + len(event.asked) + kept - kept_then
                        )
                        if not expected <= event.count <= most:
                            yield (
                                f"R14: cancelling() of {task} is {event.count} after "
                                f"{event.name}, not {expected}"
                            )
                    if event.caught and not event.called:
                        yield f"R14: {event.name} caught a cancellation and was not cancelled"
                    if event.how == "passed" and event.came == "cancelled":
                        received = False
                        if event.kind in (*NURSERIES, "scope") and not event.called:
                            yield f"R13: {event.name} swallowed a cancellation of others: {event}"


def a_cancelled_scope_is_felt(run: Run) -> Iterator[str]:
    """R12, R17: a new cancellation reaches the next await that begins after it.

    Each that the task has entered itself is felt once, and once what lies above its nursery (R18).
    """
    for task, events in by_task(run).items():
        felt: set[str] = set()
        own: set[str] = set()
        for event in events:
            if isinstance(event, Entered):
                own.add(event.name)
            if isinstance(event, Left):
                own.discard(event.name)
            match event:
                case Awaited(how="cancelled"):
                    felt |= event.now
                case Left(how="cancelled"):
                    felt |= event.now
                case Left(kind=kind) if kind in FOREIGN:
                    # asyncio's own lose it on some versions.
                    felt |= event.now
                case Awaited(how="passed") if (event.before & own) - felt or (
                    event.before and not event.before & felt
                ):
                    missed = sorted(event.before - felt)
                    yield f"R12: {task} awaited in cancelled {missed} and went on: {event}"
