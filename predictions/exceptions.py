"""The API's errors, and which status the domain's have."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import OperationalError
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from predictions.services import StorageFull
from predictions.uploads import UploadRejected


class InsufficientStorage(APIException):
    """507 (RFC 4918): the request was fine, the server has no room."""

    status_code = status.HTTP_507_INSUFFICIENT_STORAGE
    default_detail = "There is no room for this file on the server"


class DatabaseAway(APIException):
    """503: the database does not answer. Nothing was accepted; the client may try again."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The database is not available, try again in a moment"
    wait = 5  # seconds; DRF makes the Retry-After header of it


class PreconditionFailed(APIException):
    """412 (RFC 9110): the image is not what the client saw when it read the ETag."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = "Somebody else has changed this prediction. Read it again, then decide"


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Give the domain's errors their status; all bodies are {"detail": sentence} or DRF's errors by field."""
    if isinstance(error, UploadRejected):
        error = ParseError(str(error))
    elif isinstance(error, StorageFull):
        error = InsufficientStorage()
    elif isinstance(error, RequestDataTooBig | TooManyFieldsSent | TooManyFilesSent | RecursionError):
        error = ParseError("The request has too many or too large fields")
    elif isinstance(error, OperationalError):
        error = InsufficientStorage() if "full" in str(error) else DatabaseAway()
    return drf_exception_handler(error, context)
