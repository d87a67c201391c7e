"""Other services' protocols: thin views over the same workers, for clients that were written for those."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from predictions import exceptions
from predictions.protocols.bodies import BoundedJSONParser
from predictions.synchronous import Line

# Of the labels. A recorded image keeps as many as any upload.
TOP_K, MOST_LABELS, RECORDED_LABELS = 5, 1000, 5


class ErrorSerializer(serializers.Serializer[dict[str, object]]):
    """Why a request has no answer."""

    error = serializers.CharField()


class ParametersSerializer(serializers.Serializer[dict[str, object]]):
    """What a client may say about how it wants its answer."""

    top_k = serializers.IntegerField(
        min_value=1,
        max_value=MOST_LABELS,
        default=TOP_K,
        help_text=f"How many labels, best first; at most {RECORDED_LABELS} of a recorded image.",
    )
    record = serializers.BooleanField(
        default=False, help_text="Whether to keep the image, as if it had been uploaded. By default nothing is kept."
    )
    timeout = serializers.FloatField(
        min_value=0, required=False, help_text="Seconds to wait for the answer; INFER_SECONDS at most, and by default."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse to record and to show more than is recorded."""
        if attrs["record"] and attrs["top_k"] > RECORDED_LABELS:
            raise ValidationError({"top_k": [f"Of a recorded image the {RECORDED_LABELS} best labels are kept."]})
        return attrs


def error(description: str) -> OpenApiResponse:
    """Return how the OpenAPI document describes an error."""
    return OpenApiResponse(ErrorSerializer, description=description)


DENIED = {
    401: error("Wrong credentials; or none, where they are needed"),
    403: error("The account may not do this"),
}
ERRORS = {
    **DENIED,
    400: error("Not an acceptable image or request; the sentence says why"),
    408: error("The body did not arrive whole, or not in time"),
    411: error("A body in chunks, without a Content-Length"),
    413: error("A body larger than MAX_UPLOAD_MB, in base64 by a third more"),
    503: error("The queue is full, nobody can answer now, or too many wait; come back after Retry-After seconds"),
    504: error("The queue is longer than the deadline allows; nothing was kept"),
    507: error("No room for the image, on the server or in the user's quota"),
}
IN_QUERY = [
    OpenApiParameter("top_k", {"type": "integer", "minimum": 1, "maximum": MOST_LABELS, "default": TOP_K}),
    OpenApiParameter("record", bool, description="Whether to keep the image, as if it had been uploaded."),
    OpenApiParameter("timeout", {"type": "number", "minimum": 0}, description="Seconds; at most INFER_SECONDS."),
]


class AnyAccept(DefaultContentNegotiation):
    """JSON, whatever the client says that it accepts: clients of these protocols say many things."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """Return the first renderer."""
        return renderers[0], renderers[0].media_type


class ProtocolView(APIView):
    """A view that answers in JSON, and errors as {"error": sentence}."""

    renderer_classes = [JSONRenderer]
    content_negotiation_class = AnyAccept
    parser_classes = [BoundedJSONParser]
    held: ExitStack  # what a request has until it is answered: its room

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Answer. Then nothing refers to what was read of the body, and its room can be given back."""
        with ExitStack() as self.held:
            response: Any = super().dispatch(request, *args, **kwargs)
            del self.request
            response.renderer_context = {}
            return response

    def get_exception_handler(self) -> Callable[..., Response | None]:
        """Return what answers errors."""
        return exception_handler


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer as the rest of the API does, in the protocols' form."""
    response = exceptions.exception_handler(error, context)
    if response is not None:
        response.data = {"error": sentence(response.data)}
    return response


def sentence(data: Any) -> str:
    """Return DRF's errors, by field or not, as one text."""
    if isinstance(data, dict):
        plain = {"detail", "non_field_errors"}
        parts = {name: sentence(errors) for name, errors in data.items() if errors}
        return "; ".join(text if name in plain else f"{name}: {text}" for name, text in parts.items())
    return "; ".join(filter(None, map(sentence, data))) if isinstance(data, list) else str(data)


def parameters(given: Any) -> dict[str, Any]:
    """Return top_k, record and timeout as they are to hold. Raises ValidationError."""
    form = ParametersSerializer(data=given)
    form.is_valid(raise_exception=True)
    return dict(form.validated_data)


def line_of(request: Request, wanted: dict[str, Any]) -> Line:
    """Return the client's line: for how long it is held, and how one waits on it (config/clients.py)."""
    longest = settings.INFER_SECONDS
    return Line(min(longest, wanted.get("timeout", longest)), request.META.get("client.pause", sleep))


def sleep(seconds: float) -> bool:
    """Sleep; without our web server, nobody knows whether the client is still there."""
    time.sleep(seconds)
    return True


def from_base64(text: object) -> bytes:
    """Return the bytes; whitespace, as between lines, does not count. Raises ValidationError."""
    try:
        return base64.b64decode("".join(text.split()) if isinstance(text, str) else b"?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValidationError("The image must be text in base64") from error
