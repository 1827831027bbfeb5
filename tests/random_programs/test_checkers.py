"""Each rule can fail: it is given a run that breaks it, and the run beside it that does not."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

import aionursery
from aionursery import MultiError

from .interpreter import run_on_us
from .record import Asked, Awaited, Ended, Entered, Left, Place, Raised, Run, Swallowed
from .rules import complaints
from .statements import Block, Checkpoint, Scope, Sleep

NOBODY: frozenset[str] = frozenset()
SOMEBODY = frozenset({"outer"})


def wrong(*events, outcome=None, ours=("t",), **after):
    run = Run(list(events), set(ours), outcome, **after)
    return [complaint.split(":")[0] for complaint in complaints(run)]


def awaited(how, *, before=NOBODY, now=NOBODY, count=0, **more):
    return Awaited("t", count, how, before, now, **more)


def left(came="passed", how="passed", *, now=NOBODY, count=0, kind="nursery", **more):
    return Left("t", count, "n", kind, came, how, now, **more)


ENTERED = Entered("t", 0, "n")
ASKED = Asked("t", 1)
PASSED = Ended("t", 0, "passed")
CANCELLED = Ended("t", 0, "cancelled")


def test_r3_a_child_that_outlives_its_block_is_noticed():
    assert wrong(ENTERED, left(), PASSED) == []
    assert wrong(ENTERED, left(alive=("c",)), PASSED) == ["R3"]
    assert wrong(PASSED, tasks_after=["c"]) == ["R3"]
    assert wrong(PASSED, size_after=(1, 0, 0)) == ["R3"]


def test_r7_an_error_that_is_lost_doubled_or_made_up_is_noticed():
    error = ValueError()
    raised = Raised("t", 0, error)
    assert wrong(raised, outcome=MultiError([error])) == []
    assert wrong(raised) == ["R7"]
    assert wrong(raised, outcome=MultiError([error, MultiError([error])])) == ["R7"]
    assert wrong(outcome=error) == ["R7"]
    assert wrong(reports=[{"message": "never retrieved"}]) == ["R7"]


def test_r7_r8_a_nursery_that_raises_something_else_is_noticed():
    error = ValueError()
    raised = Raised("t", 0, error)
    one = left("failed", "failed", error=MultiError([error]))
    assert wrong(raised, ENTERED, one, outcome=error) == []
    bare = replace(one, error=error)
    assert wrong(raised, ENTERED, bare, outcome=error) == ["R8"]
    twice = replace(one, error=MultiError([error, error]))
    assert wrong(raised, ENTERED, twice, outcome=error) == ["R7"]


def test_r13_a_request_that_is_not_heard_is_noticed():
    heard = awaited("cancelled", count=1)
    assert wrong(ASKED, heard, replace(CANCELLED, count=1)) == []
    assert wrong(ASKED, awaited("passed", count=1), PASSED) == ["R13"]
    assert wrong(ASKED, awaited("passed", count=1, shielded=True), PASSED) == []


def test_r13_a_request_that_ends_at_a_scope_is_noticed():
    heard = awaited("cancelled", count=1, now=SOMEBODY)
    swallowing = left("cancelled", "passed", count=1, called=True, caught=True)
    assert wrong(ENTERED, ASKED, heard, swallowing, awaited("cancelled"), CANCELLED) == []
    assert wrong(ENTERED, ASKED, heard, swallowing, awaited("passed"), PASSED) == ["R13"]
    assert wrong(ASKED, heard, PASSED) == ["R13"]
    assert wrong(ASKED, heard, Swallowed("t", 1), PASSED) == []


def test_r14_a_cancellation_without_a_cause_is_noticed():
    assert wrong(awaited("cancelled", now=SOMEBODY), CANCELLED) == []
    assert wrong(awaited("cancelled"), CANCELLED) == ["R14"]
    assert wrong(ENTERED, left("passed", "cancelled", now=SOMEBODY), CANCELLED) == []
    assert wrong(ENTERED, left("passed", "cancelled"), CANCELLED) == ["R14"]


def test_r14_a_count_that_is_not_as_before_is_noticed():
    assert wrong(ENTERED, left(count=1), PASSED) == ["R14"]
    assert wrong(Entered("t", 2, "n"), left(count=1), PASSED) == ["R14"]


def test_r12_an_await_in_a_cancelled_scope_that_passes_is_noticed():
    passes = awaited("passed", before=SOMEBODY, now=SOMEBODY)
    assert wrong(passes, PASSED) == ["R12"]
    assert wrong(awaited("cancelled", now=SOMEBODY), passes, PASSED) == []


def test_r20_a_bare_cancel_that_gets_through_a_shield_is_noticed():
    heard = awaited("cancelled", count=1, shielded=True)
    assert wrong(ASKED, heard, replace(CANCELLED, count=1)) == ["R20"]
    assert wrong(ASKED, heard, replace(CANCELLED, count=1), ours=()) == []


def test_a_place_is_reached_from_above_up_to_the_first_shield():
    top = Place("top", None, lambda: True)
    wall = Place("wall", top, lambda: False, shield=True)
    assert Place("in", top, lambda: False).reached_by() == {"top"}
    assert Place("in", wall, lambda: False).reached_by() == set()
    assert Place("in", wall, lambda: False).shielded()
    assert not Place("in", wall, lambda: False, edge=True).shielded()


def block(*body, children=(), seconds=float("inf")):
    return Block("1", "nursery", seconds, False, None, tuple(children), body)


@pytest.mark.parametrize("ours", [False, True], ids=["asyncio", "ours"])
def test_a_real_run_in_which_an_await_loses_its_cancellation_is_noticed(ours, monkeypatch):
    program = (block(Scope("2", "move_on", 1.0, False, None, (Sleep(2.0), Checkpoint()))),)
    assert complaints(run_on_us(program, ours=ours)) == []

    async def deaf(seconds):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(seconds)

    monkeypatch.setattr(aionursery, "sleep", deaf)
    (complaint,) = complaints(run_on_us(program, ours=ours))
    assert complaint.startswith("R12: ")
