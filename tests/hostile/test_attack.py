"""A few hostile programs in each run of the tests, and the proof that the harness sees defects.

The programs run in a process of their own, which forks: pytest's has threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .planted import PLANTED
from .program import Program, draw

ROOT = Path(__file__).parents[2]
FIRST, COUNT = 1, 60


def attack(*options: str, planted: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the verb with a time limit."""
    module = "tests.hostile.planted_attack" if planted else "tests.hostile.attack"
    return subprocess.run(
        [sys.executable, "-m", module, *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0", "RUST_BACKTRACE": "0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_hostile_programs_break_nothing():
    done = attack("--first", str(FIRST), "--count", str(COUNT), "--seconds", "200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{COUNT} programs" in done.stdout


#: Programs that have crashed the process, and why.
FOUND = {
    "a join that goes with its closed loop was freed twice": Program(
        1795978268014,
        {"loop": "asyncio", "host": "asyncio"},
        [[("generator", 227, 113), ("close_loop", 161, 155)], []],
        [[], [], []],
    ),
    "a join that was collected after its nursery was woken though it was freed": draw(
        1795987305160, apart=False
    ),
    "a host that left what was inside while it left too early had no place in the tree": Program(
        1795995954501,
        {"loop": "biting", "host": "asyncio"},
        [
            [
                ("generator", 50, 20),
                ("scope", 111, 170),
                ("await_odd", 210, 214),
                ("leave_by_hand", 147, 27),
            ],
            [],
            [("unwatch_scope", 121, 47)],
        ],
        [[], [], [], [("scope_exit", 180, 8)]],
    ),
    "the same, on what the nursery's own cancellation calls": Program(
        1795995956430,
        {"loop": "asyncio", "host": "asyncio"},
        [[("nursery", 74, 81), ("start_soon", 210, 162), ("scope_enter", 140, 12)]],
        [[], [], [("watch_scope", 8, 135)], [("scope_exit", 64, 207)]],
    ),
    "a loop had two states, and a nursery was entered with a place in the other's tree": draw(
        1795990259887, apart=False
    ),
}


@pytest.mark.parametrize("reason", FOUND)
def test_r31_what_has_crashed_the_process_does_so_no_more(reason):
    done = attack("--program", FOUND[reason].to_json())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("step", PLANTED)
def test_a_planted_defect_is_found_and_made_small(step):
    others = [("turn", 0, 0), ("make_nursery", 3, 1), ("collect", 0, 0)]
    script = [*others, ("nursery", 0, 0), (step, 1, 2), ("make_future", 0, 5)]
    program = Program(7, {"loop": "asyncio", "host": "ours"}, [script, others], [[("look", 1, 1)]])
    done = attack("--small", program.to_json(), "--patience", "1", planted=True)
    first = done.stdout.splitlines()[1:2]
    assert first == [f"{PLANTED[step]}: seed 7: {program.size()} steps, made 1"], (
        done.stdout + done.stderr
    )
    assert f"script 0: {step} 1 2" in done.stdout
    assert done.returncode == 1


def test_a_seed_draws_the_same_program_again():
    assert draw(5) == draw(5)
    assert Program.from_json(draw(5).to_json()) == draw(5)
    assert draw(5) != draw(6)
