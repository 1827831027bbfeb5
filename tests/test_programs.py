"""The seven programs of docs/programs.md: each does the same with every library, on both loops."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from .helpers import outside_dev_mode
from .loop_kinds import LOOPS

HERE = Path(__file__).parent
PROGRAMS = HERE.parent / "examples" / "programs"
LIBRARIES = ["aionursery", "anyio", "asyncio"]
#: What the programs can be run on.
RUN_ON = [name for name in LOOPS if name in ("asyncio", "uvloop")]

SHOWN = {
    "crawler": [
        "Server error '503 Service Unavailable' for url 'http://127.0.0.1:PORT/13'",
        "For more information check: https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/503",
        "60 pages",
    ],
    "bot": ["hello", "goodbye", "the bot has quit"],
    "hedged": ["the page of mirror-3-good", "no mirror answers: 2 errors"],
    "pipeline": ["[(200, 300), (201, 300), (202, 300)]"],
    "compute": [
        "4203 primes",
        "['3e3ba5cb', '787ddd24', 'b2b75415', 'f4f12cfa']",
        "the thread ends",
        "all has ended",
    ],
    "daemons": [
        "reading 1",
        "reading 2",
        "reading 3",
        "cleaned for the last time",
        "reading 4",
        "down",
    ],
}

by_signals = pytest.mark.skipif(sys.platform == "win32", reason="loops handle no signals there")


def command(name: str, library: str, loop: str) -> list[str]:
    return [sys.executable, str(HERE / "run_on.py"), loop, str(PROGRAMS / f"{name}_{library}.py")]


def without_ports(line: str) -> str:
    before, found, after = line.partition("127.0.0.1:")
    return f"{before}{found}PORT{after.lstrip('0123456789')}" if found else line


@pytest.mark.parametrize("loop", RUN_ON)
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=by_signals if name == "daemons" else []) for name in SHOWN]
)
def test_a_program_prints_the_same_with_each_library(name, library, loop):
    done = subprocess.run(
        command(name, library, loop),
        capture_output=True,
        text=True,
        timeout=120,
        # A loop in debug mode reports which steps were slow.
        env=outside_dev_mode(),
    )
    assert done.returncode == 0, done.stderr
    assert [without_ports(line) for line in done.stdout.splitlines()] == SHOWN[name]
    assert "never" not in done.stderr and "pending" not in done.stderr


class Service:
    """The service, run by a server in a process of its own."""

    def __init__(self, library: str, loop: str) -> None:
        self.process = subprocess.Popen(
            command("service", library, loop),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # uvicorn ends its process by the signal, and nothing is flushed then.
            env={**outside_dev_mode(), "PYTHONUNBUFFERED": "1"},
        )
        self.url = self.process.stdout.readline().strip()

    def ask(self, *jobs: str) -> list[int]:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            return [client.post(f"/{job}").status_code for job in jobs]

    def end(self) -> tuple[list[str], str]:
        out, err = self.process.communicate(timeout=60)
        return out.splitlines(), err

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("loop", RUN_ON)
@pytest.mark.parametrize(
    "run", ["aionursery.run(main())", "anyio.run(main)", "asyncio.run(main())"]
)
def test_a_program_runs_on_the_loop_that_is_named(run, loop, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import aionursery, anyio, asyncio\n"
        "async def main():\n    print(type(asyncio.get_running_loop()).__module__)\n" + run
    )
    runner = [sys.executable, str(HERE / "run_on.py"), loop, str(program)]
    done = subprocess.run(runner, capture_output=True, text=True, timeout=60)
    assert done.stdout.partition(".")[0].strip() == loop, done.stderr


@by_signals
@pytest.mark.parametrize("loop", RUN_ON)
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_service_ends_its_jobs_after_sigterm(library, loop):
    with Service(library, loop) as service:
        assert service.ask("a", "b", "c", "d") == [202] * 4
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == ([f"{job} is done" for job in "abcd"], "")
        assert service.process.returncode == -signal.SIGTERM


@by_signals
@pytest.mark.parametrize("loop", RUN_ON)
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_service_ends_by_itself_when_a_job_fails(library, loop):
    with Service(library, loop) as service:
        assert service.ask("bad", "good") == [202] * 2
        _, errors = service.end()
        assert "RuntimeError: a bad job" in errors


def program_lines():
    spec = importlib.util.spec_from_file_location(
        "program_lines", HERE.parent / "tools" / "program_lines.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_the_programs_is_what_the_tool_counts():
    tool = program_lines()
    page = tool.PAGE.read_text()
    assert tool.table() in page.partition(tool.BEGIN)[2].partition(tool.END)[0]
    files = {path.stem for path in PROGRAMS.glob("*.py")} - {"loopback"}
    assert files == {f"{name}_{library}" for name in tool.TITLES for library in LIBRARIES}


def test_no_program_is_longer_than_anyio_s_and_four_are_shorter_by_a_third():
    counts = program_lines().count()
    assert all(ours <= min(anyio, asyncio) for ours, anyio, asyncio in counts.values())
    assert sum(ours * 3 <= anyio * 2 for ours, anyio, _ in counts.values()) >= 4


def test_the_tool_counts_code_and_nothing_else(tmp_path):
    source = '"""Docs\nof two lines."""\n\n# A comment.\nx = (\n    1,  # one\n\n    2,\n)\n'
    source += 'y = """text\nof two lines"""\n\n\ndef f():\n    """Docs."""\n    return x\n'
    (tmp_path / "program.py").write_text(source)
    assert program_lines().lines_of(tmp_path / "program.py") == 8
