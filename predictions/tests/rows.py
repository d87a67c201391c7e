"""Rows without files, for what only reads them."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from classifier.models import ModelVersion
from predictions.models import ImagePrediction, Status


def unsaved(**values: Any) -> ImagePrediction:
    blank = {"filename": "x.jpg", "image_path": "x.jpg", "sha256": "0" * 64, "width": 4, "height": 3, "size": 1}
    done = {"status": Status.DONE, "top_prediction": "cat", "confidence": 0.5}
    return ImagePrediction(**(blank | done | values))


def row(**values: Any) -> ImagePrediction:
    prediction = unsaved(**values)
    prediction.save()
    return prediction


@pytest.fixture
def four(model: ModelVersion) -> None:
    now = timezone.now()
    row(filename="a", confidence=0.1, top_prediction="cat", model_version=model)
    row(filename="b", confidence=0.9, top_prediction="dog", corrected_at=now)
    row(filename="c", confidence=0.5, top_prediction="wildcat", created_at=now - timedelta(days=40))
    row(filename="d", confidence=None, top_prediction=None, status=Status.FAILED)
