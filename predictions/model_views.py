"""The HTML pages of model versions."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from classifier import cards
from classifier.models import ModelVersion
from classifier.traffic import TrafficError
from predictions import comparison, comparison_charts, registry
from predictions.access import MODEL_ACTIONS, may
from predictions.registry import Doubtful, UnknownVersion

PAGE_SIZE = 24


@require_safe
def models(request: HttpRequest) -> HttpResponse:
    """Show the versions in pages, what they are and do, and what can be done with them."""
    everyone = list(registry.versions())
    page = Paginator(everyone, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "found": [_described(version) for version in page],
        "everyone": everyone,
        "installed": [version for version in everyone if not version.removed_at],
        "previous": ModelVersion.objects.previous(),
    }
    return render(request, "predictions/models.html", context)


def _described(version: Any) -> dict[str, Any]:
    bundle = version.bundle()
    facts = cards.facts(bundle) if bundle else {"backbone": version.backbone}
    return {
        "version": version,
        "facts": {**facts, "labels": len(version.labels()) or "unknown: its files are not at hand"},
        "answers": f"{registry.BOUND:,} or more" if version.answers > registry.BOUND else f"{version.answers:,}",
        "card": registry.card(version),
    }


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """Show two versions side by side, and the photos on which they differ, newest first."""
    a, b = (_find(request.GET.get(side, "")) for side in "ab")
    before = request.GET.get("before", "")
    is_id = before.isascii() and before.isdigit() and len(before) < 19
    rows = comparison.differing(a, b, PAGE_SIZE + 1, before=int(before) if is_id else comparison.NO_ID)
    pair = {"a": a.name, "b": b.name}
    more = len(rows) > PAGE_SIZE
    found = comparison.compare(a, b)
    context = {
        "comparison": found,
        "figures": comparison_charts.figures(found),
        "sides": comparison_charts.draw(found),
        "rows": rows[:PAGE_SIZE],
        "next": urlencode({**pair, "before": rows[PAGE_SIZE - 1].prediction_id}) if more else "",
        "first": urlencode(pair) if before else "",
    }
    return render(request, "predictions/compare.html", context)


@require_POST
def change(request: HttpRequest) -> HttpResponse:
    """Promote, roll back, share or remove; a doubtful version and a removal are asked about once more."""
    action = request.POST.get("action", "")
    rule = MODEL_ACTIONS.get(action)
    if rule and not may(request.user, rule):
        raise PermissionDenied
    run = {"promote": _promote, "rollback": _rollback, "shares": _share, "remove": _remove}.get(action)
    try:
        if run is None:
            raise TrafficError("Choose what is to be done.")  # noqa: TRY301  (it is answered as the others are)
        return run(request)
    except TrafficError as error:
        messages.error(request, str(error))
        return redirect("models")


def _find(name: str) -> Any:
    try:
        return registry.find(name)
    except UnknownVersion as error:
        raise Http404(str(error)) from error


def _promote(request: HttpRequest) -> HttpResponse:
    version = registry.find(request.POST.get("name", ""))
    try:
        registry.promote(version, force="confirmed" in request.POST, by=request.user)
    except Doubtful as error:
        return _ask(request, version, "promote", str(error))
    messages.success(request, f"{version} serves.")
    return redirect("models")


def _rollback(request: HttpRequest) -> HttpResponse:
    version = registry.rollback(request.POST.get("name", ""), by=request.user)
    messages.success(request, f"{version} serves again.")
    return redirect("models")


def _share(request: HttpRequest) -> HttpResponse:
    installed = {str(version.pk): version for version in ModelVersion.objects.filter(removed_at=None)}
    try:
        given = {
            version.name: int(request.POST.get(f"share-{pk}") or 0)
            for pk, version in installed.items()
            if not version.serving
        }
    except ValueError as error:
        raise TrafficError("Shares are whole percentages, such as 10.") from error
    shadows = [installed[pk].name for pk in request.POST.getlist("shadow") if pk in installed]
    wanted = {name: share for name, share in given.items() if share}
    shares = registry.set_shares(wanted, shadows, by=request.user).shares()
    said = ", ".join(f"{version} answers {share} %" for version, share in shares.items())
    messages.success(request, f"Of the photos, {said}.")
    return redirect("models")


def _remove(request: HttpRequest) -> HttpResponse:
    version = registry.find(request.POST.get("name", ""))
    if "confirmed" not in request.POST:
        reason = "Its files are deleted from this machine. What it has answered stays in the photos' histories."
        if version == ModelVersion.objects.previous():
            reason += " It is the version that rolling back leads to."
        return _ask(request, version, "remove", reason)
    registry.remove(version, by=request.user)
    messages.success(request, f"{version} is removed.")
    return redirect("models")


def _ask(request: HttpRequest, version: ModelVersion, action: str, reason: str) -> HttpResponse:
    context = {"version": version, "action": action, "reason": reason}
    return render(request, "predictions/confirm_model.html", context, status=409 if action == "promote" else 200)
