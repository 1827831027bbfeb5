"""What nurseries do, to look at: ``python -m aionursery.demo``.

Checks a few hundred servers, which it serves itself on loopback. Some are slow, some are broken,
some never answer; one group gives up at its first failure, one is shut down while it works. With
the library rich and a terminal, a live tree shows it; anywhere else, plain lines do. It must never
need anything that the wheel does not bring.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import importlib.util
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import aionursery
from aionursery import MultiError, Nursery

#: Seconds that a check may take: few for a server that never answers.
PATIENCE = {"silent": 1.0}
USUAL_PATIENCE = 30.0
#: Seconds that a cancelled worker may clean up.
CLEANUP = 1.5


class Failed(Exception):
    """A server has answered that it cannot."""


@dataclass
class Group:
    """A nursery of the demo, and how its children have fared."""

    name: str
    total: int
    expected: dict[str, int]
    note: str = "not started"
    open: int = 0
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    #: Until when, on the loop's clock, cancelled children may clean up.
    budget: float | None = None
    over: bool = False

    @property
    def done(self) -> int:
        return self.outcomes.total()


class Story:
    """All that has happened; the displays read it, and nothing else changes it but the checks."""

    def __init__(self, scale: float) -> None:
        def times(count: int) -> int:
            return max(1, round(count * scale))

        fast, slow, broken, silent = times(160), times(60), times(8), times(4)
        self.groups = {
            group.name: group
            for group in [
                Group("fast", fast, {"ok": fast}),
                Group("slow", slow, {"ok": slow}),
                Group("broken", broken, {"failed": broken}),
                Group("silent", silent, {"timed out": silent}),
                Group("all or none", 6, {"failed": 1, "cancelled": 5}),
                Group("workers", 3, {"cleaned up": 2, "cut off": 1}),
            ]
        }
        self.lines: list[str] = []
        self.began = aionursery.current_time()

    @property
    def elapsed(self) -> float:
        return aionursery.current_time() - self.began

    @property
    def total(self) -> int:
        return sum(group.total for group in self.groups.values())

    @property
    def outcomes(self) -> collections.Counter[str]:
        return sum((group.outcomes for group in self.groups.values()), collections.Counter())

    @property
    def as_expected(self) -> bool:
        return all(dict(group.outcomes) == group.expected for group in self.groups.values())

    def tell(self, line: str) -> None:
        self.lines.append(line)

    @contextlib.contextmanager
    def running(self, name: str, note: str) -> Iterator[Group]:
        """A group while its nursery is open."""
        group = self.groups[name]
        group.note = note
        try:
            yield group
        finally:
            group.over, group.budget = True, None
            counts = ", ".join(f"{count} {what}" for what, count in group.outcomes.items())
            group.note = counts
            self.tell(f"nursery {name!r} is closed: {counts}")


# The servers


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one line as it asks to be answered."""
    try:
        kind = (await reader.readline()).decode().strip()
        if kind == "silent":
            await reader.read()
        if kind == "slow":
            await aionursery.sleep(0.3)
        writer.write(b"500\n" if kind == "broken" else b"200\n")
        await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[int]:
    """Give the port of a server on loopback."""
    serving = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    try:
        yield serving.sockets[0].getsockname()[1]
    finally:
        serving.close()


