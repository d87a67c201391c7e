"""The REST API: DRF's side of services.py."""

from __future__ import annotations

import re
from typing import Any, Never, cast

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.core.files.uploadedfile import UploadedFile
from django.db import OperationalError
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, ParseError
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import exception_handler as drf_exception_handler
from rest_framework.viewsets import ReadOnlyModelViewSet

from predictions import services
from predictions.models import Correction, ImagePrediction
from predictions.pagination import LinkHeaderPagination
from predictions.serializers import (
    CorrectionSerializer,
    DeletedSerializer,
    DetailSerializer,
    PredictionSerializer,
    UploadSerializer,
)
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


NOT_FOUND = {404: OpenApiResponse(DetailSerializer, description="Prediction not found")}
REFUSED = {400: OpenApiResponse(DetailSerializer, description="Not an acceptable image; the sentence says why")}

INVALID = {400: OpenApiResponse(OpenApiTypes.OBJECT, description="What is wrong, by field")}


class PredictionViewSet(ReadOnlyModelViewSet[ImagePrediction]):
    """Images and what is known of them.

    POST a photo as multipart `file`: it is accepted at once and classified out of band. Read its own address until
    `status` is `done` or `failed`. PUT a better label if the model is wrong; its own answer is kept.
    """

    queryset = ImagePrediction.objects.select_related("model_version")
    serializer_class = PredictionSerializer
    pagination_class = LinkHeaderPagination
    # The default ends at a dot, behind which Django would answer with a page of HTML.
    lookup_value_regex = "[^/]+"
    parser_classes = [JSONParser, MultiPartParser, FormParser]

    def get_serializer_class(self) -> Any:
        """Return the form that fits the request's method."""
        return {"POST": UploadSerializer, "PUT": CorrectionSerializer}.get(
            self.request.method or "", PredictionSerializer
        )

    def get_object(self) -> ImagePrediction:
        """Return the image of the URL, or say that there is none; an id that is no number names none either."""
        pk = self.kwargs["pk"]
        # int() would take " 1", "1_0" and more for ids.
        found = self.get_queryset().filter(pk=pk).first() if re.fullmatch("[1-9][0-9]*", pk) else None
        return found or self.refuse_unknown()

    @extend_schema(responses={200: PredictionSerializer, **NOT_FOUND})
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Read one image: its labels, or how far it is."""
        return Response(PredictionSerializer(self.get_object()).data)

    @extend_schema(request={"multipart/form-data": UploadSerializer}, responses={201: PredictionSerializer, **REFUSED})
    def create(self, request: Request) -> Response:
        """Upload a photo. The answer comes at once; the labels follow at the address in Location."""
        prediction = services.submit(self.uploaded_file(), by=request.user)
        location = reverse("prediction-detail", [prediction.pk], request=request)
        return Response(PredictionSerializer(prediction).data, status.HTTP_201_CREATED, headers={"Location": location})

    @extend_schema(request=CorrectionSerializer, responses={200: PredictionSerializer, **INVALID, **NOT_FOUND})
    def update(self, request: Request, pk: str) -> Response:
        """Correct the label. The model's own answer, all_predictions, is kept."""
        prediction = self.get_object()
        form = CorrectionSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        label, confidence = form.validated_data["top_prediction"], form.validated_data["confidence"]
        try:
            rows = ImagePrediction.objects.filter(pk=prediction.pk)
            services.correct(rows, label, confidence, by=request.user, source=Correction.Source.API)
        except ImagePrediction.DoesNotExist:
            self.refuse_unknown()
        return Response(PredictionSerializer(self.get_object()).data)

    @extend_schema(responses={200: DeletedSerializer, **NOT_FOUND})
    def destroy(self, request: Request, pk: str) -> Response:
        """Delete the image, its file and its history."""
        prediction = self.get_object()
        deleted = {"id": prediction.pk, "filename": prediction.filename}
        if not services.remove(ImagePrediction.objects.filter(pk=prediction.pk)):
            self.refuse_unknown()  # somebody else was faster
        return Response(deleted)

    def uploaded_file(self) -> UploadedFile[Any]:
        """Return the one file of the request."""
        files = self.request.FILES.getlist("file")
        if len(files) != 1:
            raise ParseError(f'Send one file in the multipart field "file"; there were {len(files)}')
        return cast("UploadedFile[Any]", files[0])

    def refuse_unknown(self) -> Never:
        """Answer 404, in the tutorial's words."""
        raise NotFound("Prediction not found")
