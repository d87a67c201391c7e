"""Where row, file and queue meet. Pages, API, admin and commands change things through here."""

from __future__ import annotations

import errno
import logging
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.models import AnonymousUser, User
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils import timezone

from predictions import queue, renditions, uploads
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
def correct(
    predictions: ImagePredictionQuerySet, label: str, confidence: float, *, by: Person, source: Correction.Source
) -> UUID:
    """Record a person's word on images; from now on it is the truth. Return what undo() takes.

    Raises ImagePrediction.DoesNotExist if there is no such image.
    """
    rows = list(predictions.select_for_update(of=("self",)).only("pk", "top_prediction").order_by("pk"))
    if not rows:
        raise ImagePrediction.DoesNotExist
    batch, now = uuid4(), timezone.now()
    Correction.objects.bulk_create(
        Correction(
            prediction=row,
            label_before=row.top_prediction or "",
            label_after=label,
            confidence=confidence,
            corrected_by=_known(by),
            source=source,
            created_at=now,
            batch=batch,
        )
        for row in rows
    )
    changed = ImagePrediction.objects.filter(corrections__batch=batch)
    ImagePrediction.objects.filter(pk__in=changed.values("pk")).update(
        top_prediction=label, confidence=confidence, corrected_at=now
    )
    return batch


@transaction.atomic
def undo(batch: UUID) -> int:
    """Take corrections made together back; return how many. Each image shows what it would without them."""
    corrections = Correction.objects.filter(batch=batch, undone_at=None)
    predictions = list(ImagePrediction.objects.select_for_update(of=("self",)).filter(corrections__in=corrections))
    count = corrections.update(undone_at=timezone.now())
    for prediction in predictions:
        prediction.restore_truth()
    return count


@transaction.atomic
def remove(predictions: ImagePredictionQuerySet) -> int:
    """Delete rows, and once that is certain, their files: there is never a row whose file is gone. Return how many."""
    names = [name for prediction in predictions.only("image_path") for name in renditions.files_of(prediction)]
    storage = ImagePrediction._meta.get_field("image_path").storage
    for name in names:
        transaction.on_commit(lambda name=name: storage.delete(name), robust=True)  # type: ignore[misc]
    return predictions.delete()[1].get(ImagePrediction._meta.label, 0)


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
