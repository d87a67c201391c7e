"""What can be done with the photos chosen in the list."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.db import transaction
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from predictions import services
from predictions.admin.lists import MOST
from predictions.admin.rows import ConfidenceInput, LabelInput
from predictions.datasets.exporting import csv_lines
from predictions.labelmap import validate_label
from predictions.models import LABEL_LENGTH, Correction, ImagePrediction, to_id

SHOWN = 12  # thumbnails on a page that asks


class LabelForm(forms.Form):
    """The label that is right, and how sure that is."""

    label = forms.CharField(
        max_length=LABEL_LENGTH, validators=[validate_label], widget=LabelInput({"autofocus": True})
    )
    confidence = forms.FloatField(min_value=0, max_value=1, initial=1, widget=ConfidenceInput)


@admin.action(description="Correct to a label…", permissions=["change"])
def correct(modeladmin: Any, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
    """Ask for the label once, then correct all."""
    ids = _chosen(request, queryset)
    form = LabelForm(request.POST if "confirmed" in request.POST else None)
    if ids and not form.is_valid():
        return _ask(modeladmin, request, ids, action="correct", title="Which label is right?", form=form)
    if ids:
        label, confidence = form.cleaned_data["label"], form.cleaned_data["confidence"]
        try:
            batch = services.correct(_rows(ids), label, confidence, by=request.user, source=Correction.Source.ADMIN)
        except ImagePrediction.DoesNotExist:
            messages.error(request, "Those photos are gone.")
        else:
            count, same = services.corrected(batch)
            sentence = f"{photos(count)} corrected to “{label}”.{had_it_before(same)}{gone(len(ids) - count)}"
            messages.success(request, undoable(sentence, batch))
    return None


@admin.action(description="Accept the model's label", permissions=["change"])
def accept(modeladmin: Any, request: HttpRequest, queryset: Any) -> None:
    """Record that the model is right; what it has not answered is passed over."""
    if not (ids := _chosen(request, queryset)):
        return
    try:
        batch = services.accept(_rows(ids), by=request.user, source=Correction.Source.ADMIN)
    except ImagePrediction.DoesNotExist:
        messages.error(request, "The model has not answered yet: there is no label to accept.")
    else:
        count, _ = services.corrected(batch)
        passed_over = f" {photos(len(ids) - count)} without an answer passed over." if count < len(ids) else ""
        messages.success(request, undoable(f"{photos(count)}: the model's label accepted.{passed_over}", batch))


@admin.action(description="Classify again", permissions=["reclassify"])
def reclassify(modeladmin: Any, request: HttpRequest, queryset: Any) -> None:
    """Return photos to the queue; corrections stand."""
    if ids := _chosen(request, queryset):
        count = services.reclassify(_rows(ids))
        busy = f" {photos(len(ids) - count)} already waiting." if count < len(ids) else ""
        messages.success(request, f"{photos(count)} will be classified again.{busy}")


@admin.action(description="Delete with files…", permissions=["delete"])
def delete_selected(modeladmin: Any, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
    """Ask, then delete. Of that name to take the place of Django's own, which lists every related row by itself."""
    ids = _chosen(request, queryset)
    if ids and "confirmed" not in request.POST:
        return _ask(modeladmin, request, ids, action="delete_selected", title="Delete with files?")
    if ids:
        with transaction.atomic():
            modeladmin.log_deletions(request, _rows(ids).only("filename"))
            count = services.remove(_rows(ids))
        messages.success(request, f"{photos(count)} deleted.")
    return None


@admin.action(description="Export as CSV", permissions=["view"])
def export(modeladmin: Any, request: HttpRequest, queryset: Any) -> HttpResponseBase:
    """Send a table, however long: it is written while it is sent."""
    response = StreamingHttpResponse(csv_lines(queryset), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="photos-{timezone.localdate():%Y-%m-%d}.csv"'
    return response


def photos(count: int) -> str:
    """Return a number of photos in words."""
    return "1 photo" if count == 1 else f"{count:,} photos"


def had_it_before(count: int) -> str:
    """Return a sentence about those photos that a correction leaves the label they had; empty if there are none."""
    return f" {count:,} of them had that label before, which a person stands for now." if count else ""


def gone(count: int) -> str:
    """Return a sentence about those photos that are not there any more; empty if there are none."""
    return f" {photos(count)} had been deleted." if count else ""


def undoable(sentence: str, batch: Any) -> SafeString:
    """Return a sentence that leads to the corrections made, where they can be undone."""
    address = f"{reverse('admin:predictions_correction_changelist')}?{urlencode({'batch': batch})}"
    return format_html('{} <a href="{}">See and undo</a>', sentence, address)


def _chosen(request: HttpRequest, queryset: Any) -> list[int]:
    """Return the ids of the photos chosen; none, and say so, if they are too many for one transaction.

    Whoever chose all on all pages was shown a number: what came since, while a page asked, is not among them.
    """
    if newest := to_id(request.POST.get("newest", "")):
        queryset = queryset.filter(pk__lte=newest)
    ids = list(queryset.order_by().values_list("pk", flat=True)[: MOST + 1])
    if len(ids) > MOST:
        messages.error(request, f"More than {MOST:,} photos at once are too many: narrow the list by its filters.")
        return []
    if not ids:
        messages.error(request, "Those photos are gone.")
    return ids


def _rows(ids: list[int]) -> Any:
    return ImagePrediction.objects.filter(pk__in=ids)


def _ask(modeladmin: Any, request: HttpRequest, ids: list[int], *, action: str, **context: Any) -> TemplateResponse:
    """Show a page that asks before the action; it sends the action again, with the answer."""
    context |= {
        **modeladmin.admin_site.each_context(request),
        "action": action,
        "opts": modeladmin.opts,
        "media": modeladmin.media,
        "count": photos(len(ids)),
        "rows": _rows(ids[:SHOWN]).only("filename", "top_prediction", "sha256", "rendered_at"),
        "rest": max(len(ids) - SHOWN, 0),
        # Of "all on all pages", the first stands for the rest.
        "selected": request.POST.getlist(helpers.ACTION_CHECKBOX_NAME),
        "across": request.POST.get("select_across", "0"),
        "newest": max(ids),
        "back": request.get_full_path(),
    }
    return TemplateResponse(request, f"admin/predictions/imageprediction/{action}.html", context)