async def ask(port: int, kind: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{kind}\n".encode())
        if await reader.readline() != b"200\n":
            raise Failed(f"a {kind} server answered 500")
    finally:
        writer.close()


# The groups, each a nursery


async def check_each(story: Story, port: int, name: str) -> None:
    """Check servers that have nothing to do with each other: no failure cancels another check."""
    free = aionursery.Semaphore(40)
    seconds = PATIENCE.get(name, USUAL_PATIENCE)

    async def check() -> None:
        async with free:
            group.open += 1
            try:
                with aionursery.fail_after(seconds):
                    await ask(port, name)
                group.outcomes["ok"] += 1
            except TimeoutError:
                group.outcomes["timed out"] += 1
            except Failed:
                group.outcomes["failed"] += 1
                raise
            finally:
                group.open -= 1

    with story.running(name, f"fail_after({seconds:g}) each") as group:
        try:
            async with Nursery(on_error="collect") as nursery:
                for _ in range(group.total):
                    nursery.start_soon(check)
        except MultiError as errors:
            story.tell(f"{name}: {len(errors)} errors, none lost: {errors[0]}, ...")


async def all_or_none(story: Story, port: int) -> None:
    """Check servers that are of use together only: the first failure cancels the others."""

    async def check(number: int) -> None:
        group.open += 1
        try:
            await aionursery.sleep(0.5)
            await ask(port, "broken" if number == 3 else "silent")
        except aionursery.Cancelled as why:
            group.outcomes["cancelled"] += 1
            story.tell(f"all or none: check-{number} was cancelled ({why.source}): {why.reason}")
            raise
        except Failed:
            group.outcomes["failed"] += 1
            raise
        finally:
            group.open -= 1

    with story.running("all or none", "the first failure cancels") as group:
        try:
            async with Nursery() as nursery:
                for number in range(group.total):
                    nursery.start_soon(check, number, name=f"check-{number}")
        except MultiError as errors:
            story.tell(f"all or none: it raised {errors[0]!r}")


async def workers(story: Story) -> None:
    """Shut down what works for ever: each has a time to clean up, and is cut off after it."""

    async def work(seconds: float) -> None:
        group.open += 1
        try:
            await aionursery.sleep_forever()
        except aionursery.Cancelled as why:
            name = asyncio.current_task()
            assert name is not None
            story.tell(f"workers: {name.get_name()} was cancelled ({why.source}): {why.reason}")
            try:
                await aionursery.sleep(seconds)
                group.outcomes["cleaned up"] += 1
            except asyncio.CancelledError:
                group.outcomes["cut off"] += 1
                story.tell(f"workers: {name.get_name()} was cut off after {CLEANUP:g} s of cleanup")
                raise
            raise
        finally:
            group.open -= 1

    with story.running("workers", "run until told") as group:
        async with Nursery(cleanup=CLEANUP) as nursery:
            for name, seconds in (("quick", 0.2), ("thorough", 0.9), ("stuck", 3600)):
                nursery.start_soon(work, seconds, name=name)
            await aionursery.sleep(1)
            group.note = "shutting down"
            group.budget = aionursery.current_time() + CLEANUP
            nursery.cancel("the demo shuts it down")


async def everything(story: Story) -> None:
    """Open the nursery around all of them."""
    async with server() as port, Nursery() as nursery:
        for name in ("fast", "slow", "broken", "silent"):
            nursery.start_soon(check_each, story, port, name)
        nursery.start_soon(all_or_none, story, port)
        nursery.start_soon(workers, story)


# The displays


class Plain:
    """Lines, for what is no terminal."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.shown = 0

    async def show(self) -> None:
        """Print what is new, and each second how far it is, until cancelled."""
        second = 0
        while True:
            self.catch_up()
            if self.story.elapsed >= second:
                self.print(f"{self.story.outcomes.total()} of {self.story.total} are done")
                second += 1
            await aionursery.sleep(0.05)

    def print(self, line: str) -> None:
        print(f"{self.story.elapsed:5.2f} s  {line}", flush=True)

    def catch_up(self) -> None:
        for line in self.story.lines[self.shown :]:
            self.print(line)
        self.shown = len(self.story.lines)

    def close(self) -> None:
        self.catch_up()

    def say(self, text: str) -> None:
        print(text)


class Live:
    """A tree that is drawn again, with rich."""

    def __init__(self, story: Story, console: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self.story = story
        self.console = console or Console()
        self.ended = False
        self.live = RichLive(self.frame(), console=self.console, auto_refresh=False)
        self.live.start()

    def frame(self) -> Any:
        """Draw the story as it is now."""
        from rich.console import Group as Rows
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text
        from rich.tree import Tree

        story = self.story

        def line(text: str, style: str = "") -> Text:
            return Text(text, style=style, no_wrap=True, overflow="ellipsis")

        tree = Tree(line("nursery of the demo", "bold"))
        for group in story.groups.values():
            mark, style = ("●", "green") if group.over else ("◐", "yellow")
            branch = tree.add(line(f"{mark} {group.name}  {group.done}/{group.total}", style))
            if group.open:
                branch.add(line(f"{group.open} open, {group.note}"))
            else:
                branch.add(line(group.note, "dim"))
            if group.budget is not None:
                left = max(0.0, group.budget - aionursery.current_time())
                row = Table.grid(padding=(0, 1))
                bar = ProgressBar(total=CLEANUP, completed=left, width=10)
                row.add_row(bar, line(f"{left:.1f} of {CLEANUP:g} s cleanup", "magenta"))
                branch.add(row)
        done = story.outcomes.total()
        counts = "  ".join(f"{count} {what}" for what, count in story.outcomes.most_common())
        # In a grid of its own: a bar alone does not end its line.
        progress = Table.grid()
        width = max(10, min(self.console.width, 80))
        progress.add_row(ProgressBar(total=story.total, completed=done, width=width))
        return Rows(
            tree,
            progress,
            line(f"{done}/{story.total}  {story.elapsed:.1f} s"),
            Text(counts or "nothing is done yet"),
            *self.latest(6),
        )

    def latest(self, rows: int) -> list[Any]:
        """Return what has happened last, whole and wrapped, as much as these rows take."""
        from rich.text import Text

        told: list[Text] = []
        for line in reversed(() if self.ended else self.story.lines):
            text = Text(line, style="dim")
            rows -= len(text.wrap(self.console, self.console.width))
            if rows < 0:
                break
            told.insert(0, text)
        return told

    async def show(self) -> None:
        """Draw until cancelled."""
        while True:
            self.live.update(self.frame(), refresh=True)
            await aionursery.sleep(0.08)

    def close(self) -> None:
        self.ended = True  # all that has happened comes below the tree
        self.live.update(self.frame(), refresh=True)
        self.live.stop()
        for told in self.story.lines:
            self.say(told)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)


def display(story: Story, plain: bool) -> Plain | Live:
    """Choose what the output can show."""
    if plain or not sys.stdout.isatty() or importlib.util.find_spec("rich") is None:
        return Plain(story)
    return Live(story)


async def run(scale: float, plain: bool) -> int:
    """Run the demo; return its exit status."""
    story = Story(scale)
    shown = display(story, plain)
    try:
        async with Nursery() as nursery:
            drawing = nursery.start_soon(shown.show)
            await everything(story)
            drawing.cancel()
    finally:
        shown.close()
    counts = ", ".join(f"{count} {what}" for what, count in story.outcomes.most_common())
    shown.say(f"{story.outcomes.total()} of {story.total} in {story.elapsed:.1f} s: {counts}")
    shown.say("Each did what was expected." if story.as_expected else "That was not expected!")
    return 0 if story.as_expected else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m aionursery.demo",
        description="Checks servers of its own, and shows what nurseries make of their failures.",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="times as many servers (1)")
    parser.add_argument("--plain", action="store_true", help="lines, even on a terminal")
    options = parser.parse_args()
    try:
        return aionursery.run(run(options.scale, options.plain))
    except KeyboardInterrupt:
        print("stopped; every task of the demo has ended")
        return 130


if __name__ == "__main__":
    sys.exit(main())
