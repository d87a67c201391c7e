"""The API's JSON. The tutorial's keys keep their names and meanings; further keys follow them."""

import math
from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from classifier.models import ModelVersion
from classifier.traffic import WHOLE
from predictions import registry
from predictions.labelmap import LabelRule, validate_label
from predictions.models import LABEL_LENGTH, Classification, Correction, ImagePrediction


class LabelSerializer(serializers.Serializer[dict[str, object]]):
    """One of the model's answers."""

    label = serializers.CharField()  # type: ignore[assignment]  # the key's name; it hides Field.label
    confidence = serializers.FloatField(min_value=0, max_value=1)


@extend_schema_field(LabelSerializer(many=True, allow_null=True))
class LabelsField(serializers.JSONField):
    """The model's answers as they are stored; the schema says of which form they are."""


class PredictionSerializer(serializers.ModelSerializer[ImagePrediction]):
    """An image and what is known of it. The three results are null until it is classified."""

    image_path = serializers.CharField(
        source="image_path.name", help_text="The stored file, relative to the media folder."
    )
    all_predictions = LabelsField()
    model_version = serializers.CharField(source="model_version.name", allow_null=True)
    label = serializers.CharField(  # type: ignore[assignment]  # the key's name; it hides Field.label
        allow_null=True,
        help_text="What people are shown: their own word, else top_prediction by the label map, or “unsure”.",
    )

    class Meta:
        model = ImagePrediction
        fields = [
            "id",
            "filename",
            "image_path",
            "top_prediction",
            "confidence",
            "all_predictions",
            "created_at",
            "status",
            "error",
            "attempts",
            "sha256",
            "width",
            "height",
            "size",
            "model_version",
            "classified_at",
            "corrected_at",
            "label",
        ]
        read_only_fields = fields

    def to_representation(self, instance: ImagePrediction) -> dict[str, Any]:
        """Return the JSON's content: what the fields would, without building them anew for each request (0.7 ms)."""
        version = instance.model_version
        return {
            **{name: getattr(instance, name) for name in self.Meta.fields},
            "image_path": instance.image_path.name,
            "model_version": version.name if version else None,
        }


class LabelRuleSerializer(serializers.ModelSerializer[LabelRule]):
    """What one of the models' labels is shown as, and how sure the model must be of it."""

    label = serializers.CharField()  # type: ignore[assignment]  # the key's name; it hides Field.label

    class Meta:
        model = LabelRule
        fields = ["label", "shown_as", "minimum"]
        read_only_fields = fields


class UploadSerializer(serializers.Serializer[dict[str, object]]):
    """The form of an upload, for the browsable API and the schema; predictions.uploads judges the file itself."""

    file = serializers.FileField(help_text="JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF.")


class ProbabilityField(serializers.FloatField):
    """A number from 0 to 1. NaN is none, which no bound holds, nor are JSON's true and false, which Python counts."""

    def to_internal_value(self, data: Any) -> float:
        """Return the number. Raises ValidationError."""
        value: float = super().to_internal_value(data)
        if isinstance(data, bool) or math.isnan(value):
            self.fail("invalid")
        return value


class CorrectionSerializer(serializers.Serializer[dict[str, object]]):
    """What a person says an image shows."""

    top_prediction = serializers.CharField(
        max_length=LABEL_LENGTH, validators=[validate_label], help_text="The right label; any text on one line will do."
    )
    confidence = ProbabilityField(min_value=0, max_value=1)


class PartialCorrectionSerializer(CorrectionSerializer):
    """What a person says, or as much of it as they know."""

    top_prediction = serializers.CharField(
        max_length=LABEL_LENGTH,
        required=False,
        validators=[validate_label],
        help_text="The right label; without it, the one that stands.",
    )
    confidence = ProbabilityField(
        min_value=0, max_value=1, required=False, help_text="Without it, 1 if there is a label: a person is sure."
    )

    def validate(self, attrs: dict[str, object]) -> dict[str, object]:
        """Refuse a correction that says nothing."""
        if not attrs:
            raise serializers.ValidationError("Send top_prediction, confidence or both.")
        return attrs


