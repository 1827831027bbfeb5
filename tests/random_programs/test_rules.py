"""Random programs of everything keep R3, R7, R12, R13, R14 and R20, whatever runs them."""

from __future__ import annotations

import pytest
from hypothesis import given, note

from .interpreter import run_on_us
from .programs import ALL, programs
from .rules import complaints
from .settings import drawn
from .statements import show


@pytest.mark.parametrize("ours", [False, True], ids=["asyncio", "ours"])
@drawn()
@given(program=programs(ALL, grid=False) | programs(ALL, grid=True))
def test_a_program_keeps_the_rules(ours, program):
    note("\n".join(show(program)))
    run = run_on_us(program, ours=ours)
    wrong = complaints(run)
    for event in run.events:
        note(repr(event))
    assert not wrong, "\n".join(wrong)
