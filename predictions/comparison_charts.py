"""From the figures of a comparison to the coordinates of its pictures, as charts.py does for the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from predictions.charts import (
    ABOVE,
    HEIGHT,
    SCALE,
    ColumnChart,
    Table,
    Target,
    confidence_axis,
    lines,
    side_by_side,
)
from predictions.comparison import BINS, Comparison, Side
from predictions.scales import Mark, em, percent, top_of

HUNDRED = 100  # percent


@dataclass(frozen=True)
class Interval:
    """A share and its confidence interval on a line from 0 to 100 percent; empty if nothing is known."""

    at: str
    low: str
    width: str
    words: str


@dataclass(frozen=True)
class SideCharts:
    """The pictures of one version."""

    side: Side
    accuracy: Interval
    confidence: ColumnChart
    reliability: ColumnChart


def figures(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return what can be said in numbers, as rows: a heading, and a cell for each version or one for both."""
    sides, test = (comparison.a, comparison.b), comparison.mcnemar
    agreeing = f"{comparison.agreeing:,} of {comparison.images:,}"
    if comparison.images:
        agreeing += f" ({comparison.agreeing / comparison.images:.1%})"
    method = "exact" if test.is_exact else "chi-squared, corrected for continuity"
    return [
        ("Same label", agreeing),
        ("Right on corrected photos", *(f"{side.accuracy.right:,} of {side.accuracy.total:,}" for side in sides)),
        ("Accuracy, 95% confidence", *map(_share, sides)),
        ("Right where the other is wrong", f"{test.only_a:,}", f"{test.only_b:,}"),
        ("McNemar's test", f"{test} ({method})"),
        ("Calibration error (ECE)", *("-" if side.ece is None else f"{side.ece:.3f}" for side in sides)),
        ("Time for a photo, median", *(f"{side.latency.median:.1f} ms" if side.latency else "-" for side in sides)),
        ("95% of them within", *(f"{side.latency.p95:.1f} ms" if side.latency else "-" for side in sides)),
    ]


def _share(side: Side) -> str:
    if not side.accuracy.total:
        return "-"
    low, high = side.accuracy.interval
    return f"{side.accuracy.share:.1%} ({low:.1%} to {high:.1%})"


def draw(comparison: Comparison) -> list[SideCharts]:
    """Lay everything out; both versions' columns have the same scale."""
    sides = (comparison.a, comparison.b)
    top = top_of(max(max(side.histogram) for side in sides))
    return [SideCharts(side, _accuracy(side), _histogram(side.histogram, top), _reliability(side)) for side in sides]


def _accuracy(side: Side) -> Interval:
    if not side.accuracy.total:
        return Interval("", "", "", "No corrected photo has answers of both.")
    low, high = side.accuracy.interval
    return Interval(percent(100 * side.accuracy.share), percent(100 * low), percent(100 * (high - low)), _share(side))


def _histogram(counts: Sequence[int], top: int) -> ColumnChart:
    names = [_range(number / BINS) for number in range(BINS)]
    total = sum(counts)
    most = max(range(BINS), key=lambda number: counts[number])
    summary = f"{total:,} answers; most have a confidence of {names[most]}: {counts[most]:,}." if total else "None yet."
    columns = side_by_side([(f"{name}: {count:,}", count, 0) for name, count in zip(names, counts, strict=True)], top)
    rows: list[tuple[str, ...]] = [(name, f"{count:,}") for name, count in zip(names, counts, strict=True)]
    return ColumnChart(columns, lines(top), confidence_axis(), Table(summary, ("Confidence", "Answers"), rows))


def _reliability(side: Side) -> ColumnChart:
    """Draw how right the version is where it is so sure, as columns; as lines, how right if well calibrated."""
    bins, pitch = side.reliability, (100 - SCALE) / BINS
    columns = side_by_side(
        [
            (f"{_range(item.low)}: right about {item.accuracy:.0%} of {item.count:,}", 0, round(100 * item.accuracy))
            for item in bins
        ],
        HUNDRED,
    )
    targets = [
        Target(percent(SCALE + pitch * at), percent(SCALE + pitch * (at + 1)), em(_height(item.confidence)))
        for at, item in enumerate(bins)
        if item.count
    ]
    rows: list[tuple[str, ...]] = [
        (
            _range(item.low),
            f"{item.count:,}",
            *((f"{item.confidence:.0%}", f"{item.accuracy:.0%}") if item.count else ("-", "-")),
        )
        for item in bins
    ]
    summary = "None yet." if side.ece is None else f"Expected calibration error: {side.ece:.3f}."
    table = Table(summary, ("Confidence", "Photos", "Mean confidence", "Right"), rows)
    scale = [Mark(em(_height(share)), f"{share:.0%}", "end") for share in (0, 0.5, 1)]
    return ColumnChart(columns, scale, confidence_axis(), table, targets=targets)


def _height(share: float) -> float:
    """Return where a share from 0 to 1 stands, in em from the top."""
    return ABOVE + HEIGHT * (1 - share)


def _range(low: float) -> str:
    return f"{low:.0%} to {low + 1 / BINS:.0%}"
