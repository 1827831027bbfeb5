"""Checks a list of servers at once, and writes a report whatever happens.

    python examples/healthcheck.py examples/targets.txt
    python examples/healthcheck.py urls.txt --timeout 5 --concurrency 200 --report report.json

A line of the list is a URL, or `local BEHAVIOUR COUNT`: targets that this program serves itself, on
loopback. Each check has a deadline; Ctrl-C stops the checks, and the report of what was done is
written all the same, behind a shield.

Exit status: 0 if every target did what was expected (a local one, what its name says; a URL, an
answer below 400), 1 if one did not, 2 if the list cannot be used, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

import aionursery
from aionursery import MultiError, Nursery

#: What a check of a local target ends with.
EXPECTED = {
    "fast": "ok",
    "slow": "ok",
    "redirect": "ok",
    "error": "HTTP 500",
    "drop": "disconnected",
    "hang": "timeout",
}


@dataclass
class Target:
    name: str
    url: str
    expected: str = "ok"


@dataclass
class Result:
    name: str
    url: str
    expected: str
    outcome: str
    seconds: float

    @property
    def as_expected(self) -> bool:
        return self.outcome == self.expected


class CheckFailed(Exception):
    """A target did not do what was expected."""


class BadList(Exception):
    """The list of targets cannot be used."""


def read_targets(text: str) -> tuple[list[tuple[str, int]], list[str]]:
    """Return the local behaviours with their counts, and the URLs."""
    local: list[tuple[str, int]] = []
    urls: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split() if not line.startswith("http") else [line.strip()]
        if not words:
            continue
        if words[0] == "local":
            if len(words) != 3 or words[1] not in EXPECTED or not words[2].isdecimal():
                raise BadList(f"line {number}: 'local' wants one of {', '.join(EXPECTED)}, a count")
            local.append((words[1], int(words[2])))
        elif words[0].startswith(("http://", "https://")) and len(words) == 1:
            urls.append(words[0])
        else:
            raise BadList(f"line {number}: neither a URL nor a local target: {line.strip()!r}")
    if not local and not urls:
        raise BadList("there is no target in it")
    return local, urls


# The server for local targets


async def answer(request: web.Request) -> web.StreamResponse:
    match request.match_info["behaviour"]:
        case "slow":
            await asyncio.sleep(0.2)
        case "error":
            return web.Response(status=500, text="this target is broken on purpose")
        case "redirect":
            raise web.HTTPFound("/fast/0")
        case "drop":
            assert request.transport is not None
            request.transport.abort()
        case "hang":
            await asyncio.sleep(3600)
    return web.Response(text="fine")


@contextlib.asynccontextmanager
async def local_server() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{behaviour}/{number}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        # Also after Ctrl-C: the shield gives it the time that it needs, but no more.
        with aionursery.move_on_after(5, shield=True):
            await runner.cleanup()


# The checks


async def outcome_of(session: aiohttp.ClientSession, url: str, timeout: float) -> str:
    """Ask one server, and say in a word what came of it."""
    try:
        with aionursery.fail_after(timeout):
            async with session.get(url) as response:
                await response.read()
                return "ok" if response.status < 400 else f"HTTP {response.status}"
    except TimeoutError:
        return "timeout"
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError):
        return "disconnected"
    except (aiohttp.ClientError, ValueError) as exc:
        return f"{type(exc).__name__}: {exc}"


class Progress:
    """How far the checks are: one line that is drawn again on a terminal, a few lines elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.live = sys.stderr.isatty()

    def line(self) -> str:
        done = sum(self.outcomes.values())
        parts = [f"{count} {outcome}" for outcome, count in self.outcomes.most_common(6)]
        return f"{done:4}/{self.total} checked: {', '.join(parts) or 'nothing yet'}"

    async def show(self) -> None:
        """Draw until cancelled."""
        while True:
            if self.live:
                print(f"\r\x1b[K{self.line()}", end="", file=sys.stderr, flush=True)
            else:
                print(self.line(), file=sys.stderr, flush=True)
            await aionursery.sleep(0.1 if self.live else 1)

    def close(self) -> None:
        print(f"\r\x1b[K{self.line()}" if self.live else self.line(), file=sys.stderr, flush=True)