class ClassificationSerializer(serializers.ModelSerializer[Classification]):
    """What a model version said of an image."""

    type = serializers.CharField(default="classification", read_only=True)
    labels = LabelsField()
    model_version = serializers.CharField(source="model_version.name")
    label = serializers.CharField(  # type: ignore[assignment]  # the key's name; it hides Field.label
        source="shown", help_text="The best of them by the label map."
    )

    class Meta:
        model = Classification
        fields = ["type", "model_version", "labels", "label", "milliseconds", "created_at"]
        read_only_fields = fields


class CorrectionEntrySerializer(serializers.ModelSerializer[Correction]):
    """What a person said of an image."""

    type = serializers.CharField(default="correction", read_only=True)
    corrected_by = serializers.CharField(
        source="corrected_by.username", default=None, allow_null=True, help_text="Null if nobody was logged in."
    )

    class Meta:
        model = Correction
        fields = [
            "type",
            "label_before",
            "label_after",
            "confidence",
            "corrected_by",
            "source",
            "created_at",
            "undone_at",
        ]
        read_only_fields = fields


class UploadResultSerializer(serializers.Serializer[dict[str, object]]):
    """What became of one file of several."""

    filename = serializers.CharField()
    status = serializers.IntegerField(help_text="201, or what the file alone would have been answered.")
    detail = serializers.CharField(required=False, help_text="Why it was refused.")
    prediction = PredictionSerializer(required=False)


class DeletedSerializer(serializers.Serializer[dict[str, object]]):
    """What was deleted."""

    id = serializers.IntegerField()
    filename = serializers.CharField()


class DetailSerializer(serializers.Serializer[dict[str, object]]):
    """Why a request was refused."""

    detail = serializers.CharField()


class PreprocessingSerializer(serializers.Serializer[object]):
    """What is done to an image before the model sees it."""

    size = serializers.IntegerField(help_text="Pixels, both sides.")
    crop = serializers.FloatField(help_text="The centre square's side as a part of the short side.")
    scaling = serializers.CharField(help_text="What the model expects of pixels.")


class ModelVersionSerializer(serializers.ModelSerializer[ModelVersion]):
    """An installed model, or one that was."""

    labels = serializers.SerializerMethodField(help_text="How many it knows; 0 if its files are not at hand.")
    share = serializers.IntegerField(source="percent", help_text="Percent of the images that it answers.")
    answers = serializers.SerializerMethodField(help_text=f"Images that it has answered, {registry.BOUND} at most.")
    origin = serializers.SerializerMethodField(help_text="What it was made of; null if that is not known here.")
    preprocessing = serializers.SerializerMethodField(help_text="Null if its files are not at hand.")
    card = serializers.SerializerMethodField(help_text="The bundle's README.md; empty if there is none.")

    class Meta:
        model = ModelVersion
        fields = [
            "name",
            "backbone",
            "digest",
            "serving",
            "share",
            "shadow",
            "labels",
            "answers",
            "installed_at",
            "served_at",
            "removed_at",
            "origin",
            "preprocessing",
            "card",
        ]
        read_only_fields = fields
        extra_kwargs = {"served_at": {"help_text": "When it was last told to serve; null if it was rolled back since."}}

    def get_labels(self, version: ModelVersion) -> int:
        """Count the labels."""
        return len(version.labels())

    def get_answers(self, version: Any) -> int:
        """Return the bounded count of registry.versions()."""
        return min(int(version.answers), registry.BOUND)

    def get_origin(self, version: ModelVersion) -> str | None:
        """Read where it comes from."""
        bundle = version.bundle()
        return bundle.about.get("origin") if bundle else None

    @extend_schema_field(PreprocessingSerializer(allow_null=True))
    def get_preprocessing(self, version: ModelVersion) -> dict[str, Any] | None:
        """Read it. Models that scale the pixels themselves tell what they expect beside it."""
        bundle = version.bundle()
        return {**asdict(bundle.preprocessing), "scaling": bundle.scaling} if bundle else None

    def get_card(self, version: ModelVersion) -> str:
        """Read the card."""
        return registry.card(version)


