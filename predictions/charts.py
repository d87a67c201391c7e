"""From figures to the coordinates of pictures. The templates beside `dashboard.html` draw them.

Lengths are strings, because a template would write 1.5 in the reader's language. Across they are shares of the width,
so that a picture fits any screen without shrinking its text; down they are in em, so that it grows with the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from predictions.dashboard import Bin, Figures, Queue, Ranking
from predictions.scales import Mark, age_axis, compact, em, percent, place, short, top_of, words

# Of column charts: the share of the width that the scale takes, and em above the highest column and of it.
SCALE, ABOVE, HEIGHT = 13.0, 1.5, 11.0
# Of a row of a bar chart, in em: label, bar and gap.
ROW = 3.0
# No part that is not empty is lower or narrower than this, in em and in percent: one among a million is still seen.
LEAST = 0.15


@dataclass(frozen=True)
class Column:
    """One column: `height` from `y` down, and on top of it a part of another kind. `hint` says it in words."""

    x: str
    width: str
    y: str
    height: str
    upper_y: str
    upper_height: str
    hint: str


@dataclass(frozen=True)
class Table:
    """What a picture says, for those who do not see it. The first cell of a row names it."""

    summary: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Target:
    """A lying line at `y`, from `x1` to `x2`: where a column should end."""

    x1: str
    x2: str
    y: str


@dataclass(frozen=True)
class ColumnChart:
    """Columns over an axis, and the lines of the scale behind them."""

    columns: list[Column]
    scale: list[Mark]
    axis: list[Mark]
    table: Table
    floor: str = f"{ABOVE + HEIGHT}em"
    targets: Sequence[Target] = ()


@dataclass(frozen=True)
class Bar:
    """One lying bar, its label (shortened, the table has it whole) above it. `y` is the top of its row."""

    y: str
    width: str
    label: str
    count: str


@dataclass(frozen=True)
class BarChart:
    """Lying bars, the longest first."""

    bars: list[Bar]
    height: str
    table: Table


@dataclass(frozen=True)
class AgeChart:
    """A point on a logarithmic scale from one second to ten days; `at` is empty if nothing waits."""

    at: str
    words: str
    axis: list[Mark]


@dataclass(frozen=True)
class Charts:
    """All pictures of the dashboard."""

    uploads: ColumnChart
    classifications: ColumnChart
    queue: BarChart
    age: AgeChart
    confidence: ColumnChart
    labels: BarChart
    mistakes: BarChart


def draw(figures: Figures) -> Charts:
    """Lay everything out. Uploads and classifications share a scale, so that they can be compared."""
    days, top = figures.days, top_of(max(max(day.uploads, day.classifications) for day in figures.days))
    return Charts(
        uploads=_per_day([(day.date, day.uploads) for day in days], top, "Uploads"),
        classifications=_per_day([(day.date, day.classifications) for day in days], top, "Classifications"),
        queue=_queue(figures.queue),
        age=_age(figures.queue.oldest),
        confidence=_confidence(figures.confidence),
        labels=_ranking(figures.labels, "Photos"),
        mistakes=_ranking(figures.mistakes, "Corrections"),
    )


def _per_day(counts: Sequence[tuple[date, int]], top: int, noun: str) -> ColumnChart:
    days = [(f"{day.day} {day:%b}", count) for day, count in counts]
    best = max(days, key=lambda day: day[1])
    total = sum(count for _, count in days)
    summary = (
        f"{total:,} in {len(days)} days; most on {best[0]}: {best[1]:,}." if total else f"None in {len(days)} days."
    )
    columns = side_by_side([(f"{day}: {count:,}", count, 0) for day, count in days], top)
    pitch = (100 - SCALE) / len(days)
    middle = [Mark(percent(SCALE + pitch * (at + 0.5)), days[at][0]) for at in range(0, len(days) - 5, 10)]
    rows: list[tuple[str, ...]] = [(f"{day.day} {day:%b %Y}", f"{count:,}") for day, count in counts]
    axis = [*middle, Mark("100%", days[-1][0], "end")]
    return ColumnChart(columns, lines(top), axis, Table(summary, ("Day", noun), rows))


def _confidence(bins: Sequence[Bin]) -> ColumnChart:
    named = [(f"{item.low:.0%} to {item.high:.0%}", item.model, item.people) for item in bins]
    top = top_of(max(model + people for _, model, people in named))
    hints = [(f"{name}: {model:,} by the model, {people:,} by people", model, people) for name, model, people in named]
    model, people = sum(item.model for item in bins), sum(item.people for item in bins)
    summary = f"{model:,} photos labelled by the model, {people:,} by people." if model + people else "None yet."
    rows: list[tuple[str, ...]] = [(name, f"{model:,}", f"{people:,}") for name, model, people in named]
    table = Table(summary, ("Confidence", "The model", "People"), rows)
    return ColumnChart(side_by_side(hints, top), lines(top), confidence_axis(), table)


def confidence_axis() -> list[Mark]:
    """Return the texts below columns of confidences."""
    return [Mark(percent(SCALE), "0%"), Mark(percent(SCALE + (100 - SCALE) / 2), "50%"), Mark("100%", "100%", "end")]


def side_by_side(parts: Sequence[tuple[str, int, int]], top: int) -> list[Column]:
    """Place columns of (hint, lower part, upper part) side by side, a quarter of the room between them."""
    pitch = (100 - SCALE) / len(parts)
    columns = []
    for number, (hint, lower, upper) in enumerate(parts):
        height, upper_height = (max(LEAST, HEIGHT * count / top) if count else 0.0 for count in (lower, upper))
        y = ABOVE + HEIGHT - height
        columns.append(
            Column(
                x=percent(SCALE + pitch * (number + 0.125)),
                width=percent(pitch * 0.75),
                y=em(y),
                height=em(height),
                upper_y=em(y - upper_height),
                upper_height=em(upper_height),
                hint=hint,
            )
        )
    return columns


def lines(top: int) -> list[Mark]:
    """Return lines at nothing, half and all of a scale."""
    return [Mark(em(ABOVE + HEIGHT * (1 - share / 2)), compact(top * share // 2), "end") for share in range(3)]


def _ranking(ranking: Ranking, noun: str) -> BarChart:
    counts = ranking.counts
    summary = "None yet."
    if counts:
        label, count = counts[0]
        rest = f"The {len(counts)} most frequent labels" if ranking.more else f"{len(counts):,} labels"
        summary = f"{rest if len(counts) > 1 else '1 label'}; most often {label}: {count:,}."
    return _bars(counts, Table(summary, ("Label", noun), [(label, f"{count:,}") for label, count in counts]))


def _queue(queue: Queue) -> BarChart:
    counts = [("Waiting for a worker", queue.waiting), ("Being classified", queue.processing)]
    rows: list[tuple[str, ...]] = [(name, f"{count:,}") for name, count in counts]
    rows.append(("First in the queue has waited", "none waits" if queue.oldest is None else words(queue.oldest)))
    summary = f"{queue.waiting:,} wait for a worker, {queue.processing:,} are being classified."
    return _bars(counts, Table(summary, ("State", "Photos"), rows))


def _bars(counts: Sequence[tuple[str, int]], table: Table) -> BarChart:
    most = max((count for _, count in counts), default=0) or 1
    bars = [
        Bar(em(ROW * row), percent(max(LEAST, 100 * count / most) if count else 0), short(label), f"{count:,}")
        for row, (label, count) in enumerate(counts)
    ]
    return BarChart(bars, em(ROW * len(bars)), table)


def _age(oldest: timedelta | None) -> AgeChart:
    if oldest is None:
        return AgeChart("", "No photo waits.", age_axis())
    return AgeChart(percent(place(oldest)), f"The first in the queue has waited for {words(oldest)}.", age_axis())
