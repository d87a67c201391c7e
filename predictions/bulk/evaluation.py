"""Having a version answer images that are there, without anybody seeing it: to compare it before it serves."""

from __future__ import annotations

import logging
from collections.abc import Generator

from django.db.models import Exists, OuterRef

from classifier.models import ModelVersion
from predictions import tasks
from predictions.models import Answer, Classification, ImagePrediction, ImagePredictionQuerySet, Status

logger = logging.getLogger(__name__)
AT_ONCE = 32  # images; whoever ends it loses no more work than theirs


def unanswered(version: ModelVersion, *, corrected: bool = False) -> ImagePredictionQuerySet:
    """Return the classified images that a version has not answered: all, or the corrected ones only."""
    answers = Classification.objects.filter(model_version=version, prediction=OuterRef("pk"))
    # Of an image whose file is gone there is an error, which says so.
    rows = ImagePrediction.objects.filter(~Exists(answers), status=Status.DONE, error="")
    return rows.exclude(corrected_at=None) if corrected else rows


def evaluate(version: ModelVersion, *, corrected: bool = False) -> Generator[tuple[int, list[str]], None, None]:
    """Record a version's answers; what images show stays.

    Yield, every so often, how many more were looked at, and why some of them have no answer. It may be ended at any
    time: what is recorded by then is not looked at again. Raises BundleError and StorageAway.
    """
    from classifier.runtime import load  # native code, of no use to whoever only imports this

    classifier, last = load(version.path, version.digest), 0
    rows = unanswered(version, corrected=corrected).order_by("pk")
    while chunk := list(rows.filter(pk__gt=last)[:AT_ONCE]):
        last = chunk[-1].pk
        looked_at = [(prediction, tasks.look(prediction, classifier, is_seen=False)) for prediction in chunk]
        answers = [(prediction, found) for prediction, found in looked_at if isinstance(found, Answer)]
        Classification.objects.record_beside(answers, version)
        failed = [
            f"{prediction.filename} (prediction {prediction.pk}): {found or 'it could not be looked at'}"
            for prediction, found in looked_at
            if not isinstance(found, Answer)
        ]
        yield len(chunk), failed
