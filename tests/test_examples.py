"""Each example runs as a program, on both loops, and prints what it shows."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from .loop_kinds import LOOPS

EXAMPLES = Path(__file__).parent.parent / "examples"
#: What the examples have an option for.
RUN_ON = [name for name in LOOPS if name in ("asyncio", "uvloop")]

SHOWN = {
    "two_children": [
        "parent: both are started",
        "first: started",
        "second: started",
        "first: done",
        "second: done",
        "parent: both are done",
    ],
    "shielded_payment": [
        "payment: begun",
        "payment: done",
        "parent: ConnectionError('no signal')",
        "parent: the block has ended, and with it the payment",
    ],
    "results": ["done: 2, pending: 0", "foo's result", "bar's result"],
    "long_lived_child": ["reading 1", "reading 2", "reading 3", "the child is gone"],
    "with_timeout": ["child: cancelled", "parent: timed out, and nothing is left"],
}


def run(
    name: str, *args: str, text: str = "", options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, str(EXAMPLES / f"{name}.py"), *args]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("loop", RUN_ON)
@pytest.mark.parametrize("name", SHOWN)
def test_the_seed_s_example_prints_what_it_shows(name, loop):
    done = run(name, "--loop", loop, options=("-X", "dev"))
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (SHOWN[name], "", 0)


@pytest.mark.parametrize("loop", RUN_ON)
def test_the_health_check_finds_every_target_as_expected(tmp_path, loop):
    report = tmp_path / "report.json"
    targets = str(EXAMPLES / "targets.txt")
    done = run("healthcheck", targets, "--loop", loop, f"--report={report}", "--timeout=5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every target did what was expected of it." in done.stdout
    found = json.loads(report.read_text())
    assert found["checked"] == found["of"] == found["as_expected"] == 252
    outcomes = [result["outcome"] for result in found["results"]]
    assert outcomes.count("ok") == 230
    assert outcomes.count("HTTP 500") == 12
    assert outcomes.count("disconnected") == 6
    assert outcomes.count("timeout") == 4


def test_the_health_check_takes_any_list_of_urls_and_shows_the_tree_of_errors(tmp_path):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/good" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        report = tmp_path / "report.json"
        urls = f"{base}/good\n{base}/bad\n"
        done = run("healthcheck", "-", f"--report={report}", "--timeout=20", text=urls)
        server.shutdown()
    assert done.returncode == 1, done.stderr
    assert "Not as expected:" in done.stdout
    assert f"CheckFailed: {base}/bad: HTTP 404, expected ok" in done.stdout
    assert json.loads(report.read_text())["as_expected"] == 1


def test_the_health_check_says_what_is_wrong_with_a_list():
    done = run("healthcheck", "-", text="local nonsense 3\n")
    assert done.returncode == 2
    assert "line 1" in done.stderr
    assert "fast" in done.stderr


def test_the_health_check_writes_its_report_after_ctrl_c(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, str(EXAMPLES / "healthcheck.py"), "-", f"--report={report}"]
    with subprocess.Popen(
        [*command, "--timeout=600"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            process.stdin.write("local fast 20\nlocal hang 3\n")
            process.stdin.close()
            seen = ""
            end = time.monotonic() + 60
            while "20 ok" not in seen and time.monotonic() < end:
                seen += process.stderr.readline()
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(60) == 130, process.stderr.read()
        finally:
            process.kill()
    found = json.loads(report.read_text())
    assert (found["checked"], found["of"]) == (20, 23)
