"""Hugging Face's image classification: an image's bytes in, its labels out.

https://huggingface.co/docs/inference-providers/tasks/image-classification
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from predictions import synchronous
from predictions.protocols import (
    ERRORS,
    IN_QUERY,
    ParametersSerializer,
    ProtocolView,
    from_base64,
    line_of,
    parameters,
)
from predictions.protocols.bodies import BoundedJSONParser, BytesParser
from predictions.uploads import UploadRejected


class ImageParametersSerializer(ParametersSerializer):
    """What a client may say, and one thing that it may say only in one way."""

    function_to_apply = serializers.ChoiceField(["softmax"], required=False, help_text="The models' own.")


class ImageSerializer(serializers.Serializer[dict[str, object]]):
    """An image with parameters."""

    inputs = serializers.CharField(help_text="The image, in base64.")
    parameters = ImageParametersSerializer(required=False)


class ScoreSerializer(serializers.Serializer[dict[str, object]]):
    """One of the model's answers."""

    label = serializers.CharField()  # type: ignore[assignment]  # the key's name; it hides Field.label
    score = serializers.FloatField(min_value=0, max_value=1)


class ClassifyView(ProtocolView):
    """Classify one image, at once."""

    parser_classes = [BoundedJSONParser, BytesParser]

    @extend_schema(
        operation_id="classify",
        request={"application/octet-stream": OpenApiTypes.BINARY, "application/json": ImageSerializer},
        responses={200: ScoreSerializer(many=True), **ERRORS},
        parameters=IN_QUERY,
    )
    def post(self, request: Request) -> Response:
        """Send an image's bytes, or JSON; the answer is its labels, best first. A recorded one is at Location."""
        content, given = read(request)
        wanted = parameters({**request.query_params.dict(), **given})
        line = line_of(request, wanted)
        if not wanted["record"]:
            [said] = synchronous.infer([synchronous.question(content)], top_k=wanted["top_k"], line=line)
            return Response(scores(said.labels))
        [said] = synchronous.infer_recorded([content], top_k=wanted["top_k"], line=line, by=request.user)
        address = reverse("prediction-detail", [said.prediction], request=request)
        return Response(scores(said.labels), headers={"Location": address})


def read(request: Request) -> tuple[bytes, dict[str, Any]]:
    """Return the image's bytes, and what the body says about the answer. Raises ValidationError and UploadRejected."""
    if isinstance(request.data, bytes):
        return request.data, {}
    if not request.data:
        raise UploadRejected("The file is empty", "empty")
    form = ImageSerializer(data=request.data)
    form.is_valid(raise_exception=True)
    given = form.initial_data.get("parameters", {})
    request.data.clear()  # the text would stay in the memory while the image is waited for
    return from_base64(form.validated_data.pop("inputs")), given


def scores(labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return labels by their names in this protocol."""
    return [{"label": label["label"], "score": label["confidence"]} for label in labels]