async def check_all(
    targets: list[Target],
    session: aiohttp.ClientSession,
    timeout: float,
    concurrency: int,
    note: Callable[[Result], None],
) -> None:
    """Check every target; raise what was not expected, all of it together.

    The children's errors do not cancel their siblings (``on_error="collect"``): one broken server
    says nothing of the others.
    """
    free = aionursery.Semaphore(concurrency)

    async def check(target: Target) -> None:
        async with free:
            began = time.perf_counter()
            outcome = await outcome_of(session, target.url, timeout)
            seconds = round(time.perf_counter() - began, 3)
        result = Result(target.name, target.url, target.expected, outcome, seconds)
        note(result)
        if not result.as_expected:
            raise CheckFailed(f"{target.name}: {outcome}, expected {target.expected}")

    async with Nursery(on_error="collect") as nursery:
        for target in targets:
            nursery.start_soon(check, target, name=target.name)


def write_report(path: Path, results: list[Result], total: int) -> None:
    report = {
        "checked": len(results),
        "of": total,
        "as_expected": sum(result.as_expected for result in results),
        "results": [asdict(result) for result in sorted(results, key=lambda r: r.name)],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")


def show_errors(group: BaseExceptionGroup, indent: str = "  ") -> None:
    """Print a tree of errors, the equal ones of a group counted."""
    leaves: collections.Counter[str] = collections.Counter()
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            print(f"{indent}+ {exc.message} ({len(exc.exceptions)})")
            show_errors(exc, indent + "| ")
        else:
            leaves[f"{type(exc).__name__}: {exc}"] += 1
    for text, count in leaves.most_common(20):
        print(f"{indent}+ {text}" + (f" ({count} times)" if count > 1 else ""))
    if len(leaves) > 20:
        print(f"{indent}+ ... and {len(leaves) - 20} more")


def summarise(results: list[Result], total: int, seconds: float) -> None:
    by_outcome = collections.Counter(result.outcome for result in results)
    times = sorted(result.seconds for result in results)
    print(f"\n{len(results)} of {total} targets checked in {seconds:.2f} seconds")
    for outcome, count in by_outcome.most_common():
        print(f"  {count:5}  {outcome}")
    if times:
        middle, last = times[len(times) // 2], times[-1]
        print(f"  a check took {middle:.3f} seconds in the middle, {last:.3f} at most")


async def run(options: argparse.Namespace) -> int:
    local, urls = read_targets(options.text)
    results: list[Result] = []
    status = 0
    began = time.perf_counter()
    async with contextlib.AsyncExitStack() as stack:
        targets = [Target(url, url) for url in urls]
        if local:
            base = await stack.enter_async_context(local_server())
            targets += [
                Target(f"{kind}-{n}", f"{base}/{kind}/{n}", EXPECTED[kind])
                for kind, count in local
                for n in range(count)
            ]
        # No limit of the client's own: how many run at once is said in one place.
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        progress = Progress(len(targets))

        def note(result: Result) -> None:
            results.append(result)
            progress.outcomes[result.outcome] += 1

        failed: MultiError[Exception] | None = None
        try:
            async with Nursery() as nursery:
                display = nursery.start_soon(progress.show)
                await check_all(targets, session, options.timeout, options.concurrency, note)
                display.cancel()
        except MultiError as errors:
            status = 1
            failed = errors
        except asyncio.CancelledError:
            progress.close()
            print("stopped; writing what was done so far", file=sys.stderr)
            raise
        finally:
            # The report is written even if the program is stopped just now.
            with aionursery.shield():
                await asyncio.to_thread(write_report, options.report, results, len(targets))
        progress.close()
    summarise(results, len(targets), time.perf_counter() - began)
    if failed:
        print("\nNot as expected:")
        show_errors(failed)
    else:
        print("\nEvery target did what was expected of it.")
    print(f"The report is in {options.report}")
    return status


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Check a list of servers at once.",
        epilog="exit status: 0 all as expected, 1 not all, 2 bad list, 130 stopped by Ctrl-C",
    )
    parser.add_argument("targets", help="a file with one target a line, or - for standard input")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds for a check (3)")
    parser.add_argument("--concurrency", type=int, default=100, help="checks at once (100)")
    parser.add_argument("--report", type=Path, default=Path("healthcheck-report.json"))
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    options = parser.parse_args()
    loop_factory = None
    if options.loop == "uvloop":
        import uvloop

        loop_factory = uvloop.new_event_loop
    try:
        if options.targets == "-":
            options.text = sys.stdin.read()
        else:
            options.text = Path(options.targets).read_text()
        return aionursery.run(run(options), loop_factory=loop_factory)
    except (OSError, BadList) as exc:
        print(f"{options.targets}: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
