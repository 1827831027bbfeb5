"""Owns the statistics: medians, spreads, paired ratios; must never know what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles

EXPLAINED = (
    "median over all rounds; ± is half the distance between the quartiles, in per cent of the "
    "median; a ratio is the median of the ratios within each round"
)


@dataclass(frozen=True)
class Summary:
    median: float
    spread: float  # half the interquartile range, as a share of the median
    samples: int


def summary(samples: list[float]) -> Summary:
    middle = median(samples)
    if len(samples) < 2 or middle == 0:
        return Summary(middle, 0.0, len(samples))
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return Summary(middle, (high - low) / 2 / middle, len(samples))


@dataclass(frozen=True)
class Ratio:
    low: float  # quartiles
    median: float
    high: float


def paired_ratio(upper: list[float], lower: list[float]) -> Ratio | None:
    """The contenders alternate, so the i-th samples saw the same noise: divide those first."""
    pairs = [u / d for u, d in zip(upper, lower, strict=False) if d > 0]
    if not pairs:
        return None
    if len(pairs) == 1:
        return Ratio(pairs[0], pairs[0], pairs[0])
    return Ratio(*quantiles(pairs, n=4, method="inclusive"))
