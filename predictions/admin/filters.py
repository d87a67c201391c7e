"""The filters beside the lists. None of them reads all rows to find out what to offer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.forms import TextInput
from django.http import HttpRequest

from predictions.filters import suggesting
from predictions.labelmap import LabelMap
from predictions.models import Status

# From, and up to; 1 belongs to the last.
BANDS = ((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 0.9), (0.9, 1))


class LabelFilter(admin.SimpleListFilter):
    """One label, typed: a model knows thousands."""

    title = "label"
    parameter_name = "label"
    template = "admin/predictions/label_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("", "Any")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(LabelMap.current().find(self.value() or "")) if self.value() else queryset

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Yield what the form needs: what is typed, and the other parameters."""
        others = {name: value for name, value in changelist.params.items() if name != self.parameter_name}
        yield {
            "value": self.value() or "",
            "input": TextInput(suggesting("filter")).render("label", self.value(), {"id": "label-filter"}),
            "parameters": others.items(),
            "clear": changelist.get_query_string(remove=[self.parameter_name]),
        }


class StatusFilter(admin.SimpleListFilter):
    """How far photos are."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return Status.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=self.value()) if self.value() else queryset


class BandFilter(admin.SimpleListFilter):
    """How sure the label is; the least sure come first, unless the list is ordered otherwise."""

    title = "confidence"
    parameter_name = "band"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(str(number), f"{low:.0%} to {high:.0%}") for number, (low, high) in enumerate(BANDS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        bands = {str(number): band for number, band in enumerate(BANDS)}
        if self.value() not in bands:
            return queryset
        low, high = bands[str(self.value())]
        return queryset.filter(**{"confidence__gte": low, "confidence__lte" if high == 1 else "confidence__lt": high})


class _YesNoFilter(admin.SimpleListFilter):
    """Whether a column that may be null has a value."""

    column: str

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = {"yes": False, "no": True}.get(self.value() or "")
        return queryset if wanted is None else queryset.filter(**{f"{self.column}__isnull": wanted})


class CorrectedFilter(_YesNoFilter):
    """Whether a person's word stands."""

    title = "corrected"
    parameter_name = "corrected"
    column = "corrected_at"


class UndoneFilter(_YesNoFilter):
    """Whether a correction was taken back."""

    title = "undone"
    parameter_name = "undone"
    column = "undone_at"
