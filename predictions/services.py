"""Where row, file and queue meet. Pages, API, admin and commands change things through here."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from predictions import admission, logs, metrics, queue, renditions, uploads
from predictions.admission import StorageFull
from predictions.inference_requests import InferenceRequest
from predictions.labelmap import LabelMap
from predictions.models import Correction, IdempotencyKey, ImagePrediction, ImagePredictionQuerySet, Priority, Status
from predictions.storage import is_disk_full, photos
from predictions.uploads import AcceptedImage, Refusal

logger = logging.getLogger(__name__)

Person = User | AnonymousUser | None
CHUNK = 1000  # ids in one query: databases bound their number
NO_ROOM = "There is no room for this file on the server"


class KeyReused(Refusal):
    """A client's key belongs to another file."""

    reason = "key_reused"


class AlreadyDeleted(Refusal):
    """What was uploaded with this key has been deleted since; it is not uploaded again."""

    reason = "already_deleted"


def submit(file: UploadedFile[Any], by: Person = None) -> ImagePrediction:
    """Accept an upload: store the file, create its row, ring for a worker.

    Raises UploadRejected, StorageFull, StorageAway, QuotaExceeded and QueueFull; nothing of the file is kept then.
    """
    admission.admit(file.size or 0, _known(by))
    return _store(file, _inspect(file), by)


def bring_in(file: UploadedFile[Any], by: Person = None) -> ImagePrediction:
    """Accept one file of an import: behind the uploads, and without the bounds of queue and quota.

    Those are for the users of the service, and not for whoever runs it. Raises what submit() does but for them.
    """
    return _store(file, _inspect(file), by, priority=Priority.BULK)


def submit_once(file: UploadedFile[Any], by: Person, key: str, position: int = 0) -> tuple[ImagePrediction, bool]:
    """Accept an upload unless it was accepted before, by the same person under the same key.

    Return its image, and whether it was there before. Raises what submit() does, KeyReused and AlreadyDeleted.
    """
    keys = IdempotencyKey.objects.filter(user=_known(by), key=key, position=position)
    # What was accepted stays accepted, whoever is in the queue now.
    if not keys.exists():
        admission.admit(file.size or 0, _known(by))
    accepted = _inspect(file)
    fingerprint = hashlib.sha256(f"{accepted.sha256} {accepted.filename}".encode()).hexdigest()
    earlier = keys.first()
    if earlier is None:
        own = IdempotencyKey(user=_known(by), key=key, position=position, fingerprint=fingerprint)
        try:
            return _store(file, accepted, by, key=own), False
        except IntegrityError:
            # The same request, sent twice at the same moment: the other one was faster.
            if (earlier := keys.first()) is None:
                raise
    if earlier.fingerprint != fingerprint:
        raise KeyReused("This Idempotency-Key was used for another file; take a new key for each upload")
    if earlier.prediction is None:
        raise AlreadyDeleted("What was uploaded with this Idempotency-Key has been deleted since")
    return earlier.prediction, True


def _inspect(file: UploadedFile[Any]) -> AcceptedImage:
    """Judge a file; what found no room while it was received cannot be judged."""
    if isinstance(file, uploads.FileWithoutRoom):
        raise StorageFull(NO_ROOM)
    return uploads.inspect(file)


def _store(
    file: UploadedFile[Any],
    accepted: AcceptedImage,
    by: Person,
    *,
    key: IdempotencyKey | None = None,
    priority: Priority = Priority.UPLOAD,
) -> ImagePrediction:
    """Store the file, then its row, and with it its key; ring.

    The file is on the disk before the row is, and what fails in between takes it away again.
    """
    with connection.cursor():  # without a database, no file is written
        pass
    if settings.STRIP_METADATA:
        file, accepted = uploads.without_metadata(file, accepted)
    prediction = ImagePrediction(
        filename=accepted.filename,
        sha256=accepted.sha256,
        width=accepted.width,
        height=accepted.height,
        size=accepted.size,
        uploaded_by=_known(by),
        request_id=logs.request_id.get(),
        priority=priority,
    )
    try:
        prediction.image_path.save(f"upload.{accepted.extension}", file, save=False)
        try:
            _write(prediction, key)
        except BaseException:
            _withdraw(prediction)
            raise
    except (OSError, DatabaseError) as error:
        if is_disk_full(error):
            raise StorageFull(NO_ROOM) from error
        raise
    queue.ring_for(prediction)
    return prediction


