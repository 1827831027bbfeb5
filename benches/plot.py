"""Owns the picture of a result: horizontal bars, one small panel a row. Must never measure.

    python benches/plot.py results/cpython-3.13.json docs/images/benchmarks

The ground is transparent and every colour is of middle lightness, so that the same file is read
well on a light page and on a dark one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

INK = "#7d8590"
ACCENT = "#e8590c"
PEER = "#8c959f"
FLOOR = "#2f9e77"
PANELS = (  # row, metric, title
    ("at_once", "wall", "child returns at once"),
    ("sleep0", "wall", "child with one sleep(0)"),
    ("sleep", "cpu", "child with one sleep(0.01), CPU"),
    ("event", "wall", "child waits for an event"),
    ("timeout", "wall", "timeout entered and left"),
    ("cancel", "wall", "cancel and join a blocked child"),
    ("one_child", "wall", "nursery with one child"),
    ("memory_event", "counted", "memory of a blocked child"),
)
NAMES = {
    "ours": "aionursery",
    "taskgroup": "asyncio.TaskGroup",
    "gather": "asyncio.gather",
    "anyio": "anyio",
    "trio": "trio",
    "floor": "floor (coro.send)",
}


class Bar(NamedTuple):
    name: str
    value: float
    label: str
    colour: str = PEER


class Panel(NamedTuple):
    title: str
    bars: Sequence[Bar]


def draw(result: dict[str, Any], path: Path, loop: str | None = None) -> list[Path]:
    """Writes `path`.svg and `path`.png; gives both back."""
    loop = loop or next(iter(result["lines"]))
    lines = {(line["row"], line["metric"]): line for line in result["lines"][loop]}
    panels = [
        Panel(title, bars(lines[row, metric]))
        for row, metric, title in PANELS
        if (row, metric) in lines and bars(lines[row, metric])
    ]
    if not panels:
        raise SystemExit("nothing to draw: none of the drawn rows was measured")
    return picture(panels, _caption(result, loop), path)


def picture(panels: Sequence[Panel], caption: str, path: Path) -> list[Path]:
    """Writes the panels, two abreast, as `path`.svg and `path`.png; gives both back."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {
        "font.size": 11,
        "font.family": "sans-serif",
        "svg.fonttype": "path",
        "svg.hashsalt": "aionursery",  # the same figures give the same file
        "text.color": INK,
        "axes.labelcolor": INK,
        "ytick.color": INK,
    }
    with pyplot.rc_context(style):
        rows = (len(panels) + 1) // 2
        across = min(2, len(panels))
        tallest = max(len(panel.bars) for panel in panels)
        height = (0.8 + 0.25 * tallest) * rows + 0.9
        figure, grid = pyplot.subplots(rows, across, figsize=(6 * across, height), squeeze=False)
        axes = list(grid.flat)
        for panel, axis in zip(panels, axes, strict=False):
            _draw_panel(axis, panel)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        figure.text(0.5, 0.012, caption, ha="center", fontsize=10, color=INK)
        figure.tight_layout(rect=(0, 0.035, 1, 1), h_pad=1.6, w_pad=2.5)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = []
        for suffix in (".svg", ".png"):
            target = path.with_name(path.name + suffix)
            metadata = {"Date": None} if suffix == ".svg" else None
            figure.savefig(target, transparent=True, dpi=150, metadata=metadata)
            written.append(target)
        pyplot.close(figure)
    return written


def bars(line: dict[str, Any]) -> list[Bar]:
    return [
        _bar(line, key, content["median"])
        for key in NAMES
        if isinstance(content := line["cells"].get(key), dict)
    ]


def _bar(line: dict[str, Any], key: str, value: float) -> Bar:
    label = f"{_figure(value)} {line['unit']}"
    if key in line["times"] and key != "floor":
        label += f"  ({line['times'][key]['median']:.1f} times)"
    return Bar(NAMES[key], value, label, {"ours": ACCENT, "floor": FLOOR}.get(key, PEER))


def _draw_panel(axis: Any, panel: Panel) -> None:
    for place, bar in enumerate(panel.bars):
        axis.barh(place, bar.value, height=0.72, color=bar.colour)
        mine = bar.colour == ACCENT
        axis.text(bar.value, place, f" {bar.label}", va="center", color=ACCENT if mine else INK)
    axis.set_yticks(range(len(panel.bars)), [bar.name for bar in panel.bars])
    for tick, bar in zip(axis.get_yticklabels(), panel.bars, strict=True):
        mine = bar.colour == ACCENT
        tick.set_fontweight("bold" if mine else "normal")
        tick.set_color(ACCENT if mine else INK)
    axis.invert_yaxis()
    axis.set_xlim(0, max(bar.value for bar in panel.bars) * 1.5)  # room for the labels
    axis.set_xticks([])
    axis.tick_params(left=False)
    for side in axis.spines.values():
        side.set_visible(False)
    axis.set_title(panel.title, loc="left", fontsize=12, fontweight="bold", color=INK)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _caption(result: dict[str, Any], loop: str) -> str:
    machine = result["machine"]
    which = "asyncio's default loop" if loop == "asyncio" else loop
    return (
        f"Shorter is better; times: how many times ours. {machine['python']}, {which}, "
        f"{machine['cpu']}; 1000 children a nursery."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("path", type=Path, help="without .svg and .png")
    parser.add_argument("--loop", help="the first one measured, if not given")
    args = parser.parse_args()
    for path in draw(json.loads(args.result.read_text()), args.path, args.loop):
        print(path)


if __name__ == "__main__":
    main()
