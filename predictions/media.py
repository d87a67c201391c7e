"""Sending originals, thumbnails and pictures that browsers can show. Strangers made them; nothing of them may run."""

import mimetypes
from pathlib import PurePath

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.http import parse_etags
from django.views.decorators.http import require_safe

from predictions import renditions
from predictions.models import ImagePrediction

YEAR = 365 * 24 * 3600  # seconds


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
    if name != prediction.image_path.name and not default_storage.exists(name):
        return _not_yet(f"{settings.STATIC_URL}icon.svg")
    return _send(request, prediction, name)


@require_safe
def thumbnail(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the thumbnail; while it does not exist yet, what stands in for it."""
    prediction = get_object_or_404(ImagePrediction, pk=pk)
    name = renditions.name_of(prediction, renditions.THUMBNAIL)
    if default_storage.exists(name):
        return _send(request, prediction, name)
    return _not_yet(reverse("view", args=[pk]))


def _not_yet(stand_in: str) -> HttpResponseBase:
    """Lead to what is shown until a worker has made the picture; nobody must keep that answer."""
    response = redirect(stand_in)
    patch_cache_control(response, no_store=True)
    return response


def _send(request: HttpRequest, prediction: ImagePrediction, name: str, *, download: bool = False) -> HttpResponseBase:
    """Send a stored file, or 304 if the browser has it. Content never changes under its address."""
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


def _file(prediction: ImagePrediction, name: str, *, download: bool) -> FileResponse:
    try:
        file = default_storage.open(name, "rb")
    except FileNotFoundError as error:
        raise Http404("The file is not, or not yet, in the storage") from error
    # The type follows our name for the file, which follows its content; the user's name could make it a page.
    content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return FileResponse(file, as_attachment=download, filename=prediction.filename, content_type=content_type)
