"""The HTML pages."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Value
from django.db.models.functions import Length, Replace
from django.forms import BoundField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from classifier.models import ModelVersion
from predictions import charts, idempotency, renditions, services
from predictions.access import ACTIONS, ADD, may
from predictions.admission import RETRY_SECONDS
from predictions.dashboard import figures
from predictions.exceptions import STATUS
from predictions.filters import PredictionFilter
from predictions.forms import BulkForm, way_back
from predictions.labelmap import UNSURE, LabelMap
from predictions.models import LABEL_LENGTH, Correction, ImagePrediction
from predictions.readiness import problems
from predictions.storage import StorageAway
from predictions.uploads import Refusal, printable

PAGE_SIZE = 60
SUGGESTIONS = 20


@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """Show the form; take files. Refused ones are named with the reason, the others go on.

    The page's script sends each file by itself and gets its card alone.
    """
    if not may(request.user, ADD):
        return redirect("gallery")
    accepted, refused = _submit_all(request)
    busy = HTTPStatus.SERVICE_UNAVAILABLE in {file["status"] for file in refused}
    if request.headers.get("X-Requested-With") == "upload.js" and (accepted or refused):
        one = {"prediction": accepted[0] if accepted else None, "refused": refused[0] if refused else None}
        response = render(request, "predictions/_card.html", one, status=503 if busy else 200)
        response["X-Card"] = "yes"  # tells a card, of an accepted or a refused file, from an error's page
    elif accepted and not refused:
        return redirect(accepted[0]) if len(accepted) == 1 else redirect("gallery")
    else:
        nothing_sent = request.method == "POST" and not refused
        context = {"accepted": accepted, "refused": refused, "nothing_sent": nothing_sent, "problems": problems()}
        status = max((file["status"] for file in refused), default=400 if nothing_sent else 200)
        response = render(request, "predictions/upload.html", context, status=status)
    if busy:
        response["Retry-After"] = str(RETRY_SECONDS)
    return response


def _submit_all(request: HttpRequest) -> tuple[list[ImagePrediction], list[dict[str, Any]]]:
    accepted, refused = [], []
    for position, file in enumerate(request.FILES.getlist("file")):
        try:
            accepted.append(idempotency.submit(request, file, position)[0])
        except (Refusal, StorageAway) as error:
            refused.append({"name": file.name, "reason": str(error), "status": STATUS[type(error)]})
    return accepted, refused


@require_safe
def card(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one image's card; it asks for itself again while it is unfinished."""
    prediction = get_object_or_404(ImagePrediction, pk=pk)
    context = {"prediction": prediction, "compact": "compact" in request.GET, "filter": _query(request)}
    return render(request, "predictions/_card.html", context)


@require_safe
@vary_on_headers("HX-Request", "HX-Target")
def gallery(request: HttpRequest) -> HttpResponse:
    """Show the images that match the query string, in pages; further ones are appended while scrolling."""
    chosen = PredictionFilter(request.GET, ImagePrediction.objects.all())
    number, rows = _page(request, chosen)
    following = _query(request, page=number + 1) if len(rows) > PAGE_SIZE else ""
    context = {
        "chosen": chosen,
        "rows": rows[:PAGE_SIZE],
        "number": number,
        "page": _query(request, page=number),
        "next": following,
        "previous": _query(request, page=number - 1) if number > 1 else "",
        "filter": _query(request),
        "is_waiting": any(prediction.is_waiting for prediction in rows),
        "is_narrowed": bool(chosen.asked - {"q", "ordering"} or chosen.form.errors),
        "more_filters": _more_filters(chosen),
        "correction": BulkForm(),
    }
    appending = request.htmx and request.headers.get("HX-Target") == "more"  # type: ignore[attr-defined]
    return render(request, "predictions/_cards.html" if appending else "predictions/gallery.html", context)


def _page(request: HttpRequest, chosen: PredictionFilter) -> tuple[int, list[ImagePrediction]]:
    """Return a page's number and rows, and one row more if there is another page: no count over all rows."""
    try:
        number = max(1, min(int(request.GET.get("page", "1")), 1_000_000))
    except ValueError:
        number = 1
    start = (number - 1) * PAGE_SIZE
    rows = chosen.qs.defer("all_predictions")
    return number, list(rows[start : start + PAGE_SIZE + 1])


def _more_filters(chosen: PredictionFilter) -> list[BoundField]:
    """Return the fields beside those that always stand there; that of the label map's input if there is a map."""
    left_out = {"q", "ordering"} | (set() if LabelMap.current().rules else {"raw_label"} - chosen.asked)
    return [field for field in chosen.form if field.name not in left_out]


def _query(request: HttpRequest, page: int = 1) -> str:
    """Return the query string of a filtered view, or of one of its further pages, without what is empty."""
    pairs = [(name, value) for name, value in request.GET.items() if value and name not in {"page", "compact"}]
    return urlencode([*pairs, *([("page", page)] if page > 1 else [])])