class AccuracySerializer(serializers.Serializer[object]):
    """How many corrected images a version got right, with the bounds of a Wilson interval of 95 percent."""

    right = serializers.IntegerField()
    total = serializers.IntegerField()
    share = serializers.FloatField()
    interval = serializers.ListField(child=serializers.FloatField(), min_length=2, max_length=2)


class ReliabilitySerializer(serializers.Serializer[object]):
    """A bin of a reliability diagram."""

    low = serializers.FloatField()
    high = serializers.FloatField()
    count = serializers.IntegerField()
    confidence = serializers.FloatField(help_text="Mean; 0 of none.")
    accuracy = serializers.FloatField()


class LatencySerializer(serializers.Serializer[object]):
    """Milliseconds of decoding and inference, of a version's newest answers."""

    answers = serializers.IntegerField()
    median = serializers.FloatField()
    p95 = serializers.FloatField()


class SideSerializer(serializers.Serializer[object]):
    """One of two versions."""

    model_version = serializers.CharField(source="version.name")
    histogram = serializers.ListField(
        child=serializers.IntegerField(), help_text="Answers by confidence, in bins of equal width."
    )
    latency = LatencySerializer(allow_null=True)
    accuracy = AccuracySerializer()
    reliability = ReliabilitySerializer(many=True)
    ece = serializers.FloatField(allow_null=True, help_text="Expected calibration error; null without corrections.")


class McNemarSerializer(serializers.Serializer[object]):
    """McNemar's test on the images that only one of both got right."""

    only_a = serializers.IntegerField()
    only_b = serializers.IntegerField()
    p = serializers.FloatField()
    is_exact = serializers.BooleanField(help_text="Binomial; otherwise chi-squared with continuity correction.")


class DifferenceSerializer(serializers.ModelSerializer[Classification]):
    """An image of which two versions say different things."""

    prediction = serializers.IntegerField(source="prediction_id")
    a = serializers.CharField(source="label")
    b = serializers.CharField(source="other_label")

    class Meta:
        model = Classification
        fields = ["prediction", "a", "b"]


class ComparisonSerializer(serializers.Serializer[object]):
    """Two versions over the images that both have answered."""

    at = serializers.DateTimeField()
    images = serializers.IntegerField()
    agreeing = serializers.IntegerField()
    corrected = serializers.IntegerField(help_text="Those that accuracy and calibration are measured on.")
    a = SideSerializer()
    b = SideSerializer()
    mcnemar = McNemarSerializer()


class ComparedSerializer(ComparisonSerializer):
    """That, with the newest images of which they say different things."""

    differing = DifferenceSerializer(many=True)


class PromotionSerializer(serializers.Serializer[object]):
    """How a version is to be promoted."""

    force = serializers.BooleanField(
        default=False, help_text="Even if it is worse than the serving one on the corrected images, or unknown there."
    )


class RollbackSerializer(serializers.Serializer[object]):
    """Where rolling back is to lead."""

    name = serializers.CharField(
        default="", help_text="The version that served before: the same request, sent twice, goes back once."
    )


class SharesSerializer(serializers.Serializer[object]):
    """Who is to answer which part of the images; whoever is not named stops."""

    shares = serializers.DictField(
        child=serializers.IntegerField(min_value=0, max_value=WHOLE),
        default=dict,
        help_text="Percent by name; the serving version has what is left, and need not be named.",
    )
    shadows = serializers.ListField(
        child=serializers.CharField(), default=list, help_text="Names of those that classify too, without being seen."
    )
