"""The figures behind the dashboard: eight aggregate queries, ten with a label map, however many images there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from predictions.labelmap import UNSURE, LabelMap, LabelRule
from predictions.models import Correction, ImagePrediction, ImagePredictionQuerySet, Status

DAYS = 30
TOP = 20
BINS = 10


@dataclass(frozen=True)
class Day:
    """Images of one day in the service's time zone. An image is classified on the day of its newest answer only."""

    date: date
    uploads: int
    classifications: int


@dataclass(frozen=True)
class Queue:
    """Images without an answer now: `waiting` for a worker, and `processing` by one.

    `oldest` is for how long the one waits that joined the queue first; None if none waits.
    """

    waiting: int
    processing: int
    oldest: timedelta | None


@dataclass(frozen=True)
class Ranking:
    """Labels with their numbers, the largest first, and whether there are more labels than these."""

    counts: list[tuple[str, int]]
    more: bool


@dataclass(frozen=True)
class Bin:
    """Images whose confidence, from 0 to 1, is at least `low` and under `high`; in the last bin it may be 1.

    Apart: how sure the model was, and how sure people were of their corrections.
    """

    low: float
    high: float
    model: int
    people: int


@dataclass(frozen=True)
class Figures:
    """All that the dashboard shows, as it was at one moment."""

    at: datetime
    days: list[Day]
    queue: Queue
    labels: Ranking
    confidence: list[Bin]
    mistakes: Ranking


def figures() -> Figures:
    """Ask the database for everything."""
    now = timezone.now()
    return Figures(now, _days(now), _queue(), _labels(), _confidence(), _mistakes())


def _days(now: datetime) -> list[Day]:
    """Return the last DAYS days, the oldest first; today is the last. A day without images is there too."""
    today, zone = timezone.localdate(now), timezone.get_current_timezone()
    dates = [today - timedelta(days=DAYS - 1 - number) for number in range(DAYS)]
    # Tomorrow's too: what a clock ahead has dated there is not of today.
    midnights = [datetime.combine(day, time.min, zone) for day in [*dates, today + timedelta(days=1)]]
    recent = {name: Q(**{f"{name}__gte": midnights[0]}) for name in ("created_at", "classified_at")}
    uploads, classifications = (
        _between(ImagePrediction.objects.filter(since), name, midnights) for name, since in recent.items()
    )
    return [Day(*counts) for counts in zip(dates, uploads[:-1], classifications[:-1], strict=True)]


def _queue() -> Queue:
    images = ImagePrediction.objects.all()
    counts = images.count_without_labels()
    return Queue(counts[Status.PENDING], counts[Status.PROCESSING], images.longest_wait())


def _labels() -> Ranking:
    """Count the labels that images show now, whoever gave them."""
    labelled, rules = ImagePrediction.objects.filter(top_prediction__isnull=False), LabelMap.current()
    if not rules.rules:
        return _ranking(labelled, "top_prediction")
    # Each by an index: telling people's words from the model's row by row would read all of the table.
    mapped = _count(labelled, "top_prediction")
    people = _count(
        labelled.filter(corrected_at__isnull=False, top_prediction__in=sorted(rules.rules)), "top_prediction"
    )
    unsure = _count(labelled.filter(rules.unsure()), "top_prediction")
    shown = Counter(people) + Counter({UNSURE: sum(unsure.values())})
    for label, count in mapped.items():
        shown[rules.name(label)] += count - people.get(label, 0) - unsure.get(label, 0)
    ranked = sorted(
        ((label, count) for label, count in shown.items() if count > 0), key=lambda item: (-item[1], item[0])
    )
    return Ranking(ranked[:TOP], len(ranked) > TOP)


def _confidence() -> list[Bin]:
    """Count in BINS bins of equal width.

    All images and the corrected ones: each of these two is answered from an index alone or a small part of the table,
    where telling the model's from people's row by row would read all of it.
    """
    edges = [number / BINS for number in range(BINS)]
    everything = _between(ImagePrediction.objects.all(), "confidence", edges)
    people = _between(ImagePrediction.objects.filter(corrected_at__isnull=False), "confidence", edges)
    return [
        Bin(low, (number + 1) / BINS, max(everything[number] - people[number], 0), people[number])
        for number, low in enumerate(edges)
    ]


def _between(rows: ImagePredictionQuerySet, column: str, edges: Sequence[float | datetime]) -> list[int]:
    """Count the rows from each edge to below the next; from the last edge on they all count.

    By comparison, which is exact at the edges, needs no arithmetic that databases do differently, and takes SQLite less
    than half the time of truncating dates, which calls Python for every row.
    """
    names = [f"from_{number}" for number in range(len(edges))]
    filters = [Q(**{f"{column}__gte": edge}) for edge in edges]
    counted = rows.aggregate(**{name: Count("pk", filter=above) for name, above in zip(names, filters, strict=True)})
    counts = [counted[name] for name in names]
    return [count - above for count, above in zip(counts, [*counts[1:], 0], strict=True)]


def _mistakes() -> Ranking:
    """Count the model's labels that people replaced by others, and did not take back.

    A correction of a correction says nothing about the model; nor does one made before the model had answered, or one
    that says by the label map what the model did.
    """
    earlier = Correction.objects.filter(prediction=OuterRef("prediction"), pk__lt=OuterRef("pk"))
    standing = earlier.filter(Q(undone_at=None) | Q(undone_at__gt=OuterRef("created_at")))
    wrong = Correction.objects.filter(~Exists(standing), undone_at=None).exclude(label_before="")
    same = LabelRule.objects.filter(label=OuterRef("label_before"), shown_as=OuterRef("label_after"))
    return _ranking(wrong.exclude(label_before=F("label_after")).exclude(Exists(same)), "label_before")


def _ranking(rows: QuerySet[Any], label: str) -> Ranking:
    """Return the TOP most frequent values of a column; equals in the order of their names."""
    counts = rows.order_by().values(label).annotate(count=Count("pk")).order_by("-count", label)
    found = list(counts.values_list(label, "count")[: TOP + 1])
    return Ranking(found[:TOP], len(found) > TOP)


def _count(rows: QuerySet[Any], label: str) -> dict[str, int]:
    """Count the rows of each value of a column."""
    return dict(rows.order_by().values_list(label).annotate(Count("pk")))
