"""Where row, file and queue meet. Pages, API, admin and commands change things through here."""

from __future__ import annotations

import errno
import logging
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils import timezone

from predictions import queue, uploads
from predictions.models import Correction, ImagePrediction, ImagePredictionQuerySet

logger = logging.getLogger(__name__)

Person = User | AnonymousUser | None
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageFull(Exception):
    """The upload was fine, but there is no room for it. Nothing of it was kept."""


def submit(file: UploadedFile[Any], by: Person = None) -> ImagePrediction:
    """Accept an upload: store the file, create its row, ring for a worker. Raises UploadRejected and StorageFull.

    The file is on the disk before the row is, and what fails in between takes it away again.
    """
    accepted = uploads.inspect(file)
    prediction = ImagePrediction(
        filename=accepted.filename,
        sha256=accepted.sha256,
        width=accepted.width,
        height=accepted.height,
        size=accepted.size,
        uploaded_by=_known(by),
    )
    try:
        prediction.image_path.save(f"upload.{accepted.extension}", file, save=False)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StorageFull("There is no room for this file on the server") from error
        raise
    try:
        prediction.save(force_insert=True)
    except BaseException:
        prediction.image_path.delete(save=False)
        raise
    queue.ring_for(prediction)
    return prediction


@transaction.atomic
def correct(pk: int, label: str, confidence: float, *, by: Person, source: Correction.Source) -> ImagePrediction:
    """Record a person's word on an image; from now on it is the truth. Raises ImagePrediction.DoesNotExist."""
    prediction = ImagePrediction.objects.select_for_update().get(pk=pk)
    Correction.objects.create(
        prediction=prediction,
        label_before=prediction.top_prediction or "",
        label_after=label,
        confidence=confidence,
        corrected_by=_known(by),
        source=source,
    )
    prediction.top_prediction, prediction.confidence, prediction.corrected_at = label, confidence, timezone.now()
    prediction.save(update_fields=["top_prediction", "confidence", "corrected_at"])
    return prediction


@transaction.atomic
def remove(prediction: ImagePrediction) -> None:
    """Delete the row, and once that is certain, the file: there is never a row whose file is gone.

    Raises ImagePrediction.DoesNotExist if somebody else was faster.
    """
    storage, name = prediction.image_path.storage, str(prediction.image_path.name)
    transaction.on_commit(lambda: storage.delete(name), robust=True)
    if not prediction.delete()[0]:
        raise ImagePrediction.DoesNotExist


@transaction.atomic
def reclassify(predictions: ImagePredictionQuerySet) -> int:
    """Have finished and failed images classified again; return how many. Until then they keep their labels."""
    count = predictions.requeue()
    queue.ring_for_backlog()
    return count


def recover_stale() -> None:
    """The sweep, which django-q2 runs every 30 s: put right what a dead worker or a lost bell left behind."""
    returned, failed = ImagePrediction.objects.recover_stale()
    if returned or failed:
        logger.warning("Unfinished claims: %d images return to the queue, %d failed for good", returned, failed)
    queue.ring_for_backlog()


def _known(person: Person) -> User | None:
    """Return the user, if it is one."""
    return person if isinstance(person, User) else None
