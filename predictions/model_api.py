"""The REST API of model versions: DRF's side of registry.py."""

from __future__ import annotations

from typing import Any

from csp.decorators import csp_update
from django.conf import settings
from django.db.models import QuerySet
from django.utils.decorators import method_decorator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from predictions import comparison, registry
from predictions.api import BODY, DENIED, NO_PAGE
from predictions.pagination import LinkHeaderPagination
from predictions.serializers import (
    ComparedSerializer,
    ComparisonSerializer,
    DetailSerializer,
    DifferenceSerializer,
    ModelVersionSerializer,
    PromotionSerializer,
    RollbackSerializer,
    SharesSerializer,
)

DIFFERING = 100  # of the images on which two versions differ
UNKNOWN = {404: OpenApiResponse(DetailSerializer, description="There is no version of that name"), **DENIED}
REFUSED = {409: OpenApiResponse(DetailSerializer, description="It would do harm; the sentence says which"), **BODY}
INVALID = {400: OpenApiResponse(OpenApiTypes.OBJECT, description="What is wrong, by field")}
PAIR = [OpenApiParameter(side, str, required=True, description="A version's name.") for side in "ab"]


@method_decorator(csp_update(settings.BROWSABLE_API_CSP), "dispatch")
class ModelVersionViewSet(GenericViewSet[Any]):
    """Installed models: which of them classify what, and how they compare."""

    serializer_class = ModelVersionSerializer
    pagination_class = LinkHeaderPagination
    filter_backends: list[Any] = []
    lookup_field = "name"
    lookup_value_regex = "[^/]+"
    parser_classes = [JSONParser, MultiPartParser, FormParser]

    def get_queryset(self) -> QuerySet[Any]:
        """Return the versions."""
        return registry.versions()

    def get_object(self) -> None:
        """Return nothing: OPTIONS asks for what a PUT would change, and the one of the shares is about all versions."""

    def get_serializer_class(self) -> Any:
        """Return the form that fits the request."""
        forms: dict[str, Any] = {
            "promote": PromotionSerializer,
            "shares": SharesSerializer,
            "rollback": RollbackSerializer,
        }
        return forms.get(self.action or "", ModelVersionSerializer)

    @extend_schema(responses={200: ModelVersionSerializer(many=True), **NO_PAGE, **DENIED})
    def list(self, request: Request) -> Response:
        """List all versions, the serving one first, removed ones last; the Link header names the next page."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(responses={200: ModelVersionSerializer, **UNKNOWN})
    def retrieve(self, request: Request, name: str) -> Response:
        """Read one version."""
        return self._one(name)

    @extend_schema(responses={204: None, **UNKNOWN, **REFUSED})
    def destroy(self, request: Request, name: str) -> Response:
        """Delete a version's files; what it has answered stays in the images' histories. 409 while it classifies."""
        registry.remove(registry.find(name), by=request.user)
        return Response(status=204)

    @extend_schema(
        request=PromotionSerializer, responses={200: ModelVersionSerializer, **INVALID, **UNKNOWN, **REFUSED}
    )
    @action(detail=True, methods=["post"])
    def promote(self, request: Request, name: str) -> Response:
        """Let a version serve, with all of the traffic.

        409 with the figures if it is worse than the serving one on the corrected images, or has answered none of them,
        unless it is forced.
        """
        version, form = registry.find(name), PromotionSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        registry.promote(version, force=form.validated_data["force"], by=request.user)
        return self._one(name)

    @extend_schema(request=RollbackSerializer, responses={200: ModelVersionSerializer, **INVALID, **DENIED, **REFUSED})
    @action(detail=False, methods=["post"])
    def rollback(self, request: Request) -> Response:
        """Let the version serve again that did before this one; 409 if that is another one than was named."""
        form = RollbackSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        return self._one(registry.rollback(form.validated_data["name"], by=request.user).name)

    @extend_schema(
        request=SharesSerializer, responses={200: ModelVersionSerializer(many=True), **INVALID, **UNKNOWN, **REFUSED}
    )
    # A form has no numbers by name: nothing of it would be read, and every version but the serving one stopped.
    @action(detail=False, methods=["put"], pagination_class=None, parser_classes=[JSONParser])
    def shares(self, request: Request) -> Response:
        """Say which percentages of the images versions answer, and which classify unseen, as shadows; list these."""
        form = SharesSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        traffic = registry.set_shares(**form.validated_data, by=request.user)
        rows = self.get_queryset().filter(pk__in=[version.pk for version in (*traffic.shares(), *traffic.shadows)])
        return Response(ModelVersionSerializer(rows, many=True).data)

    @extend_schema(parameters=PAIR, responses={200: ComparedSerializer, **INVALID, **UNKNOWN})
    @action(detail=False)
    def compare(self, request: Request) -> Response:
        """Put two versions side by side, over the images that both have answered."""
        names = [request.query_params.get(side, "") for side in "ab"]
        if wrong := {side: ["Name a version."] for side, name in zip("ab", names, strict=True) if not name}:
            raise ValidationError(wrong)
        a, b = map(registry.find, names)
        differing = DifferenceSerializer(comparison.differing(a, b, DIFFERING), many=True).data
        return Response({**ComparisonSerializer(comparison.compare(a, b)).data, "differing": differing})

    def _one(self, name: str) -> Response:
        return Response(ModelVersionSerializer(registry.find(name)).data)
