"""Classifying many images again, at once and to the end: what has changed by that, and how to go on after a kill."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from django.db import transaction

from classifier.models import ModelVersion
from predictions import services
from predictions.models import ImagePrediction, ImagePredictionQuerySet, Reclassification, Status
from predictions.services import CHUNK

LABEL = "all_predictions__0__label"


def begin(
    chosen: ImagePredictionQuerySet, choice: str, version: ModelVersion, *, overrule: bool = False
) -> Reclassification:
    """Return the chosen images to the queue, and remember them and what the model said of them."""
    with transaction.atomic():
        before = list(chosen.order_by("pk").values_list("pk", LABEL))
        services.reclassify_each([pk for pk, _ in before], overrule=overrule)
        return Reclassification.objects.create(choice=choice, model_version=version, labels_before=before)


def interrupted(choice: str, version: ModelVersion) -> Reclassification | None:
    """Return the run of the same choice and model that did not come to its end, if there is one."""
    return Reclassification.objects.filter(choice=choice, model_version=version).first()


@dataclass
class Outcome:
    """What a run has changed."""

    classified: int = 0
    failed: int = 0
    deleted: int = 0  # meanwhile
    corrected: int = 0  # keep the label that a person gave them
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)  # the model's label before and after


def outcome(run: Reclassification) -> Outcome:
    """Compare what the model says now with what it said before."""
    result = Outcome()
    for start in range(0, len(run.labels_before), CHUNK):
        before = dict(run.labels_before[start : start + CHUNK])
        rows = ImagePrediction.objects.filter(pk__in=before).values_list("pk", "status", LABEL, "corrected_at")
        found = list(rows)
        result.deleted += len(before) - len(found)
        for pk, status, label, corrected_at in found:
            result.failed += status == Status.FAILED
            result.classified += status == Status.DONE
            result.corrected += corrected_at is not None
            if status == Status.DONE and label != before[pk]:
                result.changes[before[pk] or "", label] += 1
    return result
