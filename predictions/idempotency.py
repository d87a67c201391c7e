"""Uploads that a client may repeat after a lost answer (draft-ietf-httpapi-idempotency-key-header-06)."""

import logging
import re
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from rest_framework.request import Request

from predictions import logs, metrics, services
from predictions.models import KEY_LENGTH, ImagePrediction
from predictions.storage import StorageAway
from predictions.uploads import Refusal, UploadRejected

logger = logging.getLogger(__name__)

# The draft has a quoted string; most clients send the bare one.
KEY = re.compile(rf'"([ !#-\[\]-~]{{1,{KEY_LENGTH}}})"|([!#-~]{{1,{KEY_LENGTH}}})')


def submit(request: HttpRequest | Request, file: UploadedFile[Any], position: int = 0) -> tuple[ImagePrediction, bool]:
    """Accept the file at a position of a request, once; return its image, and whether that was there before.

    Raises what services.submit_once() does.
    """
    try:
        prediction, replayed = _submit(request, file, position)
    except (Refusal, StorageAway) as error:
        metrics.UPLOADS_REFUSED.labels(error.reason).inc()
        raise
    if not replayed:
        metrics.UPLOADS_ACCEPTED.inc()
        with logs.about(prediction):
            logger.info("Accepted: %d bytes", prediction.size)
    return prediction, replayed


def _submit(request: HttpRequest | Request, file: UploadedFile[Any], position: int) -> tuple[ImagePrediction, bool]:
    key = key_of(request)
    if key is None:
        return services.submit(file, by=request.user), False
    return services.submit_once(file, by=request.user, key=key, position=position)


def key_of(request: HttpRequest | Request) -> str | None:
    """Return the request's Idempotency-Key, None if it has none. Raises UploadRejected for one that cannot be kept."""
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return None
    match = KEY.fullmatch(header.strip())
    if match is None:
        raise UploadRejected(
            f"The Idempotency-Key must have 1 to {KEY_LENGTH} printable characters of ASCII", "bad_key"
        )
    return match[1] or match[2]
