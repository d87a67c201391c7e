"""The Open Inference Protocol (KServe V2), its REST side; its health is in config/health.py.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md

There is one model, and what has been installed are its versions. Without a version in the address, the traffic decides
on images, as on uploads; tensors, which were made for a certain model, go to the one that serves.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.conf import settings
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from classifier.bundle import Bundle, BundleError
from classifier.models import ModelVersion
from predictions import machines, readiness, synchronous
from predictions.exceptions import NotServing
from predictions.protocols import DENIED, ERRORS, ProtocolView, error, line_of, parameters
from predictions.protocols.binary import TensorParser, binary_outputs, respond
from predictions.protocols.tensors import (
    CHANNELS,
    IMAGES,
    OUTPUTS,
    InferenceSerializer,
    InferredSerializer,
    ModelSerializer,
    ReadySerializer,
    ServerSerializer,
    images_of,
    outputs_of,
    pixels_of,
)
from predictions.queue import CacheAway
from predictions.synchronous import Said

MODEL = "classifier"
PLATFORM = "litert_tflite"

NAME = OpenApiParameter("name", {"type": "string", "enum": [MODEL]}, "path")
NOT_FOUND = {404: error("There is no such model or version"), **DENIED}


class ServerView(ProtocolView):
    """The server's metadata."""

    @extend_schema(operation_id="v2_server", responses={200: ServerSerializer, **DENIED})
    def get(self, request: Request) -> Response:
        """Read what this server is."""
        version = settings.SPECTACULAR_SETTINGS["VERSION"]
        return Response({"name": "image-classification", "version": version, "extensions": ["binary_tensor_data"]})


class ModelView(ProtocolView):
    """The model's metadata."""

    @extend_schema(parameters=[NAME], responses={200: ModelSerializer, **NOT_FOUND})
    def get(self, request: Request, name: str, version: str = "") -> Response:
        """Read what the model takes and gives; without a version, the one that serves."""
        size = input_size(find(name, version))
        shapes = {"label": [-1, -1], "score": [-1, -1], "model_version": [-1]}
        return Response(
            {
                "name": MODEL,
                "versions": [installed.name for installed in ModelVersion.objects.by_preference()],
                "platform": PLATFORM,
                "inputs": [
                    {"name": "image", "datatype": IMAGES, "shape": [-1]},
                    {"name": "pixels", "datatype": "FP32", "shape": [-1, size, size, CHANNELS]},
                ],
                "outputs": [{"name": key, "datatype": OUTPUTS[key], "shape": shape} for key, shape in shapes.items()],
            }
        )


class ModelReadyView(ProtocolView):
    """The model's readiness."""

    @extend_schema(
        parameters=[NAME], responses={200: ReadySerializer, 503: OpenApiResponse(ReadySerializer), **NOT_FOUND}
    )
    def get(self, request: Request, name: str, version: str = "") -> Response:
        """Ask whether the model would answer now: if not, with 503."""
        found = find(name, version)
        ready = readiness.check_worker() == "ok" and machines.is_at_hand(found)
        return Response({"name": MODEL, "ready": ready}, 200 if ready else 503)


class InferView(ProtocolView):
    """Inference."""

    parser_classes = [TensorParser]

    @extend_schema(
        parameters=[NAME],
        request={"application/json": InferenceSerializer, "application/octet-stream": OpenApiTypes.BINARY},
        responses={
            (200, "application/json"): InferredSerializer,
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            **NOT_FOUND,
            **ERRORS,
        },
    )
    def post(self, request: Request, name: str, version: str = "") -> HttpResponseBase:
        """Send images in base64, or pixels, or either in binary; the answer is the labels and scores, best first."""
        form = InferenceSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        data = form.validated_data
        request.data.clear()  # the text of images would stay in the memory while they are waited for
        found, wanted = find(name, version), parameters(data.get("parameters", {}))
        available = [output for output in OUTPUTS if output != "prediction" or wanted["record"]]
        asked = [output["name"] for output in data.get("outputs", [])] or available
        if not set(asked) <= set(available):
            raise ValidationError("Of images that are not recorded there is no output prediction")
        if version:
            require_at_hand(found)
        answers = infer(request, data["inputs"][0], wanted, version, found.name)
        outputs, versions = outputs_of(answers), {said.model_version for said in answers}
        content = {
            "model_name": MODEL,
            **({"model_version": versions.pop()} if len(versions) == 1 else {}),
            **({"id": data["id"]} if "id" in data else {}),
            "outputs": [outputs[output] for output in asked],
        }
        names = binary_outputs(data, asked)
        return respond(content, names) if names else Response(content)


def find(name: str, version: str) -> ModelVersion:
    """Return the version of that name, the one that serves if it is empty. Raises NotFound."""
    if name != MODEL:
        raise NotFound(f"There is no model of this name; the one that is served is {MODEL}")
    # Compared here: PostgreSQL does not take every text that an address may hold.
    for installed in ModelVersion.objects.by_preference():
        if installed.name == version or (installed.serving and not version):
            return installed
    raise NotFound("There is no version of this name" if version else "No model is installed")


def require_at_hand(version: ModelVersion) -> None:
    """Refuse at once what no machine could answer, and none stands in for. Raises NotServing."""
    with suppress(CacheAway):  # nobody can be seen then, and the deadline decides
        if not machines.is_at_hand(version):
            raise NotServing(f"No machine that classifies has {version} undamaged: run manage.py install_model there")


def input_size(version: ModelVersion) -> int:
    """Return the pixels of the input's sides, -1 if this machine does not have the model."""
    try:
        return Bundle.read(version.path).preprocessing.size
    except BundleError:
        return -1


def infer(request: Request, tensor: dict[str, Any], wanted: dict[str, Any], version: str, default: str) -> list[Said]:
    """Return what the model says of each image of a tensor. Raises ValidationError, and what synchronous.py does."""
    line, top_k = line_of(request, wanted), wanted["top_k"]
    if tensor["datatype"] != IMAGES:
        if wanted["record"]:
            raise ValidationError("Only images can be recorded")
        questions = pixels_of(tensor, version or default)
    else:
        images = images_of(tensor)
        if wanted["record"]:
            if version:
                raise ValidationError("Images that are recorded are classified by whom the traffic decides on")
            count_further(request, len(images))
            return synchronous.infer_recorded(images, top_k=top_k, line=line, by=request.user)
        questions = [synchronous.question(image, version) for image in images]
    count_further(request, len(questions))
    return synchronous.infer(questions, top_k=top_k, line=line)


def count_further(request: Request, images: int) -> None:
    """Have every image count for the client's rate, as every file of an upload does (config/limits.py)."""
    request.META["limits.further"] = images - 1
