"""`to_process` and `start_process`: functions in processes that are joined as any child."""

from __future__ import annotations

import asyncio
import functools
import math
import os
import subprocess
import sys

import psutil
import pytest

import aionursery
from aionursery import (
    BrokenWorkerProcess,
    CancelScope,
    CapacityLimiter,
    MultiError,
    Nursery,
    current_default_process_limiter,
    to_process,
)

from . import process_functions as functions
from .helpers import forever, turns


async def begun(path):
    """Wait until a process has said which it is."""
    while not (path.exists() and path.read_text()):
        await aionursery.sleep(0.005)
    return int(path.read_text())


async def test_it_returns_what_the_function_returns(world):
    assert await to_process(functions.add, 2, 3) == 5
    assert await to_process(functools.partial(functions.add, b=2), 3) == 5
    assert await to_process(functions.identity) != os.getpid()


async def test_it_raises_what_the_function_raises_with_its_traceback(world):
    with pytest.raises(ValueError, match="in a process") as info:
        await to_process(functions.fail, "in a process")
    assert "process_functions.py" in str(info.value.__cause__)
    with pytest.raises(RuntimeError, match="cannot be pickled"):
        await to_process(functions.fail_unpicklably)
    with pytest.raises(Exception, match="lambda"):
        await to_process(functions.unpicklable)
    with pytest.raises(Exception, match="lambda"):
        await to_process(lambda: None)
    # The worker has lived through all that.
    assert await to_process(functions.add, 1, 1) == 2


async def test_processes_are_used_again(world):
    limiter = CapacityLimiter(1)
    found = {await to_process(functions.identity, limiter=limiter) for _ in range(3)}
    assert len(found) == 1


async def test_a_process_that_ends_by_itself_is_an_error_and_is_not_used_again(world):
    with pytest.raises(BrokenWorkerProcess, match="exit code 7"):
        await to_process(functions.leave, 7)
    assert await to_process(functions.add, 1, 1) == 2


async def test_r3_start_process_is_a_child(world):
    async with Nursery() as nursery:
        tasks = [nursery.start_process(functions.add, n, n) for n in range(4)]
        assert tasks[0].get_name() == "add"
    assert [task.result() for task in tasks] == [0, 2, 4, 6]


async def test_r7_errors_of_several_processes_are_all_raised(world):
    with pytest.raises(MultiError) as info:
        async with Nursery(on_error="collect") as nursery:
            for number in range(3):
                nursery.start_process(functions.fail, number, name=f"p{number}")
    assert sorted(error.args[0] for error in info.value) == [0, 1, 2]
    assert sorted(info.value.names) == ["p0", "p1", "p2"]


@pytest.mark.parametrize("how", ["hand", "scope", "deadline"])
async def test_r3_a_cancelled_process_is_terminated_and_joined(world, tmp_path, how):
    path = tmp_path / "begun"
    async with Nursery() as nursery:
        task = nursery.start_process(functions.wait_for_ever, path)
        pid = await begun(path)
        if how == "hand":
            task.cancel()
        elif how == "scope":
            nursery.cancel()
        else:
            nursery.cancel_scope.cancel_after(0)
    assert task.cancelled()
    assert not psutil.pid_exists(pid)
    assert current_default_process_limiter().borrowed_tokens == 0


@pytest.mark.skipif(sys.platform == "win32", reason="there, to terminate is to kill")
async def test_r3_a_process_that_does_not_hear_is_killed_after_the_grace(world, tmp_path):
    path = tmp_path / "begun"
    function = functools.partial(functions.wait_for_ever, path, deaf=True)
    async with Nursery() as nursery:
        task = nursery.start_process(function, grace=0.05)
        pid = await begun(path)
        nursery.cancel()
    assert task.cancelled()
    assert not psutil.pid_exists(pid)


async def test_r3_a_process_that_is_cancelled_amid_a_long_answer_does_not_hang(world, tmp_path):
    path = tmp_path / "begun"
    with CancelScope() as scope:
        async with Nursery() as nursery:
            task = nursery.start_process(functions.much, path, 50_000_000)
            pid = await begun(path)
            await aionursery.sleep(0.01)
            scope.cancel()
    assert task.cancelled() or len(task.result()) == 50_000_000
    assert task.cancelled() is not psutil.pid_exists(pid)


