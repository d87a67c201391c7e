"""The Open Inference Protocol's JSON: what is sent as tensors, and answered as such."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from itertools import chain
from math import isnan, prod
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from predictions import uploads
from predictions.inference_requests import Question
from predictions.protocols import ParametersSerializer, from_base64
from predictions.storage import MEGABYTE
from predictions.synchronous import Said

MOST_IMAGES = 32  # in one request
ID_LENGTH = 1000  # the answer repeats it
IMAGES, PIXELS = "BYTES", {"FP32": "f", "UINT8": "B"}  # datatypes; of pixels with array's codes
CHANNELS, BRIGHTEST = 3, 255
OUTPUTS = {"label": "BYTES", "score": "FP32", "model_version": "BYTES", "prediction": "INT64"}


@extend_schema_field({"type": "array", "items": {}})
class TensorDataField(serializers.Field[Sequence[Any], Any, Any, Any]):
    """A tensor's elements, row-major, nested or not. A ListField would take a second for an image's pixels."""

    def to_internal_value(self, data: Any) -> Sequence[Any]:
        """Return the elements, flat; binary ones are. Raises ValidationError."""
        if isinstance(data, array):
            return data
        if not isinstance(data, list):
            raise ValidationError("The data of a tensor are a list")
        while data and isinstance(data[0], list):
            if not all(isinstance(item, list) for item in data):
                raise ValidationError("The data of a tensor are nested unevenly")
            data = list(chain.from_iterable(data))
        return list(data)

    def to_representation(self, value: Any) -> Any:
        """Return the elements as they are."""
        return value


class MetadataTensorSerializer(serializers.Serializer[dict[str, object]]):
    """What a tensor is like; -1 is any size."""

    name = serializers.CharField()
    datatype = serializers.CharField()
    shape = serializers.ListField(child=serializers.IntegerField())


class ServerSerializer(serializers.Serializer[dict[str, object]]):
    """What this server is."""

    name = serializers.CharField()
    version = serializers.CharField()
    extensions = serializers.ListField(child=serializers.CharField())


class ModelSerializer(serializers.Serializer[dict[str, object]]):
    """What the model takes and gives. A request has one of the inputs."""

    name = serializers.CharField()
    versions = serializers.ListField(child=serializers.CharField())
    platform = serializers.CharField()
    inputs = MetadataTensorSerializer(many=True)
    outputs = MetadataTensorSerializer(many=True)


class ReadySerializer(serializers.Serializer[dict[str, object]]):
    """Whether a model would answer now."""

    name = serializers.CharField()
    ready = serializers.BooleanField()


class InputSerializer(serializers.Serializer[dict[str, object]]):
    """Images in base64, or pixels: RGB, 0 to 255."""

    name = serializers.CharField(help_text="Any: the datatype tells what it is.")
    shape = serializers.ListField(child=serializers.IntegerField(min_value=0))
    datatype = serializers.ChoiceField([IMAGES, *PIXELS])
    parameters = serializers.DictField(required=False)
    data = TensorDataField(help_text="In binary behind the JSON, images are as they are.")  # type: ignore[assignment]  # the key's name; DRF keeps fields apart


class WantedOutputSerializer(serializers.Serializer[dict[str, object]]):
    """A tensor that the client wants."""

    name = serializers.ChoiceField(list(OUTPUTS))
    parameters = serializers.DictField(required=False)


class InferenceParametersSerializer(ParametersSerializer):
    """What a client may say, and in which form it wants the outputs about which it says nothing else."""

    binary_data_output = serializers.BooleanField(default=False)


class InferenceSerializer(serializers.Serializer[dict[str, object]]):
    """The protocol's inference request."""

    id = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False, max_length=ID_LENGTH)
    parameters = InferenceParametersSerializer(required=False)
    inputs = InputSerializer(many=True, min_length=1, max_length=1)  # type: ignore[call-arg]  # the stubs lack them
    outputs = WantedOutputSerializer(many=True, required=False, help_text="By default all.")


class OutputSerializer(MetadataTensorSerializer):
    """A tensor of the answer, row-major."""

    data = TensorDataField()  # type: ignore[assignment]  # as above


class InferredSerializer(serializers.Serializer[dict[str, object]]):
    """The protocol's inference response."""

    model_name = serializers.CharField()
    model_version = serializers.CharField(required=False, help_text="Not there if several versions have answered.")
    id = serializers.CharField(required=False, help_text="The request's, if it has one.")
    outputs = OutputSerializer(many=True)


def images_of(tensor: dict[str, Any]) -> list[bytes]:
    """Return the images of a tensor of shape [n] or [n, 1], and take their text out of it. Raises ValidationError."""
    shape, data = tensor["shape"], tensor.pop("data")
    if shape not in ([len(data)], [len(data), 1]):
        raise ValidationError(f"Images have the shape [n]; here it is {shape}, and there are {len(data)}")
    check_count(len(data))
    return [item if isinstance(item, bytes) else from_base64(item) for item in data]


def pixels_of(tensor: dict[str, Any], model_version: str) -> list[Question]:
    """Return a question for each image of a tensor of shape [n, height, width, 3], and take its data out of it.

    Raises ValidationError.
    """
    shape, data = tensor["shape"], tensor.pop("data")
    if len(shape) != 4 or shape[-1] != CHANNELS or prod(shape) != len(data):
        raise ValidationError(
            f"Pixels have the shape [n, height, width, {CHANNELS}]; it is {shape}, and there are {len(data)} numbers"
        )
    check_count(shape[0])
    try:
        pixels = array(PIXELS[tensor["datatype"]], data)
    except (TypeError, OverflowError) as error:
        raise ValidationError(f"Pixels are numbers from 0 to {BRIGHTEST}, of UINT8 whole ones") from error
    # Of numbers one of which is none, as binary ones may be, the sum is none.
    if not pixels or isnan(sum(pixels)) or min(pixels) < 0 or max(pixels) > BRIGHTEST:
        raise ValidationError(f"Pixels are numbers from 0 to {BRIGHTEST}, and at least one")
    content, size = pixels.tobytes(), len(pixels) * pixels.itemsize // shape[0]
    if len(content) > uploads.largest():
        raise ValidationError(f"The tensor has more than the {uploads.largest() / MEGABYTE:.0f} MB that are accepted")
    return [
        Question(piece, hashlib.sha256(piece).hexdigest(), tensor["datatype"], tuple(shape[1:]), model_version)
        for piece in (content[start : start + size] for start in range(0, len(content), size))
    ]


def check_count(count: int) -> None:
    """Refuse no images, and too many. Raises ValidationError."""
    if not 1 <= count <= MOST_IMAGES:
        raise ValidationError(f"A request has 1 to {MOST_IMAGES} images")


def outputs_of(answers: Sequence[Said]) -> dict[str, dict[str, Any]]:
    """Return all tensors of the answers, by name. Where versions know fewer labels, all have so many."""
    count, labels = len(answers), min(len(said.labels) for said in answers)
    best = [label for said in answers for label in said.labels[:labels]]
    tensors: dict[str, tuple[list[int], list[Any]]] = {
        "label": ([count, labels], [label["label"] for label in best]),
        "score": ([count, labels], [label["confidence"] for label in best]),
        "model_version": ([count], [said.model_version for said in answers]),
        "prediction": ([count], [said.prediction for said in answers]),
    }
    return {
        name: {"name": name, "datatype": OUTPUTS[name], "shape": shape, "data": data}
        for name, (shape, data) in tensors.items()
    }
