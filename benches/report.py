"""Owns the table that people read, in a terminal or as Markdown. Must never measure or judge.

Run by itself it prints a result again: `python benches/report.py results/x.json [--markdown]`.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

from statistics_of import EXPLAINED

TITLE_WIDTH, LEAST_WIDTH = 50, 11
COLUMNS = {
    "nursery": {
        "ours": "ours",
        "ours_run": "ours under run()",
        "ours_plain": "ours, asyncio's waits",
        "taskgroup": "TaskGroup",
        "taskgroup_eager": "TaskGroup eager",
        "gather": "gather",
        "anyio": "anyio",
        "trio": "trio own loop",
        "floor": "floor coro.send",
        "floor_held": "floor, all made first",
        "floor_context": "floor, made first, a context each",
    },
    "programs": {
        "our_task": "our task_factory",
        "task": "asyncio's task",
        "our_eager": "our eager factory",
        "eager": "asyncio's eager",
    },
    "shelf": {
        "shelf_ours": "ours",
        "shelf_asyncio": "asyncio",
        "shelf_anyio": "anyio",
        "shelf_trio": "trio own loop",
        "shelf_aiochannel": "aiochannel",
        "shelf_aiometer": "aiometer",
    },
}
HEADINGS = {
    "nursery": "Nurseries",
    "programs": "Programs without a nursery, our task factory on and off",
    "shelf": "Channels, map, race and threads",
}


def figure(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def cell(content: Any) -> str:
    if isinstance(content, str):
        return content.split(":", 1)[0]  # the reason is told once, below the table
    if content is None:
        return ""
    spread = f" ±{content['spread'] * 100:.0f}%" if content["samples"] > 1 else ""
    return figure(content["median"]) + spread


def ratio(line: dict[str, Any], key: str) -> str:
    """ "4.0x": takes four times ours. "1/2.5": ours takes two and a half times that."""
    if key not in line["times"]:
        return ""
    times = line["times"][key]["median"]
    if key.startswith("floor"):
        return f"1/{1 / times:.2f}"
    return f"{times:.2f}x" if times < 10 else f"{times:.1f}x" if times < 100 else f"{times:,.0f}x"


def terminal(result: dict[str, Any]) -> str:
    parts = [heading(result)]
    for loop, lines in result["lines"].items():
        for section, columns in COLUMNS.items():
            chosen = [line for line in lines if line["section"] == section]
            shown = {k: t for k, t in columns.items() if any(k in line["cells"] for line in chosen)}
            if not chosen:
                continue
            parts.append(f"\n== {HEADINGS[section]} · {loop} loop ==")
            width = _column_width(chosen, shown)
            parts.append(_terminal_head(shown, width))
            for line in chosen:
                parts += _terminal_line(line, shown, width)
        parts += notes(lines)
    parts += ["", *textwrap.wrap(EXPLAINED, 100), tally(result)]
    return "\n".join(parts)


def _column_width(lines: list[dict[str, Any]], shown: dict[str, str]) -> int:
    cells = [len(cell(content)) for line in lines for content in line["cells"].values()]
    words = [len(word) for title in shown.values() for word in title.split()]
    return max(LEAST_WIDTH, *(length + 1 for length in cells + words))


def _terminal_head(shown: dict[str, str], width: int) -> str:
    wrapped = [textwrap.wrap(title, width - 1) for title in shown.values()]
    height = max(len(title) for title in wrapped)
    rows = []
    for number in range(height):
        cells = [title[number] if number < len(title) else "" for title in wrapped]
        rows.append(" " * TITLE_WIDTH + "".join(f"{text:>{width}}" for text in cells))
    return "\n".join(rows)


def _terminal_line(line: dict[str, Any], shown: dict[str, str], width: int) -> list[str]:
    title = f"{line['title']}, {line['unit']}"
    if len(title) >= TITLE_WIDTH:
        parts = textwrap.wrap(title, TITLE_WIDTH - 1)
        before, title = parts[:-1], parts[-1]
    else:
        before = []
    cells = "".join(f"{cell(line['cells'].get(key)):>{width}}" for key in shown)
    found = [*before, f"{title:<{TITLE_WIDTH}}{cells}"]
    if line["times"]:
        times = "".join(f"{ratio(line, key):>{width}}" for key in shown)
        found.append(f"{'   times ours (1/n: ours is n times the floor)':<{TITLE_WIDTH}}{times}")
    for verdict in line["verdicts"]:
        mark = "reached" if verdict["reached"] else "MISSED "
        found.append(f"   {mark}  {verdict['text']}")
    return found


def markdown(result: dict[str, Any]) -> str:
    parts = [heading(result)]
    for loop, lines in result["lines"].items():
        for section, columns in COLUMNS.items():
            chosen = [line for line in lines if line["section"] == section]
            shown = {k: t for k, t in columns.items() if any(k in line["cells"] for line in chosen)}
            if not chosen:
                continue
            parts += ["", f"### {HEADINGS[section]}, {loop} loop", ""]
            parts.append("| | unit | " + " | ".join(shown.values()) + " | asked for |")
            parts.append("|--|--|" + "--:|" * len(shown) + "--|")
            parts += [_markdown_line(line, shown) for line in chosen]
    return "\n".join(parts) + "\n"


def _markdown_line(line: dict[str, Any], shown: dict[str, str]) -> str:
    cells = []
    for key in shown:
        text = cell(line["cells"].get(key))
        if times := ratio(line, key):
            text += f" ({times})"
        cells.append(text)
    asked = "; ".join(
        ("reached: " if verdict["reached"] else "**missed**: ") + verdict["text"]
        for verdict in line["verdicts"]
    )
    return f"| {line['title']} | {line['unit']} | " + " | ".join(cells) + f" | {asked} |"


def heading(result: dict[str, Any]) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v)
    settings = result["settings"]
    return (
        f"{machine['python']} on {machine['system']}, {machine['cpus']} CPUs, {machine['cpu']}; "
        f"{machine['compiler']}, {machine['libc']}\n{versions}\n"
        f"{settings['rounds']} rounds in each of {settings['processes']} processes a loop, "
        f"contenders alternating, samples of {settings['shortest']:g} ms or more after a warm-up, "
        "gc enabled and collected before each"
    )


def notes(lines: list[dict[str, Any]]) -> list[str]:
    """Why a cell is empty, each reason once."""
    reasons: dict[str, list[str]] = {}
    for line in lines:
        for contender, content in line["cells"].items():
            if isinstance(content, str) and content != "-":
                where = reasons.setdefault(f"{contender}: {content}", [])
                if line["row"] not in where:
                    where.append(line["row"])
    return [f"{reason} ({', '.join(rows)})" for reason, rows in reasons.items()]


def tally(result: dict[str, Any]) -> str:
    verdicts = [v for lines in result["lines"].values() for ln in lines for v in ln["verdicts"]]
    reached = sum(verdict["reached"] for verdict in verdicts)
    return f"targets: {reached} reached, {len(verdicts) - reached} missed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    result = json.loads(args.result.read_text())
    print(markdown(result) if args.markdown else terminal(result))


if __name__ == "__main__":
    main()