@pytest.mark.skipif(sys.platform == "win32", reason="there, to terminate is to kill")
@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("how", ["hand", "scope", "deadline"])
async def test_r9_a_process_that_leaves_as_it_is_terminated_does_not_end_the_program(
    world, tmp_path, how, error
):
    path = tmp_path / "begun"
    with CancelScope() as scope:
        async with Nursery() as nursery:
            child = nursery.start_process(functions.raise_when_terminated, path, error)
            pid = await begun(path)
            if how == "hand":
                child.cancel()
            elif how == "scope":
                scope.cancel()
            else:
                scope.cancel_after(0)
    assert child.cancelled()
    assert not psutil.pid_exists(pid)


@pytest.mark.skipif(sys.platform == "win32", reason="there, to terminate is to kill")
async def test_r7_an_error_of_a_process_that_is_terminated_is_raised(world, tmp_path):
    path = tmp_path / "begun"
    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_process(functions.raise_when_terminated, path, ValueError("cleanup"))
            await begun(path)
            nursery.cancel()
    assert [str(error) for error in info.value] == ["cleanup"]


@pytest.mark.parametrize("when", range(6))
async def test_r3_a_process_can_be_cancelled_at_any_moment_of_its_start(world, when):
    limiter = CapacityLimiter(2)
    async with Nursery() as nursery:
        tasks = [nursery.start_process(functions.identity, limiter=limiter) for _ in range(3)]
        await turns(when)
        nursery.cancel()
    assert all(task.done() for task in tasks)
    assert limiter.borrowed_tokens == 0


async def test_r6_a_failing_sibling_ends_the_process(world, tmp_path):
    path = tmp_path / "begun"

    async def fails():
        await begun(path)
        raise ValueError("sibling")

    with pytest.raises(MultiError) as info:
        async with Nursery() as nursery:
            nursery.start_process(functions.wait_for_ever, path)
            nursery.start_soon(fails)
            await forever()
    assert [str(error) for error in info.value] == ["sibling"]
    assert not psutil.pid_exists(int(path.read_text()))


async def test_a_limiter_bounds_how_many_run_at_once(world):
    limiter = CapacityLimiter(1)
    assert current_default_process_limiter().total_tokens == os.cpu_count()
    async with Nursery() as nursery:
        tasks = [nursery.start_process(functions.identity, limiter=limiter) for _ in range(3)]
        while not all(task.done() for task in tasks):
            assert limiter.borrowed_tokens <= 1
            await aionursery.sleep(0.001)
    assert limiter.borrowed_tokens == 0


@pytest.mark.parametrize("grace", [-1, math.nan])
async def test_what_makes_no_sense_is_refused(world, grace):
    with pytest.raises(ValueError, match="grace must not be"):
        await to_process(functions.identity, grace=grace)
    with pytest.raises(TypeError, match=r"^grace must be a number, not '3'$"):
        await to_process(functions.identity, grace="3")
    with pytest.raises(TypeError, match="takes a plain function"):
        await to_process(forever)
    async with Nursery() as nursery:
        with pytest.raises(TypeError, match="takes a plain function"):
            nursery.start_process(forever)


PROGRAM = """
import aionursery, os
from tests import process_functions as functions

async def main():
    print(await aionursery.to_process(functions.add, 1, 2))

if __name__ == "__main__":
    aionursery.run(main())
"""


def test_a_program_ends_with_its_idle_workers(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(program)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("3\n", "", 0)


async def test_r15_a_host_that_is_cancelled_again_and_again_still_joins(world, tmp_path):
    path = tmp_path / "begun"
    task = asyncio.get_running_loop().create_task(to_process(functions.wait_for_ever, path))
    pid = await begun(path)
    for _ in range(3):
        task.cancel()
        await turns(1)
    await asyncio.wait([task])
    assert task.cancelled()
    assert not psutil.pid_exists(pid)