@require_safe
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one image, what is known of it, and its neighbours in the filtered view."""
    prediction = get_object_or_404(ImagePrediction.objects.select_related("model_version"), pk=pk)
    before, behind = PredictionFilter(request.GET, ImagePrediction.objects.all()).neighbours(prediction)
    context = {
        "prediction": prediction,
        "before": before,
        "behind": behind,
        "filter": _query(request),
        "history": prediction.history(),
        "correction": BulkForm(),
        # Under an address of its own, or browsers would go on showing it when the picture is there.
        "stand_in": prediction.is_unfinished and renditions.shown(prediction) != prediction.image_path.name,
    }
    return render(request, "predictions/detail.html", context)


@require_POST
def change(request: HttpRequest) -> HttpResponse:
    """Correct, reclassify or delete the chosen images; deleting asks once more."""
    form = BulkForm(request.POST)
    if not form.is_valid():
        sentences = ["Choose at least one photo."] if "ids" in form.errors else map(str, form.errors.get("label", []))
        messages.error(request, " ".join(sentences))
        return _back(request)
    if not may(request.user, ACTIONS[form.cleaned_data["action"]]):
        raise PermissionDenied
    chosen = ImagePrediction.objects.filter(pk__in=form.cleaned_data["ids"])
    if form.cleaned_data["action"] == "delete" and "confirmed" not in request.POST:
        back = way_back(request) or reverse("gallery")
        context = {"rows": list(chosen[:PAGE_SIZE]), "ids": form.cleaned_data["ids"], "back": back}
        context["keep"] = way_back(request, "keep") or back
        return render(request, "predictions/confirm_delete.html", context)
    return {"correct": _correct, "reclassify": _reclassify, "delete": _delete}[form.cleaned_data["action"]](
        request, chosen, form
    )


def _correct(request: HttpRequest, chosen: Any, form: BulkForm) -> HttpResponse:
    label = form.cleaned_data["label"]
    try:
        batch = services.correct(chosen, label, 1.0, by=request.user, source=Correction.Source.PAGE)
    except ImagePrediction.DoesNotExist:
        messages.error(request, "Those photos are gone.")
    else:
        count, same = services.corrected(batch)
        before = f" {same} of them had that label before, which a person stands for now." if same else ""
        messages.success(request, f"{_photos(count)} corrected to {label}.{before}", extra_tags=f"undo {batch}")
    return _back(request)


def _reclassify(request: HttpRequest, chosen: Any, form: BulkForm) -> HttpResponse:
    count = services.reclassify(chosen)
    messages.success(request, f"{_photos(count)} will be classified again.")
    return _back(request)


def _delete(request: HttpRequest, chosen: Any, form: BulkForm) -> HttpResponse:
    messages.success(request, f"{_photos(services.remove(chosen))} deleted.")
    return _back(request)


@require_POST
def undo(request: HttpRequest, batch: Any) -> HttpResponse:
    """Take back corrections that were made together."""
    if count := services.undo(batch):
        messages.success(request, f"Correction of {_photos(count)} undone.")
    else:
        messages.warning(request, "That correction had been undone before.")
    return _back(request)


@require_safe
def labels(request: HttpRequest) -> HttpResponse:
    """Suggest labels that contain what is typed, whatever the field is called: the models', and those people gave.

    Whoever types "golden retr" finds golden_retriever: people write spaces where models write underscores.
    The labels of models that answer, as they are shown; with `filter` also what the unsure are shown as; with `raw`
    only as the models have them.
    """
    # No label has control characters, and PostgreSQL refuses to look for some.
    typed = _in_words(printable(str(next(filter(None, request.GET.values()), "")))[:LABEL_LENGTH]).lower()
    traffic = ModelVersion.objects.traffic()
    known = traffic.labels() if traffic else set()
    if "raw" not in request.GET:
        rules = LabelMap.current()
        known = set(map(rules.name, known)) | ({UNSURE} if "filter" in request.GET and rules.minimums else set())
        given = Correction.objects.filter(undone_at=None).annotate(words=Replace("label_after", Value("_"), Value(" ")))
        fitting = given.filter(words__icontains=typed).order_by(Length("label_after"), "label_after")
        known.update(fitting.values_list("label_after", flat=True).distinct()[:SUGGESTIONS])
    found = [label for label in known if typed in _in_words(label).lower()]
    suggested = [(label, _in_words(label)) for label in sorted(found, key=lambda label: (len(label), label))]
    return render(request, "predictions/_labels.html", {"suggested": suggested[:SUGGESTIONS]})


def _in_words(label: str) -> str:
    return label.replace("_", " ")


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def _back(request: HttpRequest) -> HttpResponse:
    return redirect(way_back(request) or "gallery")


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """Show what came in, what waits, what was found, and what the model gets wrong."""
    current = figures()
    return render(request, "predictions/dashboard.html", {"at": current.at, "charts": charts.draw(current)})
