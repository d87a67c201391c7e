"""What is asked and answered at once, and not recorded: a row from the question to the answer, and no longer.

    waiting -> claimed -> answered | refused        each may be deleted: its asker has gone, or its time has passed

A claim is never returned: whoever asks waits for some seconds only, and an image that killed its worker meets no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from predictions.logs import ID_LENGTH

NAME_LENGTH = 200  # of a model version, as classifier.models has it


@dataclass(frozen=True)
class Question:
    """An image's bytes, or a tensor's, row-major and little-endian."""

    content: bytes
    sha256: str  # of the content
    datatype: str = ""  # of a tensor's elements: FP32 or UINT8
    shape: tuple[int, ...] = ()  # of a tensor, without the batch
    model_version: str = ""  # which is to answer; empty: the one that the traffic decides on

    @property
    def is_image(self) -> bool:
        """Return whether it is an image, to be decoded."""
        return not self.datatype


class InferenceRequestQuerySet(models.QuerySet["InferenceRequest"]):
    """Many questions. All times are the database's: the clocks of several machines differ."""

    def ask(self, questions: Iterable[Question], *, top_k: int, seconds: float, request_id: str) -> list[int]:
        """Write questions that may wait so many seconds; return their ids, in that order."""
        fields = {"top_k": top_k, "request_id": request_id, "expires_at": Now() + timedelta(seconds=seconds)}
        rows = [InferenceRequest(**vars(question), **fields) for question in questions]
        return [row.pk for row in self.bulk_create(rows)]

    def waiting(self) -> InferenceRequestQuerySet:
        """Return those that nobody has claimed, and for which somebody still waits."""
        return self.filter(claimed_at=None, expires_at__gt=Now())

    def claim(self, pk: int) -> InferenceRequest | None:
        """Return a question that is the caller's alone to answer; None if another was faster, or it is gone.

        Its content is then with the caller only: SQLite would write it anew with every change of the row.
        """
        row = self.waiting().filter(pk=pk)
        question = row.first()
        return question if question and row.update(claimed_at=Now(), content=b"") == 1 else None

    def expired(self) -> InferenceRequestQuerySet:
        """Return those for which nobody waits any more, also if the database's clock was set back meanwhile."""
        longest = timedelta(seconds=2 * settings.INFER_SECONDS)
        return self.filter(Q(expires_at__lt=Now()) | Q(expires_at__gt=Now() + longest))


class InferenceRequest(models.Model):
    """One image, or one tensor, that a client waits for the labels of."""

    sha256 = models.CharField("SHA-256", max_length=64)
    datatype = models.CharField(max_length=5, blank=True, help_text="Of a tensor; empty: it is an image.")
    shape = models.JSONField(default=tuple, help_text="Of a tensor, without the batch.")
    model_version = models.CharField(max_length=NAME_LENGTH, blank=True, help_text="Empty: by the traffic.")
    top_k = models.PositiveSmallIntegerField()
    request_id = models.CharField(max_length=ID_LENGTH, blank=True)
    expires_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True)

    labels = models.JSONField(null=True, help_text="The answer, best first.")
    answered_by = models.CharField(max_length=NAME_LENGTH, blank=True, help_text="The model version.")
    error = models.TextField(blank=True, help_text="Why there is no answer, for whoever asked.")
    # Last: SQLite reads a row from its beginning.
    content = models.BinaryField(help_text="Empty once it is claimed.")

    objects = InferenceRequestQuerySet.as_manager()

    class Meta:
        app_label = "predictions"

    def __str__(self) -> str:
        return f"{self.pk}: {self.datatype or 'image'} {self.sha256[:8]}"
