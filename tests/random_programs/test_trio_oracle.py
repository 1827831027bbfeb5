"""Random programs of trio's words do on us what they do on trio (R3, R6, R12, R13, R18, R21)."""

from __future__ import annotations

import pytest
from hypothesis import given, note

from .oracle import differs, on_us
from .programs import TRIO, programs, show
from .settings import drawn


@pytest.mark.parametrize("ours", [False, True], ids=["asyncio", "ours"])
@drawn()
@given(program=programs(TRIO, grid=False))
def test_a_program_has_the_same_story_as_on_trio(ours, program):
    note("\n".join(show(program)))
    difference = differs(program, lambda: on_us(program, ours=ours))
    assert not difference, difference
