"""The REST API: DRF's side of services.py."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from csp.decorators import csp_update
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import QuerySet
from django.utils.decorators import method_decorator
from django.utils.http import parse_etags
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, PolymorphicProxySerializer, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ParseError, ValidationError
from rest_framework.mixins import ListModelMixin
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from predictions import idempotency, services
from predictions.admission import RETRY_SECONDS
from predictions.exceptions import STATUS, PreconditionFailed
from predictions.filters import PredictionFilter
from predictions.labelmap import LabelRule
from predictions.models import Classification, Correction, ImagePrediction
from predictions.pagination import LinkHeaderPagination
from predictions.serializers import (
    ClassificationSerializer,
    CorrectionEntrySerializer,
    CorrectionSerializer,
    DeletedSerializer,
    DetailSerializer,
    LabelRuleSerializer,
    PartialCorrectionSerializer,
    PredictionSerializer,
    UploadResultSerializer,
    UploadSerializer,
)
from predictions.storage import StorageAway
from predictions.uploads import Refusal

DENIED = {
    401: OpenApiResponse(DetailSerializer, description="Wrong credentials; or none, where they are needed"),
    403: OpenApiResponse(DetailSerializer, description="The account may not do this"),
    429: OpenApiResponse(DetailSerializer, description="Too many requests; come back after Retry-After seconds"),
}
BODY = {
    411: OpenApiResponse(DetailSerializer, description="A body in chunks, without a Content-Length"),
    413: OpenApiResponse(DetailSerializer, description="A larger body than this address takes"),
}
NO_PAGE = {404: OpenApiResponse(DetailSerializer, description="The cursor is of another order, or made up")}
NOT_FOUND = {404: OpenApiResponse(DetailSerializer, description="Prediction not found"), **DENIED, **BODY}
REFUSED = {
    400: OpenApiResponse(DetailSerializer, description="Not an acceptable image; the sentence says why"),
    410: OpenApiResponse(DetailSerializer, description="What was uploaded with this Idempotency-Key has been deleted"),
    422: OpenApiResponse(DetailSerializer, description="The Idempotency-Key was used for another file"),
    503: OpenApiResponse(DetailSerializer, description="Too many images wait; come back after Retry-After seconds"),
    507: OpenApiResponse(DetailSerializer, description="No room for the file, on the server or in the user's quota"),
}
INVALID = {400: OpenApiResponse(OpenApiTypes.OBJECT, description="What is wrong, by field")}
CHANGED = {412: OpenApiResponse(DetailSerializer, description="Somebody else changed it since the ETag was read")}
HISTORY = PolymorphicProxySerializer(
    "HistoryEntry",
    {"classification": ClassificationSerializer, "correction": CorrectionEntrySerializer},
    resource_type_field_name="type",
    many=True,
)
RESULTS = {
    207: OpenApiResponse(
        UploadResultSerializer(many=True),
        description="To `files`: each file's own answer; what is 503 may be sent again after Retry-After seconds",
    )
}
IF_MATCH = OpenApiParameter("If-Match", str, "header", description="The ETag of what you saw: 412 if it has changed.")
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    "header",
    description="A name of your own for this upload, such as a UUID: sent again within 24 hours, with the same files, "
    "it is answered with the images of the first time and `Idempotency-Replayed: true`; nothing is uploaded twice.",
)
# Caddy (deploy/Caddyfile) appends it to the ETag of an answer that it compresses, and sends it on as it came back.
ENCODING = re.compile(r'-(gzip|zstd|br)"$')
REPLAYED = {"Idempotency-Replayed": "true"}
BINARY = {"type": "string", "format": "binary"}
UPLOAD = {
    "type": "object",
    "properties": {
        "file": BINARY | {"description": "One photo."},
        "files": {"type": "array", "items": BINARY, "minItems": 1, "description": "Instead of `file`: several photos."},
    },
    "oneOf": [{"required": ["file"]}, {"required": ["files"]}],
}


@method_decorator(csp_update(settings.BROWSABLE_API_CSP), "dispatch")
class PredictionViewSet(ReadOnlyModelViewSet[ImagePrediction]):
    """Images and what is known of them.

    POST a photo as multipart `file`: it is accepted at once and classified out of band. Read its own address until
    `status` is `done` or `failed`. PUT a better label if the model is wrong; its own answer is kept.
    """

    queryset = ImagePrediction.objects.select_related("model_version")
    serializer_class = PredictionSerializer
    pagination_class = LinkHeaderPagination
    filter_backends = [DjangoFilterBackend]
    filterset_class = PredictionFilter
    # The default ends at a dot, behind which Django would answer with a page of HTML.
    lookup_value_regex = "[^/]+"
    parser_classes = [JSONParser, MultiPartParser, FormParser]

    def get_serializer_class(self) -> Any:
        """Return the form that fits the request's method."""
        if self.action == "reclassify":
            return serializers.Serializer
        forms = {"POST": UploadSerializer, "PUT": CorrectionSerializer, "PATCH": PartialCorrectionSerializer}
        return forms.get(self.request.method or "", PredictionSerializer)

    def get_object(self) -> ImagePrediction:
        """Return the image of the URL, or say that there is none; an id that is no number names none either."""
        return self._find(self.get_queryset())

    @extend_schema(responses={200: PredictionSerializer(many=True), **INVALID, **NO_PAGE, **DENIED})
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List images, newest first unless another order is asked for; further pages are in the Link header."""
        return super().list(request, *args, **kwargs)

    @extend_schema(responses={200: PredictionSerializer, **NOT_FOUND})
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Read one image: its labels, or how far it is. With If-None-Match, 304 as long as nothing has changed."""
        shown = self._shown(self.get_object())
        # Weak comparison: a proxy that compresses may have made the tag a weak one.
        if shown["ETag"] in {tag.removeprefix("W/") for tag in entity_tags(request.headers.get("If-None-Match", ""))}:
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers={"ETag": shown["ETag"]})
        return shown

    @extend_schema(
        request={"multipart/form-data": UPLOAD},
        responses={201: PredictionSerializer, **RESULTS, **REFUSED, **DENIED, **BODY},
        parameters=[IDEMPOTENCY_KEY],
    )
    def create(self, request: Request) -> Response:
        """Upload a photo. The answer comes at once; the labels follow at the address in Location.

        Several, as `files`, are answered with 207 and what became of each: a refused one does not stop the others.
        """
        files = request.FILES.getlist("file"), request.FILES.getlist("files")
        if len(files[0]) == 1 and not files[1]:
            prediction, replayed = idempotency.submit(request, files[0][0])
            headers = {"Location": self._address(prediction), **(REPLAYED if replayed else {})}
            return self._shown(prediction, status.HTTP_201_CREATED, **headers)
        if files[1] and not files[0]:
            results = [self._submit(file, position) for position, file in enumerate(files[1])]
            headers = dict(REPLAYED) if any(replayed for _, replayed in results) else {}
            answers = [answer for answer, _ in results]
            if any(answer["status"] == status.HTTP_503_SERVICE_UNAVAILABLE for answer in answers):
                headers["Retry-After"] = str(RETRY_SECONDS)
            return Response(answers, status.HTTP_207_MULTI_STATUS, headers=headers)
        raise ParseError(
            f'Send one file in the multipart field "file"; there were {len(files[0])}. For several there is "files".'
        )

    @extend_schema(
        request=CorrectionSerializer,
        responses={200: PredictionSerializer, **INVALID, **NOT_FOUND, **CHANGED},
        parameters=[IF_MATCH],
    )
    def update(self, request: Request, pk: str) -> Response:
        """Correct the label. The model's own answer, all_predictions, is kept."""
        form = CorrectionSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        return self._correct(**form.validated_data)

    @extend_schema(
        request=PartialCorrectionSerializer,
        responses={200: PredictionSerializer, **INVALID, **NOT_FOUND, **CHANGED},
        parameters=[IF_MATCH],
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Correct the label, of which a person is sure, or how sure one is of the label that stands."""
        form = PartialCorrectionSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        return self._correct(**form.validated_data)

    @extend_schema(responses={200: DeletedSerializer, **NOT_FOUND, **CHANGED}, parameters=[IF_MATCH])
    @transaction.atomic
    def destroy(self, request: Request, pk: str) -> Response:
        """Delete the image, its file and its history."""
        prediction = self._locked()
        deleted = {"id": prediction.pk, "filename": prediction.filename}
        services.remove(ImagePrediction.objects.filter(pk=prediction.pk))
        return Response(deleted)

    @extend_schema(request=None, responses={202: PredictionSerializer, **NOT_FOUND})
    @action(detail=True, methods=["post"])
    def reclassify(self, request: Request, pk: str) -> Response:
        """Have the image classified again. Until then it keeps its labels; a correction stays the truth."""
        prediction = self.get_object()
        services.reclassify(ImagePrediction.objects.filter(pk=prediction.pk))
        return self._shown(self.get_object(), status.HTTP_202_ACCEPTED, Location=self._address(prediction))

    @extend_schema(responses={200: HISTORY, **NOT_FOUND}, filters=False)
    @action(detail=True, pagination_class=None, filter_backends=[])
    def history(self, request: Request, pk: str) -> Response:
        """Read what models said of the image and who corrected it, newest first."""
        return Response([history_entry(entry) for entry in self.get_object().history()])

    def _find(self, rows: QuerySet[ImagePrediction]) -> ImagePrediction:
        pk = self.kwargs["pk"]
        # int() would take " 1", "1_0" and more for ids.
        found = rows.filter(pk=pk).first() if re.fullmatch("[1-9][0-9]*", pk) else None
        if found is None:
            raise NotFound("Prediction not found")  # the tutorial's words
        return found

    def _locked(self) -> ImagePrediction:
        """Return the image, which nobody else can change in this transaction, if it is still what the client saw."""
        prediction = self._find(self.get_queryset().select_for_update(of=("self",)))
        expected = self.request.headers.get("If-Match", "").strip()
        if expected not in {"", "*"} and self._shown(prediction)["ETag"] not in entity_tags(expected):
            raise PreconditionFailed
        return prediction

    @transaction.atomic
    def _correct(self, top_prediction: str | None = None, confidence: float = 1.0) -> Response:
        prediction = self._locked()
        label = top_prediction or prediction.user_label
        if label is None:
            raise ValidationError({"top_prediction": ["There is no label yet that the confidence could be of."]})
        rows = ImagePrediction.objects.filter(pk=prediction.pk)
        services.correct(rows, label, confidence, by=self.request.user, source=Correction.Source.API)
        return self._shown(self.get_object())

    def _submit(self, file: UploadedFile[Any], position: int) -> tuple[dict[str, Any], bool]:
        """Accept one file of several; return its own answer, and whether its image was there before."""
        try:
            prediction, replayed = idempotency.submit(self.request, file, position)
        except (Refusal, StorageAway) as error:
            return {"filename": file.name, "status": STATUS[type(error)], "detail": str(error)}, False
        shown = PredictionSerializer(prediction).data
        return {"filename": prediction.filename, "status": status.HTTP_201_CREATED, "prediction": shown}, replayed

    def _address(self, prediction: ImagePrediction) -> str:
        return reverse("prediction-detail", [prediction.pk], request=self.request)

    def _shown(self, prediction: ImagePrediction, code: int = status.HTTP_200_OK, **headers: str) -> Response:
        data = PredictionSerializer(prediction).data
        # It changes whenever the image's JSON does (RFC 9110, 8.8.3).
        etag = f'"{hashlib.sha256(JSONRenderer().render(data)).hexdigest()[:32]}"'
        return Response(data, code, headers={"ETag": etag, **headers})


@method_decorator(csp_update(settings.BROWSABLE_API_CSP), "dispatch")
class LabelRuleViewSet(ListModelMixin, GenericViewSet[LabelRule]):
    """The label map: what the models' labels are shown as. It is changed in the admin."""

    queryset = LabelRule.objects.all()
    serializer_class = LabelRuleSerializer
    pagination_class = None

    @extend_schema(responses={200: LabelRuleSerializer(many=True), **DENIED})
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List all rules, by label. An image's `label` says what came of them."""
        return super().list(request, *args, **kwargs)


def entity_tags(header: str) -> list[str]:
    """Return a header's entity tags as they were sent out, before a compressing proxy named its encoding in them."""
    return [ENCODING.sub('"', tag) for tag in parse_etags(header)]


def history_entry(entry: Classification | Correction) -> dict[str, Any]:
    """Return an entry of an image's history as JSON; `type` tells which it is."""
    if isinstance(entry, Correction):
        return dict(CorrectionEntrySerializer(entry).data)
    return dict(ClassificationSerializer(entry).data)