def _write(prediction: ImagePrediction, key: IdempotencyKey | None) -> None:
    """Write the row, and its key with it."""
    if key is None:
        prediction.save(force_insert=True)  # alone, it holds SQLite's lock for half as long
        return
    with transaction.atomic():
        prediction.save(force_insert=True)
        key.prediction = prediction
        key.save(force_insert=True)


def _withdraw(prediction: ImagePrediction) -> None:
    """Take the file of a row that could not be written away again, if it is certain that there is no such row.

    A database that is restarted may have written it, and only the answer was lost. What stays without a row then,
    manage.py check_storage finds.
    """
    try:
        written = ImagePrediction.objects.filter(image_path=prediction.image_path.name).exists()
    except DatabaseError:
        logger.warning("%s stays: whether it has a row is not known", prediction.image_path.name)
        return
    if not written:
        prediction.image_path.delete(save=False)


@dataclass(frozen=True)
class Truth:
    """What a person says that an image shows."""

    label: str
    confidence: float = 1.0  # 0 to 1


def correct(
    predictions: ImagePredictionQuerySet, label: str, confidence: float, *, by: Person, source: Correction.Source
) -> UUID:
    """Record a person's one word on all these images. Returns and raises what correct_each() does."""
    truths = dict.fromkeys(predictions.values_list("pk", flat=True), Truth(label, confidence))
    return correct_each(truths, by=by, source=source)


@transaction.atomic
def correct_each(truths: Mapping[int, Truth], *, by: Person, source: Correction.Source) -> UUID:
    """Record a person's word on each image, by its id; from now on it is the truth. Return what undo() takes.

    Ids that name no image, any more, are passed over. Raises ImagePrediction.DoesNotExist if none does.
    """
    ids, batch, now = sorted(truths), uuid4(), timezone.now()
    for start in range(0, len(ids), CHUNK):
        rows = ImagePrediction.objects.select_for_update(of=("self",)).filter(pk__in=ids[start : start + CHUNK])
        Correction.objects.bulk_create(
            Correction(
                prediction=row,
                label_before=row.top_prediction or "",
                label_after=truths[row.pk].label,
                confidence=truths[row.pk].confidence,
                corrected_by=_known(by),
                source=source,
                created_at=now,
                batch=batch,
            )
            for row in rows.only("top_prediction").order_by("pk")
        )
    made = Correction.objects.filter(batch=batch)
    # Found by the image: to a database that has no statistics of this batch yet it looks like a single row, and all of
    # it would be gone through for each image. An expression of the column is in no index.
    own = Correction.objects.annotate(made_in=Coalesce("batch", "batch")).filter(made_in=batch)
    word = own.filter(prediction=OuterRef("pk")).order_by()
    corrected = ImagePrediction.objects.filter(pk__in=made.values("prediction")).update(
        top_prediction=Subquery(word.values("label_after")),
        confidence=Subquery(word.values("confidence")),
        corrected_at=now,
    )
    if not corrected:
        raise ImagePrediction.DoesNotExist
    transaction.on_commit(lambda: metrics.CORRECTIONS.labels(source).inc(corrected), robust=True)
    return batch


def corrected(batch: UUID) -> tuple[int, int]:
    """Return on how many images a word was recorded in one go, and how many of them showed that label before."""
    words = Correction.objects.filter(batch=batch)
    counts = words.aggregate(all=Count("pk"), same=Count("pk", filter=Q(label_before=F("label_after"))))
    return counts["all"], counts["same"]


