"""Rows, and every change of their status.

    pending -> processing -> done | failed        done | failed -> pending

Each arrow is one conditional UPDATE that names the state it comes from. A claim is known by its attempt and the end of
its lease: whoever lost the lease matches no row any more, so a late result cannot overwrite a newer one.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import PurePath
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.urls import reverse
from django.utils import timezone

from classifier.models import ModelVersion

MAX_ATTEMPTS = 3
LABEL_LENGTH = 200


class Status(models.TextChoices):
    """Where an image stands on its way from upload to labels."""

    PENDING = "pending"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"


def storage_name(prediction: ImagePrediction, name: str) -> str:
    """Return a name of our own making, so that two uploads of one file name never meet."""
    return f"{prediction.created_at:%Y/%m/%d}/{uuid.uuid4().hex}{PurePath(name).suffix}"


class ImagePredictionQuerySet(models.QuerySet["ImagePrediction"]):
    """Questions about many rows, and changes of many."""

    def pending(self) -> ImagePredictionQuerySet:
        """Return those that wait for a worker."""
        return self.filter(status=Status.PENDING)

    def claim(self) -> ImagePrediction | None:
        """Return the oldest waiting image, now leased to the caller alone; None if none waits.

        The rows behind the oldest are tried when other workers win the first: with many workers, somebody always does.
        """
        while candidates := list(self.pending().order_by("pk")[:8]):
            for row in candidates:
                if row._take():
                    return row
        return None

    def recover_stale(self) -> tuple[int, int]:
        """Return expired claims to the queue, or fail those that had MAX_ATTEMPTS; return how many of each."""
        expired = self.filter(status=Status.PROCESSING, lease_expires_at__lt=timezone.now())
        failed = expired.filter(attempts__gte=MAX_ATTEMPTS).update(
            status=Status.FAILED,
            lease_expires_at=None,
            error=f"Classification was tried {MAX_ATTEMPTS} times and never finished. The image may be too much for "
            "the worker; its log says more.",
        )
        returned = expired.filter(attempts__lt=MAX_ATTEMPTS).update(status=Status.PENDING, lease_expires_at=None)
        return returned, failed

    def requeue(self) -> int:
        """Return finished and failed images to the queue, to be classified again; return how many."""
        finished = self.filter(status__in=[Status.DONE, Status.FAILED])
        return finished.update(status=Status.PENDING, attempts=0, error="")


class ImagePrediction(models.Model):
    """An uploaded image and the current truth about it: the newest correction, else what the model says."""

    filename = models.CharField(max_length=255, help_text="The user's name for the file.")
    image_path = models.FileField("file", upload_to=storage_name, max_length=200)
    sha256 = models.CharField("SHA-256", max_length=64)
    width = models.PositiveIntegerField(help_text="Pixels, upright.")
    height = models.PositiveIntegerField(help_text="Pixels, upright.")
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    error = models.TextField(blank=True, help_text="Why it failed.")
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True, blank=True)

    all_predictions = models.JSONField(null=True, blank=True, help_text="The model's own answer, best first.")
    model_version = models.ForeignKey(ModelVersion, models.PROTECT, null=True, blank=True)
    classified_at = models.DateTimeField(null=True, blank=True)

    top_prediction = models.CharField("label", max_length=LABEL_LENGTH, null=True, blank=True)  # noqa: DJ001  (null until classified: the API's contract)
    confidence = models.FloatField(null=True, blank=True)
    corrected_at = models.DateTimeField(null=True, blank=True)

    objects = ImagePredictionQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["id"], condition=Q(status="pending"), name="pending"),
            models.Index(fields=["lease_expires_at"], condition=Q(status="processing"), name="leased"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(confidence__range=(0, 1)), name="confidence_is_a_probability"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="status_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.pk}: {self.filename}"

    def get_absolute_url(self) -> str:
        """Return the address of the image's page."""
        return reverse("detail", args=[self.pk])

    def finish(self, labels: list[dict[str, Any]], version: ModelVersion) -> bool:
        """Record the model's answer, best label first; return False if this claim had been lost.

        A correction stays the truth: the answer is then recorded beside it.
        """
        corrected, best = Q(corrected_at__isnull=False), labels[0]
        return self._leave_processing(
            status=Status.DONE,
            error="",
            all_predictions=labels,
            model_version=version,
            classified_at=timezone.now(),
            top_prediction=Case(When(corrected, then=F("top_prediction")), default=Value(best["label"])),
            confidence=Case(When(corrected, then=F("confidence")), default=Value(best["confidence"])),
        )

    def fail(self, reason: str) -> bool:
        """Record that there will be no answer, and why; return False if this claim had been lost."""
        return self._leave_processing(status=Status.FAILED, error=reason)

    def _take(self) -> bool:
        """Claim this pending row; return False if somebody else was faster."""
        lease = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
        waiting = ImagePrediction.objects.filter(pk=self.pk, status=Status.PENDING, attempts=self.attempts)
        self.status, self.attempts, self.lease_expires_at = Status.PROCESSING, self.attempts + 1, lease
        return waiting.update(status=self.status, attempts=self.attempts, lease_expires_at=lease) == 1

    def _leave_processing(self, **changes: Any) -> bool:
        claim = ImagePrediction.objects.filter(
            pk=self.pk, status=Status.PROCESSING, attempts=self.attempts, lease_expires_at=self.lease_expires_at
        )
        return claim.update(lease_expires_at=None, **changes) == 1


class Correction(models.Model):
    """One person's word on one image. The newest is the truth; none is ever changed."""

    class Source(models.TextChoices):
        """Where it was made."""

        PAGE = "page"
        ADMIN = "admin"
        API = "api", "API"
        COMMAND = "command"

    prediction = models.ForeignKey(ImagePrediction, models.CASCADE, related_name="corrections")
    label_before = models.CharField(max_length=LABEL_LENGTH, blank=True, help_text="Empty if there was none yet.")
    label_after = models.CharField(max_length=LABEL_LENGTH)
    confidence = models.FloatField()
    corrected_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    source = models.CharField(max_length=10, choices=Source.choices)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.label_before or 'none'} -> {self.label_after}"
