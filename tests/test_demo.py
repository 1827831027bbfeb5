"""The demo does what it shows, as lines and as a tree, on narrow terminals, too."""

from __future__ import annotations

import io
import os
import re
import select
import subprocess
import sys

import pytest

import aionursery
from aionursery import demo

COMMAND = [sys.executable, "-W", "default", "-m", "aionursery.demo", "--scale", "0.2"]
#: What a terminal is told that is no text.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_without_a_terminal_the_demo_prints_lines_that_say_which_task_cancelled_which():
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=60, check=False)
    # The development mode says of a slow machine that a step took long.
    assert done.returncode == 0 and (sys.flags.dev_mode or not done.stderr)
    assert "\x1b" not in done.stdout
    assert "check-0 was cancelled (failure): sibling check-3 failed: Failed" in done.stdout
    assert "stuck was cancelled (cancel): the demo shuts it down" in done.stdout
    assert "stuck was cut off after 1.5 s of cleanup" in done.stdout
    assert "nursery 'silent' is closed: 1 timed out" in done.stdout
    assert done.stdout.endswith("Each did what was expected.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
@pytest.mark.parametrize("columns", [44, 100])
def test_on_a_terminal_the_demo_draws_a_tree_that_fits(columns):
    pytest.importorskip("rich")
    import pty

    ours, theirs = pty.openpty()
    env = os.environ | {"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color"}
    # What the development mode says of a slow machine is none of the picture.
    streams = {"stdin": theirs, "stdout": theirs, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(COMMAND, **streams, env=env) as process:
        os.close(theirs)
        output = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            output += part
        assert process.wait(timeout=60) == 0
    os.close(ours)
    lines = [CONTROL.sub("", line) for line in re.split(r"[\r\n]+", output.decode())]
    assert max(map(len, lines)) <= columns
    assert any("s cleanup" in line for line in lines)
    assert any("workers" in line and "/3" in line for line in lines)
    assert lines[-2] == "Each did what was expected."
    # Behind the last frame each line of the story comes once.
    end = " ".join(lines[max(at for at, line in enumerate(lines) if "● workers" in line) :])
    assert end.count("stuck was cut off") == 1


def test_a_frame_of_the_tree_shows_the_budget_that_is_left():
    console_class = pytest.importorskip("rich.console").Console
    # One for the live display, which moves the cursor, one for a frame alone.
    console, paper = (console_class(width=44, file=io.StringIO()) for _ in range(2))

    async def main() -> str:
        story = demo.Story(0.1)
        group = story.groups["workers"]
        group.open, group.note = 2, "shutting down"
        group.budget = aionursery.current_time() + 1.0
        story.groups["fast"].outcomes["ok"] += 9
        for name in ("quick", "thorough", "stuck"):
            story.tell(f"workers: {name} was cancelled (cancel): the demo shuts it down")
        live = demo.Live(story, console)
        paper.print(live.frame())
        live.live.stop()
        return paper.file.getvalue()

    frame = aionursery.run(main())
    assert re.search(r"(1\.0|0\.\d) of 1\.5 s cleanup", frame)
    assert "2 open, shutting down" in frame
    assert "9 ok" in frame
    # The name of what was cancelled, and why, stand there in full, over two lines.
    assert "stuck was cancelled (cancel): the demo shuts it down" in " ".join(frame.split())
    assert max(map(len, frame.splitlines())) <= 44


def test_the_demo_reports_what_is_not_as_expected(monkeypatch, capsys):
    monkeypatch.setitem(demo.PATIENCE, "slow", 0.01)
    assert aionursery.run(demo.run(0.05, plain=True)) == 1
    assert "That was not expected!" in capsys.readouterr().out
