"""Counts the CPU time a request of what is written for anyio, served to wrk over loopback.

    python benches/anyio/served.py [--rows middleware_1,streaming] [--loops asyncio,uvloop]

uvicorn serves each application twice, on anyio's own backend and on our engine, in two processes
that stand beside each other; wrk asks one and then the other, again and again, and what a server
has used meanwhile, by the kernel's count, is divided by the answers. Other work on the machine
makes a request cost more CPU, and never less, so the table has the least of the rounds, and the
file that --json names has all. Owns the processes and the table. Needs wrk (Debian: apt install
wrk), Linux and the group `anyio` of pyproject.toml. It must never count a run in which an answer
was an error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from machine import describe
from rows import APPLICATIONS
from run import ENGINES, LOOPS, TITLES

#: Seconds for a server to come up.
START = 30
CONNECTIONS = 8


def serve(row: str, loop: str, engine: str, port: int) -> None:
    """One process: a server, until it is told to end."""
    import uvicorn

    factory = loop
    if engine == "ours":
        factory = "aionursery.anyio:new_event_loop"
        if loop == "asyncio":
            # It is for a machine without uvloop.
            sys.modules["uvloop"] = None  # type: ignore[assignment]
    app, _ = APPLICATIONS[row]()
    options = {"log_level": "error", "access_log": False, "lifespan": "off"}
    uvicorn.run(app, host="127.0.0.1", port=port, loop=factory, http="h11", **options)


class Server:
    """A server in a process of its own."""

    def __init__(self, row: str, loop: str, engine: str) -> None:
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            port = chosen.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        command = [sys.executable, __file__, "--serve", row, loop, engine, str(port)]
        self.process = subprocess.Popen(command, env=os.environ | {"PYTHONHASHSEED": "0"})
        expected = APPLICATIONS[row]()[1]
        for _ in range(START * 20):
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url, timeout=5) as got:
                if got.read() != expected:
                    raise SystemExit(f"{' '.join(command)} answers wrongly")
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"{' '.join(command)} did not come up")

    def used(self) -> float:
        """The seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def a_request(self, seconds: int) -> float:
        """Have wrk ask for so long; return the seconds of CPU an answer."""
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", self.url]
        before = self.used()
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        used = self.used() - before
        found = re.search(r"(\d+) requests in", said)
        if not found or "Non-2xx" in said or "Socket errors" in said:
            raise SystemExit(f"{' '.join(command)} said:\n{said}")
        return used / int(found.group(1))

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(START) not in {0, -signal.SIGTERM}:
            raise SystemExit(f"a server ended with {self.process.returncode}")


@contextlib.contextmanager
def both(row: str, loop: str) -> Iterator[list[Server]]:
    servers: list[Server] = []
    try:
        servers += [Server(row, loop, engine) for engine in ENGINES]
        yield servers
        for server in servers:
            server.end()
    finally:
        for server in servers:
            server.process.kill()
            server.process.wait()


def count(row: str, loop: str, seconds: int, rounds: int) -> list[list[float]]:
    """The seconds of CPU an answer in each round: of anyio's own backend, and of our engine."""
    with both(row, loop) as servers:
        for server in servers:
            server.a_request(1)
        found = [[server.a_request(seconds) for server in servers] for _ in range(rounds)]
    return [list(column) for column in zip(*found, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(APPLICATIONS))
    parser.add_argument("--loops", default=",".join(LOOPS))
    parser.add_argument("--seconds", type=int, default=1, help="whole ones, as wrk has it")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", type=Path, help="where the counts go, too")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("this needs wrk (Debian: apt install wrk)")
    rows, loops = args.rows.split(","), args.loops.split(",")
    heads = [f"{loop}: {name}" for loop in loops for name in ("anyio's own", "ours", "less")]
    print(f"| microseconds of CPU a request | {' | '.join(heads)} |\n|--|" + "--:|" * len(heads))
    counts = {}
    for row in rows:
        cells = []
        for loop in loops:
            counts[f"{row} {loop}"] = found = count(row, loop, args.seconds, args.rounds)
            stock, ours = (min(column) for column in found)
            cells += [f"{stock * 1e6:.0f}", f"{ours * 1e6:.0f}", f"{stock / ours:.2f}"]
        print(f"| {TITLES[row]} | {' | '.join(cells)} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"machine": describe(), "counts": counts}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:5], int(sys.argv[5]))
    else:
        main()
