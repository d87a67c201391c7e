"""Sending originals, thumbnails and pictures that browsers can show. Strangers made them; nothing of them may run."""

from pathlib import PurePath

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponseNotModified, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.http import content_disposition_header, parse_etags
from django.views.decorators.http import require_safe

from predictions import renditions
from predictions.models import ImagePrediction
from predictions.storage import SHARED_SECONDS, content_type, photos

YEAR = 365 * 24 * 3600  # seconds
# An original of so many bytes may stand in for its thumbnail. A page has sixty.
LARGEST_STAND_IN = 100_000
PLACEHOLDER = f"{settings.STATIC_URL}placeholder.svg"


@require_safe
def original(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the file as it was uploaded, for download with ?download."""
    prediction = get_object_or_404(ImagePrediction, pk=pk)
    return _send(request, prediction, str(prediction.image_path.name), download="download" in request.GET)


@require_safe
def view(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send a picture that browsers can show: the original, or the rendition of it."""
    prediction = get_object_or_404(ImagePrediction, pk=pk)
    name = renditions.shown(prediction)
    if name != prediction.image_path.name and not _is_there(name):
        return _not_yet(PLACEHOLDER)
    return _send(request, prediction, name)


@require_safe
def thumbnail(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the thumbnail; while it does not exist yet, what stands in for it."""
    prediction = get_object_or_404(ImagePrediction, pk=pk)
    name = renditions.name_of(prediction, renditions.THUMBNAIL)
    if _is_there(name):
        return _send(request, prediction, name)
    return _not_yet(reverse("view", args=[pk]) if prediction.size <= LARGEST_STAND_IN else PLACEHOLDER)


def _is_there(rendition: str) -> bool:
    return photos().exists(rendition) and not photos().is_empty(rendition)


def _not_yet(stand_in: str) -> HttpResponseBase:
    """Lead to what is shown until a worker has made the picture; nobody must keep that answer."""
    response = redirect(stand_in)
    patch_cache_control(response, no_store=True)
    return response


def _send(request: HttpRequest, prediction: ImagePrediction, name: str, *, download: bool = False) -> HttpResponseBase:
    """Send a stored file, or 304, or lead to where it is. Content never changes under its address."""
    if elsewhere := _elsewhere(request, prediction, name, download=download):
        return elsewhere
    etag = f'"{prediction.sha256[:32]}-{PurePath(name).suffix[1:]}"'
    response: HttpResponseBase
    if etag in parse_etags(request.headers.get("If-None-Match", "")):
        response = HttpResponseNotModified()
    else:
        response = _file(prediction, name, download=download)
    response["ETag"] = etag
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    patch_cache_control(response, private=True, max_age=YEAR, immutable=True)
    return response


def _elsewhere(
    request: HttpRequest, prediction: ImagePrediction, name: str, *, download: bool
) -> HttpResponseBase | None:
    """Lead to an address outside that serves this file for some minutes, if the storage has such."""
    disposition = content_disposition_header(download, prediction.filename)
    address = photos().address(
        name, content_type=content_type(name), disposition=disposition or "inline", method=request.method or "GET"
    )
    if not address:
        return None
    response = HttpResponseRedirect(address)
    # Who comes back sooner is spared the way, and the minute that is left is for following it.
    patch_cache_control(response, private=True, max_age=SHARED_SECONDS - 60)
    return response


def _file(prediction: ImagePrediction, name: str, *, download: bool) -> FileResponse:
    try:
        file = photos().open(name)
    except FileNotFoundError as error:
        raise Http404("The file is not, or not yet, in the storage") from error
    filename = prediction.filename
    return FileResponse(file, as_attachment=download, filename=filename, content_type=content_type(name))
