"""Random programs do on us what they do on trio; a planted defect is found and made small."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace

import pytest

import aionursery

from . import against_trio
from .against_trio import found
from .faces import Ours, is_by_asyncios_host
from .settings import AGAINST_TRIO

SHARES = 20


@pytest.mark.parametrize("share", range(SHARES))
def test_a_program_has_the_same_story_as_on_trio(share):
    stories = (found(number) for number in range(share, AGAINST_TRIO, SHARES))
    differences = [story for story in stories if story]
    assert not differences, "\n\n".join(differences)


class ErrorsAreLost(Ours):
    """R7: only the first error comes out."""

    @contextlib.asynccontextmanager
    async def nursery(self, block):
        try:
            async with super().nursery(block) as nursery:
                yield nursery
        except aionursery.BaseMultiError as error:
            raise error.derive(error.exceptions[:1]) from None


class AResultIsTaken(Ours):
    """R12a: what a task has waited for and got is taken from it."""

    async def acquire(self, lock):
        await lock.acquire()
        try:
            await aionursery.checkpoint()
        except BaseException:
            lock.release()
            raise


class TheEndOfABlockIsACancellationPoint(Ours):
    """R13a."""

    @contextlib.asynccontextmanager
    async def nursery(self, block):
        async with super().nursery(block) as nursery:
            yield nursery
        await aionursery.checkpoint()


class AChildNeverStarts(Ours):
    """R17: one whose nursery is cancelled by then takes no first step."""

    def start_soon(self, nursery, child, *args):
        async def starts():
            if aionursery.current_effective_deadline() == -math.inf:
                await aionursery.checkpoint()
            await child(*args)

        nursery.start_soon(starts)


class CancelledOnce(Ours):
    """R18: a cancellation is delivered once, though the budget is nothing."""

    def scope(self, scope):
        return super().scope(replace(scope, cleanup=None))

    def nursery(self, block):
        return super().nursery(replace(block, cleanup=None))


class AShieldKeepsNothingOut(Ours):
    """R19."""

    def scope(self, scope):
        return super().scope(replace(scope, shield=False))


class ADeadlineStays(Ours):
    """R21: where it was set first."""

    def move(self, scope, deadline):
        pass


DEFECTS = [
    ErrorsAreLost,
    AResultIsTaken,
    TheEndOfABlockIsACancellationPoint,
    AChildNeverStarts,
    CancelledOnce,
    AShieldKeepsNothingOut,
    ADeadlineStays,
]


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found_and_made_small(defect, monkeypatch):
    monkeypatch.setattr(against_trio, "Ours", defect)
    report = next(filter(None, map(found, range(AGAINST_TRIO))), "")
    program, _, stories = report.partition("\ntask ")
    assert "we:" in stories and "trio:" in stories
    assert len(program.splitlines()) <= 20, report


def test_only_what_comes_of_a_host_of_asyncios_is_excused():
    def excused(mine, theirs, *other):
        return is_by_asyncios_host({"main": mine, "1": [*other]}, {"main": theirs})

    left, later = (("left", "0", "returned", True, True, moment) for moment in (0, 5))
    assert excused([("woke", 0), left], [left])
    assert excused([("woke", 0), left], [later])
    assert not excused([left], [left])
    assert not excused([("woke", 1), left], [left])
    assert not excused([("catches", "cancelled", 0), left], [left])
    assert not excused([left], [("woke", 0), left], ("shields", 0, 0))
    assert excused([later], [left], ("shields", 0, 0))
    assert not excused([later], [left])
    assert not excused([later], [left], ("shields", 0, 5))
    assert not excused([left], [later], ("shields", 0, 0))
    assert excused([left], [("went on", 0), left], ("shields", 0, 0))
    assert not excused([left], [("went on", 0), left])
    assert not excused([later], [("went on", 1), later], ("shields", 0, 0))
