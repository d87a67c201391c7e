"""Which images are meant, and in which order: one set of filters for the gallery, the API and the commands."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Any

import django_filters
from django import forms
from django.db.models import Q
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.text import format_lazy

from classifier.models import ModelVersion
from predictions.labelmap import UNSURE, LabelMap
from predictions.models import LABEL_LENGTH, ImagePrediction, ImagePredictionQuerySet, Status
from predictions.ordering import along_order

# Each ends with a column that is unique, so that neighbours and pages are unambiguous.
ORDERS = {"-id": ("-id",), "id": ("id",), "-confidence": ("-confidence", "-id"), "confidence": ("confidence", "id")}
FEW = 5000  # that a search finds
# So many images that pass a filter are sorted; more are met soon enough on the way.
COMMON = 10_000
# In every time zone these are days that a datetime can hold.
EARLIEST, LATEST = date.min + timedelta(days=1), date.max - timedelta(days=1)


def suggesting(what: str = "", *, into: str = "labels") -> dict[str, Any]:
    """Return the attributes of an input that suggests labels while one types, in the page's datalist with that id.

    Which labels, predictions.views.labels says: `filter`, `raw`, or those that an image may be given.
    """
    return {
        "list": into,
        "maxlength": LABEL_LENGTH,
        "autocomplete": "off",
        "hx-get": format_lazy("{}?{}", reverse_lazy("labels"), what) if what else reverse_lazy("labels"),
        "hx-trigger": "input changed delay:150ms",
        "hx-target": f"#{into}",
        "hx-sync": "this:replace",
    }


class ProbabilityFilter(django_filters.Filter):
    """A number from 0 to 1; NaN and infinities are none."""

    field_class = forms.FloatField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, min_value=0, max_value=1, widget=forms.NumberInput({"step": "any"}), **kwargs)


class PredictionFilter(django_filters.FilterSet):
    """Filters and orders, as a query string has them. What is invalid is told by `errors`, and left out of `qs`."""

    q = django_filters.CharFilter(method="search", label="Search", max_length=100, help_text="File name or label.")
    label = django_filters.CharFilter(
        method="shown",
        label="Label",
        max_length=LABEL_LENGTH,
        widget=forms.TextInput(suggesting("filter")),
        help_text=f"The label that is shown, exactly; “{UNSURE}” finds what the label map has no sure answer for.",
    )
    raw_label = django_filters.CharFilter(
        "top_prediction",
        label="Before the label map",
        max_length=LABEL_LENGTH,
        widget=forms.TextInput(suggesting("raw")),
        help_text="The top_prediction, exactly: the model's own label, whatever it is shown as.",
    )
    status = django_filters.ChoiceFilter(choices=Status.choices, label="Status", empty_label="Any")
    min_confidence = ProbabilityFilter(
        "confidence", "gte", label="Confidence from", help_text="From 0 to 1; at least so much."
    )
    max_confidence = ProbabilityFilter("confidence", "lte", label="to", help_text="From 0 to 1; at most so much.")
    corrected = django_filters.ChoiceFilter(
        method="only_corrected",
        label="Corrected",
        empty_label="Any",
        choices=[("true", "Corrected"), ("false", "Not corrected")],
        help_text="Whether a person has said what it shows.",
    )
    model_version = django_filters.ChoiceFilter(
        method="answered_by", label="Model", empty_label="Any", help_text="That gave the newest answer."
    )
    since = django_filters.DateFilter(
        method="uploaded",
        label="Uploaded from",
        widget=forms.DateInput({"type": "date"}),
        help_text="The day included.",
    )
    until = django_filters.DateFilter(
        method="uploaded", label="until", widget=forms.DateInput({"type": "date"}), help_text="The day included."
    )
    ordering = django_filters.ChoiceFilter(
        method="order",
        label="Order",
        empty_label=None,
        choices=[("-id", "Newest"), ("id", "Oldest"), ("-confidence", "Surest"), ("confidence", "Least sure")],
        help_text="By confidence, images without one are left out.",
    )

    _found_few = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filters["model_version"].extra["choices"] = lambda: [(name, name) for name in self._versions]

    @cached_property
    def _versions(self) -> dict[str, ModelVersion]:
        """Return the versions by their names, read once: to be chosen from, and to check what was chosen."""
        return {version.name: version for version in ModelVersion.objects.all()}

    def filter_queryset(self, queryset: Any) -> Any:
        """Return the rows in their order, a page of which is found soon."""
        rows = super().filter_queryset(queryset)
        return rows if self._found_few else along_order(rows, COMMON)

    @property
    def _is_by_confidence(self) -> bool:
        return "confidence" in (self._valid().get("ordering") or "")

    @cached_property
    def asked(self) -> set[str]:
        """Return the names of the filters that are made use of."""
        return {name for name, value in self._valid().items() if value not in ("", None)}

    @property
    def is_filtering(self) -> bool:
        """Return whether anything is asked for beside an order."""
        return bool(self.asked - {"ordering"})

    def neighbours(self, prediction: ImagePrediction) -> tuple[ImagePrediction | None, ImagePrediction | None]:
        """Return the images before and behind this one in the filtered view."""
        order = ORDERS[self._valid().get("ordering") or "-id"]
        values = [getattr(prediction, column.removeprefix("-")) for column in order]
        if None in values:
            return None, None  # an image without confidence is not in a view ordered by it
        rows = self.qs.only("pk")
        behind = rows.filter(beyond(order, values, forward=True)).first()
        before = rows.reverse().filter(beyond(order, values, forward=False)).first()
        return before, behind

    def search(self, rows: ImagePredictionQuerySet, name: str, words: str) -> ImagePredictionQuerySet:
        """Keep those whose file name or label contains the words, in any case: the label shown or the model's own."""
        text = Q(filename__icontains=words) | Q(top_prediction__icontains=words) | LabelMap.current().search(words)
        if self._is_by_confidence:
            # If few are found, those are sorted. Otherwise all would be looked up, one by one, in the order's index.
            few = list(ImagePrediction.objects.order_by().filter(text).values_list("pk", flat=True)[: FEW + 1])
            if len(few) <= FEW:
                self._found_few = True
                return rows.filter(pk__in=few)
        return rows.filter(text)

    def shown(self, rows: ImagePredictionQuerySet, name: str, label: str) -> ImagePredictionQuerySet:
        """Keep those that show a label."""
        return rows.filter(LabelMap.current().find(label))

    def answered_by(self, rows: ImagePredictionQuerySet, name: str, value: str) -> ImagePredictionQuerySet:
        """Keep those whose newest answer is that of the version of this name."""
        return rows.filter(model_version=self._versions[value])

    def only_corrected(self, rows: ImagePredictionQuerySet, name: str, corrected: str) -> ImagePredictionQuerySet:
        """Keep those that a person has corrected, or those that nobody has."""
        return rows.filter(corrected_at__isnull=corrected == "false")

    def uploaded(self, rows: ImagePredictionQuerySet, name: str, day: Any) -> ImagePredictionQuerySet:
        """Keep those from a day on, or until its end, of the server's time zone."""
        lookup, moment = {"since": ("gte", time.min), "until": ("lte", time.max)}[name]
        day = min(max(day, EARLIEST), LATEST)
        return rows.filter(**{f"created_at__{lookup}": timezone.make_aware(datetime.combine(day, moment))})

    def order(self, rows: ImagePredictionQuerySet, name: str, ordering: str) -> ImagePredictionQuerySet:
        """Sort; by confidence, those that have none are left out."""
        if "confidence" in ordering:
            rows = rows.filter(confidence__isnull=False)
        return rows.order_by(*ORDERS[ordering])

    def _valid(self) -> dict[str, Any]:
        self.is_valid()
        return getattr(self.form, "cleaned_data", {})


def beyond(order: tuple[str, ...], values: list[Any], *, forward: bool) -> Q:
    """Return the condition of coming behind, or before, a row that has these values in the columns of an order."""
    columns = [(column.removeprefix("-"), "lt" if column.startswith("-") == forward else "gt") for column in order]
    condition, equal = Q(pk__in=[]), Q()
    for (name, direction), value in zip(columns, values, strict=True):
        condition |= equal & Q(**{f"{name}__{direction}": value})
        equal &= Q(**{name: value})
    # It follows from the rest, but lets databases begin there, and not where the order does.
    name, direction = columns[0]
    return condition & Q(**{f"{name}__{direction}e": values[0]})
