"""A date hierarchy that asks indexes, not rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import pairwise

from django.contrib.admin.views.main import ChangeList
from django.db.models import Exists
from django.utils import formats, timezone

from predictions.models import ImagePrediction

YEARS = 30  # shown at most: a camera's or server's clock may have stood anywhere


class Calendar:
    """Years, months and days with photos in them, whatever else is filtered by.

    Django's own truncates the date of every row, which takes seconds for a million; this asks an index whether there is
    one in each month or day.
    """

    def __init__(self, changelist: ChangeList) -> None:
        self.changelist = changelist
        self.back: dict[str, str] | None = None
        self.choices = list(self._choices())

    def _choices(self) -> Iterator[dict[str, str]]:
        year, month, day = (self._asked(unit) for unit in ("year", "month", "day"))
        if year and month and day:
            self._go_back(date(year, month, 1), "YEAR_MONTH_FORMAT", year=year, month=month)
            yield {"title": formats.date_format(date(year, month, day), "MONTH_DAY_FORMAT")}
        elif year and month:
            self._go_back(date(year, 1, 1), "Y", year=year)
            yield from self._days(year, month)
        elif year:
            self._go_back(None, "")
            yield from self._months(year)
        else:
            yield from self._years()

    def _asked(self, unit: str) -> int | None:
        value = self.changelist.params.get(f"created_at__{unit}")
        return int(value) if value else None

    def _years(self) -> Iterator[dict[str, str]]:
        moments = ImagePrediction.objects.order_by("created_at").values_list("created_at", flat=True)
        oldest, newest = moments.first(), moments.last()
        if not oldest or not newest:
            return
        first, last = timezone.localtime(oldest).year, timezone.localtime(newest).year
        if first == last:
            yield from self._months(first)
            return
        for year in range(max(first, last - YEARS + 1), last + 1):
            yield self._link(date(year, 1, 1), "Y", year=year)

    def _months(self, year: int) -> Iterator[dict[str, str]]:
        months = [date(year, month, 1) for month in range(1, 13)]
        for month in _with_photos([*months, date(year + 1, 1, 1)]):
            yield self._link(month, "YEAR_MONTH_FORMAT", year=year, month=month.month)

    def _days(self, year: int, month: int) -> Iterator[dict[str, str]]:
        first = date(year, month, 1)
        following = (first + timedelta(days=31)).replace(day=1)
        for day in _with_photos([first + timedelta(days=number) for number in range((following - first).days + 1)]):
            yield self._link(day, "MONTH_DAY_FORMAT", year=year, month=month, day=day.day)

    def _link(self, at: date, style: str, **lookups: int) -> dict[str, str]:
        query = {f"created_at__{unit}": value for unit, value in lookups.items()}
        return {
            "title": formats.date_format(at, style),
            "link": self.changelist.get_query_string(query, ["created_at__"]),
        }

    def _go_back(self, at: date | None, style: str, **lookups: int) -> None:
        everything = {"title": "All dates", "link": self.changelist.get_query_string({}, ["created_at__"])}
        self.back = self._link(at, style, **lookups) if at else everything


def _with_photos(days: list[date]) -> list[date]:
    """Return those of the days, but the last, that have photos between them and the next; one query for all."""
    zone = timezone.get_current_timezone()
    edges = [datetime.combine(day, time.min, zone) for day in days]
    rows = ImagePrediction.objects.order_by()
    between = [rows.filter(created_at__gte=start, created_at__lt=end) for start, end in pairwise(edges)]
    probes = {f"period_{number}": Exists(photos) for number, photos in enumerate(between)}
    found = rows.annotate(**probes).values_list(*probes)[:1]
    return [day for day, some in zip(days, found[0], strict=False) if some] if found else []