def accept(predictions: ImagePredictionQuerySet, *, by: Person, source: Correction.Source) -> UUID:
    """Record that the model is right about these images, those of them that it has answered.

    What it says by the label map becomes a person's word, and replaces an earlier one. Returns and raises what
    correct_each() does.
    """
    answered = predictions.filter(all_predictions__isnull=False).values_list("pk", "all_predictions")
    name = LabelMap.current().name
    truths = {pk: Truth(name(answers[0]["label"])) for pk, answers in answered.iterator(chunk_size=CHUNK) if answers}
    return correct_each(truths, by=by, source=source)


@transaction.atomic
def undo(batch: UUID) -> int:
    """Take corrections made together back; return how many. Each image shows what it would without them."""
    return _undo(Correction.objects.filter(batch=batch))


@transaction.atomic
def remove(predictions: ImagePredictionQuerySet) -> int:
    """Delete rows, and once that is certain, their files: there is never a row whose file is gone. Return how many."""
    rows = list(predictions.only("image_path"))
    names = [name for prediction in rows for name in renditions.files_of(prediction)]
    transaction.on_commit(lambda: photos().delete_all(names), robust=True)
    # By id: those whose files are listed and no others, whatever else matches by now.
    ids, deleted = [row.pk for row in rows], 0
    for start in range(0, len(ids), CHUNK):
        chunk = ImagePrediction.objects.filter(pk__in=ids[start : start + CHUNK])
        deleted += chunk.delete()[1].get(ImagePrediction._meta.label, 0)
    return deleted


def reclassify(predictions: ImagePredictionQuerySet, *, overrule: bool = False) -> int:
    """Have these images classified again, as reclassify_each() does."""
    return reclassify_each(list(predictions.values_list("pk", flat=True)), overrule=overrule)


@transaction.atomic
def reclassify_each(ids: Sequence[int], *, overrule: bool = False) -> int:
    """Have finished and failed images classified again; return how many. Until then they keep their labels.

    A correction stays the truth, unless the model is to overrule it: then it is undone, but stays in the history. By
    id: what was chosen for its label or its correction would no longer match without that.

    One image alone is awaited as uploads are; many let those go first.
    """
    count, ids = 0, sorted(ids)
    priority = Priority.BULK if len(ids) > 1 else Priority.UPLOAD
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        if overrule:
            _undo(Correction.objects.filter(prediction__in=chunk))
        count += ImagePrediction.objects.filter(pk__in=chunk).requeue(priority)
    queue.ring_for_backlog(queue.workers())
    return count


@transaction.atomic
def find_file_again(predictions: ImagePredictionQuerySet) -> None:
    """Take back that files are gone: failed images are classified after all."""
    failed = predictions.filter(status=Status.FAILED)
    predictions.filter(status=Status.DONE).update(error="")
    reclassify(failed)


def _undo(corrections: QuerySet[Correction]) -> int:
    """Undo those of the corrections that stand, and have their images show what remains; return how many."""
    predictions = ImagePrediction.objects.filter(pk__in=corrections.values("prediction"))
    list(predictions.select_for_update(of=("self",)).order_by("pk").values_list("pk"))  # nobody corrects them meanwhile
    count = corrections.filter(undone_at=None).update(undone_at=timezone.now())
    predictions.restore_truth()
    return count


def recover_stale() -> None:
    """The sweep, which every cluster runs: put right what a dead worker or a lost bell left behind."""
    IdempotencyKey.objects.expired().delete()
    InferenceRequest.objects.expired().delete()
    returned, failed = ImagePrediction.objects.recover_stale()
    metrics.CLAIMS_EXPIRED.labels("returned").inc(returned)
    metrics.CLAIMS_EXPIRED.labels("failed").inc(failed)
    if returned or failed:
        logger.warning("Unfinished claims: %d images return to the queue, %d failed for good", returned, failed)
    queue.ring_for_backlog(settings.WORKERS)  # every machine sweeps
    if renditions.missing().exists():
        queue.ring()


def _known(person: Person) -> User | None:
    """Return the user, if it is one."""
    return person if isinstance(person, User) else None
