"""What the pages' forms accept."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django import forms
from django.db.models import Q
from django.urls import reverse_lazy
from django.utils import timezone

from classifier.models import ModelVersion
from predictions.models import LABEL_LENGTH, ImagePrediction, ImagePredictionQuerySet, Status

# Name of an order -> its columns; the last is unique, so that neighbours and pages are unambiguous.
ORDERS = {
    "newest": ("-pk",),
    "oldest": ("pk",),
    "surest": ("-confidence", "-pk"),
    "unsurest": ("confidence", "pk"),
}


class FilterForm(forms.Form):
    """Which images the gallery shows, and in which order; its fields are the gallery's query string."""

    q = forms.CharField(label="Search", required=False, max_length=100)
    label = forms.CharField(
        required=False,
        max_length=LABEL_LENGTH,
        widget=forms.TextInput(
            {
                "list": "labels",
                "autocomplete": "off",
                "hx-get": reverse_lazy("labels"),
                "hx-trigger": "input changed delay:150ms",
                "hx-target": "#labels",
            }
        ),
    )
    status = forms.ChoiceField(choices=[("", "Any"), *Status.choices], required=False)
    confidence_min = forms.FloatField(label="Confidence from", min_value=0, max_value=1, required=False)
    confidence_max = forms.FloatField(label="to", min_value=0, max_value=1, required=False)
    corrected = forms.ChoiceField(choices=[("", "Any"), ("yes", "Corrected"), ("no", "Not corrected")], required=False)
    model_version = forms.ModelChoiceField(
        ModelVersion.objects, required=False, empty_label="Any", to_field_name="name", label="Model"
    )
    since = forms.DateField(label="Uploaded from", required=False, widget=forms.DateInput({"type": "date"}))
    until = forms.DateField(label="until", required=False, widget=forms.DateInput({"type": "date"}))
    order = forms.ChoiceField(
        required=False,
        choices=[("newest", "Newest"), ("oldest", "Oldest"), ("surest", "Surest"), ("unsurest", "Least sure")],
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("confidence_min", "confidence_max"):
            self.fields[name].widget.attrs["step"] = "any"

    @property
    def order_name(self) -> str:
        """Return the order asked for; newest first, if none or an unknown one was."""
        return str(self._valid().get("order") or "newest")

    @property
    def is_filtering(self) -> bool:
        """Return whether anything is asked for beside an order."""
        return any(value not in ("", None) for name, value in self._valid().items() if name != "order")

    def matching(self) -> ImagePredictionQuerySet:
        """Return the images that match every valid field, in the order asked for."""
        valid = self._valid()
        rows = ImagePrediction.objects.filter(*(Q(**condition) for condition in self._conditions(valid)))
        if query := valid.get("q"):
            rows = rows.filter(Q(filename__icontains=query) | Q(top_prediction__icontains=query))
        if self.order_name in {"surest", "unsurest"}:
            rows = rows.filter(confidence__isnull=False)
        return rows.order_by(*ORDERS[self.order_name])

    def neighbours(self, prediction: ImagePrediction) -> tuple[ImagePrediction | None, ImagePrediction | None]:
        """Return the images before and behind this one in the filtered view."""
        rows, order = self.matching().only("pk"), ORDERS[self.order_name]
        behind = rows.filter(_beyond(prediction, order, forward=True)).first()
        before = rows.reverse().filter(_beyond(prediction, order, forward=False)).first()
        return before, behind

    def _valid(self) -> dict[str, Any]:
        self.is_valid()
        return getattr(self, "cleaned_data", {})

    @staticmethod
    def _conditions(valid: dict[str, Any]) -> list[dict[str, Any]]:
        lookups = {
            "label": "top_prediction",
            "status": "status",
            "confidence_min": "confidence__gte",
            "confidence_max": "confidence__lte",
            "model_version": "model_version",
        }
        found = [{lookup: valid[name]} for name, lookup in lookups.items() if valid.get(name) not in ("", None)]
        if corrected := valid.get("corrected"):
            found.append({"corrected_at__isnull": corrected == "no"})
        for name, lookup, moment in (("since", "gte", time.min), ("until", "lte", time.max)):
            if day := valid.get(name):
                found.append({f"created_at__{lookup}": timezone.make_aware(datetime.combine(day, moment))})
        return found


def _beyond(row: ImagePrediction, order: tuple[str, ...], *, forward: bool) -> Q:
    """Return the condition of coming behind, or before, a row in an order."""
    condition, equal = Q(pk__in=[]), Q()
    for column in order:
        name = column.removeprefix("-")
        value = getattr(row, name)
        if value is None:
            return Q(pk__in=[])  # a row without confidence is not in a view ordered by it
        direction = "lt" if column.startswith("-") == forward else "gt"
        condition |= equal & Q(**{f"{name}__{direction}": value})
        equal &= Q(**{name: value})
    return condition


class BulkForm(forms.Form):
    """What is to be done with which images."""

    ACTIONS = ("correct", "reclassify", "delete")

    action = forms.ChoiceField(choices=[(name, name) for name in ACTIONS])
    label = forms.CharField(required=False, max_length=LABEL_LENGTH)
    ids = forms.TypedMultipleChoiceField(coerce=int)

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        # Ids are not looked up here: what is gone meanwhile is simply not there any more.
        chosen = [pk for pk in data.getlist("ids") if pk.isascii() and pk.isdigit()]
        self.fields["ids"].choices = [(pk, pk) for pk in chosen]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Require a label of a correction."""
        cleaned = super().clean() or {}
        if cleaned.get("action") == "correct" and not cleaned.get("label"):
            self.add_error("label", "Say which label is right.")
        return cleaned
