"""Owns the figures of the table: medians, ratios and verdicts. Must never print or measure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from statistics_of import Ratio, Summary, paired_ratio, summary
from workloads import ALL_ROWS, BY_KEY, Line, Row, Target

SUBJECT = {
    "nursery": "ours",
    "programs": "our_task",
    "shelf": "shelf_ours",
}  # which contender the targets are for
SUBJECT_OF_EAGER = {"eager": "our_eager"}


@dataclass(frozen=True)
class Verdict:
    text: str
    reached: bool


@dataclass
class TableLine:
    row: str
    section: str
    title: str
    unit: str
    metric: str
    cells: dict[str, Summary | str]  # a summary in the line's unit, or why there is none
    times: dict[str, Ratio]  # how many times ours goes into the other
    verdicts: list[Verdict] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def lines(samples: dict[str, dict[str, dict[str, Any]]], loop: str) -> list[TableLine]:
    return [
        _line(row, line, samples, loop)
        for row in ALL_ROWS
        if row.key in samples
        for line in row.lines
    ]


def _line(row: Row, line: Line, samples: dict[str, Any], loop: str) -> TableLine:
    cells: dict[str, Summary | str] = {}
    for contender, cell in samples[row.key].items():
        values = cell.get(line.metric)
        if "note" in cell or not values:  # what fails once has failed
            cells[contender] = cell.get("note", "-")
        else:
            cells[contender] = summary([value / line.divide_by for value in values])
    subject = SUBJECT[row.section]
    times = {}
    for contender in cells:
        asked = SUBJECT_OF_EAGER.get(contender, subject)
        if contender != asked:
            ratio = _ratio(samples, row.key, contender, row.key, asked, line.metric)
            if ratio is not None:
                times[contender] = ratio
    verdicts = [_verdict(target, line, row, samples, loop, times) for target in line.targets]
    found = TableLine(row.key, row.section, line.title, line.unit, line.metric, cells, times)
    found.verdicts = [verdict for verdict in verdicts if verdict is not None]
    return found


def _ratio(
    samples: dict[str, Any], row: str, over: str, base_row: str, under: str, metric: str
) -> Ratio | None:
    upper = samples.get(row, {}).get(over, {})
    lower = samples.get(base_row, {}).get(under, {})
    if "note" in upper or "note" in lower or metric not in upper or metric not in lower:
        return None
    return paired_ratio(upper[metric], lower[metric])


def _verdict(
    target: Target,
    line: Line,
    row: Row,
    samples: dict[str, Any],
    loop: str,
    times: dict[str, Ratio],
) -> Verdict | None:
    limit = target.limit(loop)
    if limit is None:
        return None
    if target.against == "itself":
        if line.base is None or loop == "uvloop":
            return None
        own = _ratio(samples, row.key, "ours", line.base, "ours", line.metric)
        if own is None:
            return None
        base = BY_KEY[line.base].size
        text = f"{own.median:.2f} times {base}'s, at most {limit:g}"
        return Verdict(text, own.median <= limit)
    ratio = times.get(target.against)
    if ratio is None:
        return None
    if target.kind == "not slower":
        text = f"{target.against} takes {ratio.median:.2f} times as much "
        text += f"({ratio.low:.2f} to {ratio.high:.2f}); not to be slower"
        return Verdict(text, ratio.median >= limit)
    if target.kind == "at most":
        text = f"{1 / ratio.median:.2f} times {target.against}, at most {limit:g}"
        return Verdict(text, 1 / ratio.median <= limit)
    text = f"{target.against} takes {ratio.median:.2f} times as much, at least {limit:g}"
    return Verdict(text, ratio.median >= limit)
