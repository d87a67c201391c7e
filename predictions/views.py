"""The HTML pages."""

import mimetypes
from typing import Any

from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from predictions import services
from predictions.models import ImagePrediction
from predictions.services import StorageFull
from predictions.uploads import UploadRejected

PAGE_SIZE = 60


@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """Show the form; take files. Refused ones are named with the reason, the others go on."""
    refused: list[dict[str, Any]] = []
    accepted: list[ImagePrediction] = []
    for file in request.FILES.getlist("file"):
        try:
            accepted.append(services.submit(file, by=request.user))
        except (UploadRejected, StorageFull) as error:
            refused.append({"name": file.name, "reason": str(error)})
    if accepted and not refused:
        return redirect(accepted[0]) if len(accepted) == 1 else redirect("gallery")
    nothing_sent = request.method == "POST" and not accepted and not refused
    context = {"accepted": accepted, "refused": refused, "nothing_sent": nothing_sent}
    return render(request, "predictions/upload.html", context, status=400 if refused or nothing_sent else 200)


@require_safe
def gallery(request: HttpRequest) -> HttpResponse:
    """Show all images, newest first, in pages."""
    page = Paginator(ImagePrediction.objects.all(), PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "predictions/gallery.html", {"page": page})


@require_safe
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one image and what is known of it."""
    prediction = get_object_or_404(ImagePrediction.objects.select_related("model_version"), pk=pk)
    return render(request, "predictions/detail.html", {"prediction": prediction})


@require_safe
def image(request: HttpRequest, pk: int) -> FileResponse:
    """Send the original file. It is a stranger's: the browser must neither guess its type nor run anything of it."""
    prediction = get_object_or_404(ImagePrediction, pk=pk)
    try:
        # The type follows our name for the file, which follows its content; the user's name could make it a page.
        content_type = mimetypes.guess_type(str(prediction.image_path.name))[0]
        response = FileResponse(
            prediction.image_path.open("rb"), filename=prediction.filename, content_type=content_type
        )
    except FileNotFoundError as error:
        raise Http404("The file is no longer in the storage") from error
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cache-Control"] = "private, max-age=31536000, immutable"
    return response
