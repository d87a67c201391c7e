"""The API's errors, and which status the domain's have."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import OperationalError
from django.http import UnreadablePostError
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, ParseError
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from classifier.traffic import TrafficError
from predictions.admission import RETRY_SECONDS, QueueFull, QuotaExceeded, StorageFull
from predictions.registry import UnknownVersion
from predictions.services import NO_ROOM, AlreadyDeleted, KeyReused
from predictions.storage import StorageAway, is_disk_full
from predictions.uploads import Refusal, UploadRejected

# Why an upload was refused, and what that is in HTTP. 507 for a quota is what WebDAV has (RFC 4331, section 6); 413
# would say that a smaller file is all it takes.
STATUS: dict[type[Exception], int] = {
    UploadRejected: status.HTTP_400_BAD_REQUEST,
    AlreadyDeleted: status.HTTP_410_GONE,
    KeyReused: status.HTTP_422_UNPROCESSABLE_ENTITY,
    QueueFull: status.HTTP_503_SERVICE_UNAVAILABLE,
    StorageAway: status.HTTP_503_SERVICE_UNAVAILABLE,
    StorageFull: status.HTTP_507_INSUFFICIENT_STORAGE,
    QuotaExceeded: status.HTTP_507_INSUFFICIENT_STORAGE,
}


class Refused(APIException):
    """An upload was refused."""

    def __init__(self, error: Refusal | StorageAway) -> None:
        super().__init__(str(error))
        self.status_code = STATUS[type(error)]
        self.wait = RETRY_SECONDS if isinstance(error, QueueFull | StorageAway) else None


class Conflict(APIException):
    """409 (RFC 9110): what was asked of a model version contradicts what is there."""

    status_code = status.HTTP_409_CONFLICT


class InsufficientStorage(APIException):
    """507 (RFC 4918): the request was fine, the server has no room."""

    status_code = status.HTTP_507_INSUFFICIENT_STORAGE
    default_detail = NO_ROOM


class DatabaseAway(APIException):
    """503: the database does not answer. Nothing was accepted; the client may try again."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The database is not available, try again in a moment"
    wait = 5  # seconds; DRF makes the Retry-After header of it


class NotServing(APIException):
    """503: nobody is there who could answer at once."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    wait = RETRY_SECONDS


class DeadlinePassed(APIException):
    """504: there was no answer in time. Nothing of the request is kept."""

    status_code = status.HTTP_504_GATEWAY_TIMEOUT

    def __init__(self, seconds: float) -> None:
        super().__init__(f"There was no answer within {seconds:g} seconds: too many images wait. Nothing was kept")


class TooLarge(APIException):
    """413 (RFC 9110): the body has more bytes than a request of its kind may."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE


class UploadStalled(APIException):
    """408 (RFC 9110): the client went away in the middle of its request, or stalled for too long."""

    status_code = status.HTTP_408_REQUEST_TIMEOUT
    default_detail = "The request did not arrive whole, or not in time"


class PreconditionFailed(APIException):
    """412 (RFC 9110): the image is not what the client saw when it read the ETag."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = "Somebody else has changed this prediction. Read it again, then decide"


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Give the domain's errors their status; all bodies are {"detail": sentence} or DRF's errors by field."""
    if isinstance(error, Refusal | StorageAway):
        error = Refused(error)
    elif isinstance(error, TrafficError):
        error = NotFound(str(error)) if isinstance(error, UnknownVersion) else Conflict(str(error))
    elif isinstance(error, RequestDataTooBig | TooManyFieldsSent | TooManyFilesSent | RecursionError):
        error = ParseError("The request has too many or too large fields")
    elif isinstance(error, UnreadablePostError):
        error = UploadStalled()
    elif is_disk_full(error):
        error = InsufficientStorage()
    elif isinstance(error, OperationalError):
        error = DatabaseAway()
    return drf_exception_handler(error, context)
