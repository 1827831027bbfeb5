"""Python's own tools look at a process from outside, and see nurseries and plain tasks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import pytest

import aionursery

from .helpers import turns

PROGRAM = """
    import asyncio, sys
    import aionursery

    async def leaf():
        await asyncio.sleep(600)

    async def middle():
        await leaf()

    async def look_here():
        print("ready", flush=True)
        sys.stdin.readline()

    async def plain():
        async with asyncio.TaskGroup() as group:
            group.create_task(middle(), name="grouped")
            group.create_task(leaf())

    async def nested():
        async with aionursery.Nursery() as nursery:
            nursery.start_soon(middle, name="in-a-nursery")
            nursery.start_soon(aionursery.sleep, 600, name="a-wait")
            nursery.start_soon(leaf)

    async def main():
        tasks = []
        if "plain" in sys.argv[1]:
            tasks.append(asyncio.create_task(plain(), name="plain-host"))
        if "nursery" in sys.argv[1]:
            tasks.append(asyncio.create_task(nested(), name="nursery-host"))
        async with aionursery.Nursery() as nursery:
            for _ in range(5):
                await asyncio.sleep(0)
            # The process is looked at while this runs, in its first step, without a name.
            nursery.start_soon(look_here)

    run = asyncio.run if sys.argv[2] == "asyncio" else aionursery.run
    run(main())
"""


def looked_at(tool, kinds, runner):
    """Run the tool on a process of these tasks; return what it prints."""
    return looked_at_by([sys.executable, "-m", "asyncio", tool], kinds, runner)


def looked_at_by(command, kinds, runner):
    """As that, with the whole command but for the process."""
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), kinds, runner]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            command = [*command, str(process.pid)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        finally:
            process.kill()
    said = done.stdout + done.stderr
    if "permi" in said.lower():
        pytest.skip(f"this process may not look into another: {said.strip().splitlines()[-1]}")
    assert done.returncode == 0, said
    return done.stdout


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the tools came with CPython 3.14")
@pytest.mark.parametrize("runner", ["asyncio", "aionursery"])
@pytest.mark.parametrize("kinds", ["plain", "nursery", "plain,nursery"])
@pytest.mark.parametrize("tool", ["ps", "pstree"])
def test_python_asyncio_ps_and_pstree_see_every_task(tool, kinds, runner):
    shown = looked_at(tool, kinds, runner)
    expected = []
    if "plain" in kinds:
        expected += ["plain-host", "grouped"]
    if "nursery" in kinds:
        expected += ["nursery-host", "in-a-nursery", "a-wait"]
    assert [name for name in expected if name not in shown] == []
    assert "middle" in shown
    assert "leaf" in shown
    assert "Task-" in shown


@pytest.mark.skipif(sys.version_info < (3, 15), reason="the profiler came with CPython 3.15")
@pytest.mark.parametrize("runner", ["asyncio", "aionursery"])
@pytest.mark.parametrize("kinds", ["plain", "nursery", "plain,nursery"])
def test_python_s_sampling_profiler_sees_every_task(kinds, runner):
    options = [
        "--async-aware",
        "--async-mode",
        "all",
        "--collapsed",
        "-d",
        "2",
        "-o",
        "/dev/stdout",
    ]
    command = [sys.executable, "-m", "profiling.sampling", "attach", *options]
    shown = looked_at_by(command, kinds, runner)
    names = ["plain-host", "grouped"] if "plain" in kinds else []
    names += ["nursery-host", "in-a-nursery", "a-wait"] if "nursery" in kinds else []
    assert [name for name in names if name not in shown] == []
    assert "middle" in shown and "leaf" in shown


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the call graph came with CPython 3.14")
async def test_all_that_await_a_child_are_shown_as_long_as_they_do(world):
    event, host = asyncio.Event(), asyncio.current_task()

    async def waits(task):
        await task

    async with aionursery.Nursery() as nursery:
        task = nursery.start_soon(event.wait())
        assert task._asyncio_awaited_by is None
        await turns(1)
        assert task._asyncio_awaited_by == {host}
        others = [nursery.start_soon(waits(task)) for _ in range(2)]
        await turns(1)
        assert task._asyncio_awaited_by == {host, *others}
        event.set()
    assert not task._asyncio_awaited_by
