"""Scales of pictures, and how their numbers are written."""

import math
from dataclasses import dataclass
from datetime import timedelta

LONGEST_LABEL = 40
TEN_DAYS = timedelta(days=10)
AGE_MARKS = {
    "1 s": timedelta(seconds=1),
    "1 min": timedelta(minutes=1),
    "1 h": timedelta(hours=1),
    "1 day": timedelta(1),
}


@dataclass(frozen=True)
class Mark:
    """A text at a place of an axis; `anchor` is SVG's text-anchor."""

    at: str
    text: str
    anchor: str = "middle"


def age_axis() -> list[Mark]:
    """Return the texts below a scale of ages."""
    return [Mark(percent(place(age)), text, "middle" if place(age) else "start") for text, age in AGE_MARKS.items()]


def place(age: timedelta) -> float:
    """Return where an age stands between one second and ten days, in percent of the width."""
    seconds = min(max(age.total_seconds(), 1), TEN_DAYS.total_seconds())
    return 100 * math.log(seconds) / math.log(TEN_DAYS.total_seconds())


def words(age: timedelta) -> str:
    """Say a time in its largest unit of which it has two or more."""
    seconds = int(age.total_seconds())
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:,} {unit}"
    return f"{seconds} s"


def top_of(most: int) -> int:
    """Return the round number that a scale ends at: even, as its half is written too, and never 0."""
    size = int(10 ** (len(str(most)) - 1))
    return next(step * size for step in (2, 4, 6, 8, 10) if step * size >= most)


def compact(count: int) -> str:
    """Write a round number in few characters: 500, 20k, 3M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count // size}{unit}"
    return str(count)


def short(label: str) -> str:
    """Cut a label that is longer than a picture is wide."""
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def percent(share: float) -> str:
    """Write a share, 0 to 100, as SVG reads it."""
    return f"{share:.2f}%"


def em(length: float) -> str:
    """Write a length as SVG reads it."""
    return f"{length:.2f}em"
