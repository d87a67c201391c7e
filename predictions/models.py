"""Rows, and every change of their status.

    pending -> processing -> done | failed        done | failed -> pending

Each arrow is one conditional UPDATE that names the state it comes from. A claim is known by its attempt and the end of
its lease: whoever lost the lease matches no row any more, so a late result cannot overwrite a newer one.
"""

from __future__ import annotations

import itertools
import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Case, Count, F, Min, OuterRef, Q, Subquery, Value, When
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Cast, Coalesce, Concat, Now
from django.urls import reverse
from django.utils import timezone

from classifier.models import ModelVersion
from predictions import labelmap
from predictions.inference_requests import InferenceRequest  # noqa: F401  (a model of this app)
from predictions.labelmap import LabelMap
from predictions.logs import ID_LENGTH
from predictions.tokens import ApiToken  # noqa: F401  (a model of this app)

MAX_ATTEMPTS = 3
# Images claimed at once: one SELECT and one UPDATE for eight. Claiming each alone costs a burst a fifth of its speed.
BATCH = 8
MOST_AT_ONCE = 128  # of bulk work, by whoever is fast: more would gain nothing
IN_SIGHT = 1000
LABEL_LENGTH = labelmap.LABEL_LENGTH
KEY_LENGTH = 255
LONGEST_ID = 18  # digits; databases have room for one more, and complain beyond that
KEY_LIFETIME = timedelta(hours=24)
FILE_GONE = "The file is no longer in the storage"
FILE_FORBIDDEN = "The storage refuses this file, though it gives others: see what may be read there, or is archived"
# What a worker needs to know of a row.
CLAIMED = "attempts", "image_path", "priority", "queued_at", "rendered_at", "request_id", "sha256", "taken_at"


class Status(models.TextChoices):
    """Where an image stands on its way from upload to labels."""

    PENDING = "pending"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"


class Priority(models.IntegerChoices):
    """Whose turn it is, the lowest first."""

    UPLOAD = 0  # somebody waits for it
    BULK = 1  # imported, or one of many to be classified again: behind the uploads, and none is refused for it


@dataclass(frozen=True)
class Answer:
    """What a model says of an image, and what was found out on the way."""

    labels: list[dict[str, Any]]  # best first
    milliseconds: float | None = None  # of decoding and inference; unknown if nobody had to look at the image
    taken_at: datetime | None = None
    is_rendered: bool = False  # whether its thumbnail was made, too
    embedding: bytes | None = None  # what Embedding keeps


def to_id(text: str) -> int:
    """Return the id that a text from outside is; 0, which no row has, if it is none that a row could have."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_ID else 0


def storage_name(prediction: ImagePrediction, name: str) -> str:
    """Return a name of our own making, so that two uploads of one file name never meet."""
    return f"{prediction.created_at:%Y/%m/%d}/{uuid.uuid4().hex}{PurePath(name).suffix}"


def _newest_word(column: str) -> Subquery:
    """Return the expression of a column of an image's newest correction that stands; null if none does."""
    standing = Correction.objects.filter(prediction=OuterRef("pk"), undone_at=None).order_by("-pk")
    return Subquery(standing.values(column)[:1])


def _next_of(waiting: Sequence[ImagePrediction], most: int) -> Sequence[ImagePrediction]:
    """Return those of the waiting images, in the order of the queue, that one caller may claim at once."""
    first = waiting[0]
    alike = itertools.takewhile(lambda row: (row.attempts, row.priority) == (0, first.priority), waiting)
    most = BATCH if first.priority == Priority.UPLOAD else most
    return list(itertools.islice(alike, max(1, min(len(waiting) // 2, most)))) or [first]


class ImagePredictionQuerySet(models.QuerySet["ImagePrediction"]):
    """Questions about many rows, and changes of many."""

    def pending(self) -> ImagePredictionQuerySet:
        """Return those that wait for a worker."""
        return self.filter(status=Status.PENDING)

    def awaited(self) -> ImagePredictionQuerySet:
        """Return those that wait for a worker, and somebody for them; in the order in which they are claimed."""
        return self.pending().filter(priority=Priority.UPLOAD).order_by("pk")

    def claim(self, most: int = BATCH) -> list[ImagePrediction]:
        """Return the images whose turn it is, now leased to the caller alone; none if none waits.

        At most BATCH of uploads, which come alone, and `most` of others; and at most half of those in sight: the rest
        is for the other workers. One that was tried before comes alone, so that an image which kills its worker takes
        no innocent ones with it.
        """
        in_sight = self.pending().order_by("priority", "pk").only(*CLAIMED).annotate(asked_at=Now())
        while waiting := list(in_sight[: 2 * most]):
            # By the database's clock: those of several machines differ. And at a moment of our own, so that nobody who
            # claims now has the same: SQLite tells the time in milliseconds.
            now: datetime = vars(waiting[0])["asked_at"]
            lease = now + timedelta(seconds=settings.LEASE_SECONDS, microseconds=secrets.randbelow(1_000_000))
            if claimed := self._lease(_next_of(waiting, most), lease):
                return claimed
        return []

    def _lease(self, rows: Sequence[ImagePrediction], lease: datetime) -> list[ImagePrediction]:
        """Claim pending rows of equal attempts, in one UPDATE; return those that nobody else was faster to claim."""
        attempts = rows[0].attempts
        waiting = self.filter(pk__in=[row.pk for row in rows], status=Status.PENDING, attempts=attempts)
        won = waiting.update(status=Status.PROCESSING, attempts=attempts + 1, lease_expires_at=lease)
        for row in rows:
            row.status, row.attempts, row.lease_expires_at = Status.PROCESSING, attempts + 1, lease
        if won == len(rows):
            return list(rows)
        mine = [row for row in rows if row._claim().exists()]
        # More than were won: somebody else's lease is the same by chance. Rather than guess, leave them to the sweep.
        return mine if len(mine) <= won else []

    def give_back(self, claimed: Sequence[ImagePrediction]) -> None:
        """Return images to the queue that are claimed, all at once, and were not looked at, as if nobody had."""
        if claimed:
            lease = {"attempts": claimed[0].attempts, "lease_expires_at": claimed[0].lease_expires_at}
            rows = self.filter(pk__in=[row.pk for row in claimed], status=Status.PROCESSING, **lease)
            rows.update(status=Status.PENDING, attempts=claimed[0].attempts - 1, lease_expires_at=None)

    def put_off(self, claimed: Sequence[ImagePrediction]) -> None:
        """Give claims back that could not even be tried, as if they had not been made.

        The first stays leased until its lease ends: it is what was tried in vain, and would at once be tried again.
        """
        for row in claimed:
            state: dict[str, Any] = {"attempts": row.attempts - 1}
            if row is not claimed[0]:
                state |= {"status": Status.PENDING, "lease_expires_at": None}
            row._claim().update(**state)

    def recover_stale(self) -> tuple[int, int]:
        """Return expired claims to the queue, or fail those that had MAX_ATTEMPTS; return how many of each.

        Leases that end later than any can were given before the database's clock was set back: they count as expired.
        """
        ended = Q(lease_expires_at__lt=Now()) | Q(
            lease_expires_at__gt=Now() + timedelta(seconds=2 * settings.LEASE_SECONDS)
        )
        expired = self.filter(ended, status=Status.PROCESSING)
        failed = expired.filter(attempts__gte=MAX_ATTEMPTS).update(
            status=Status.FAILED,
            lease_expires_at=None,
            error=f"Classification was tried {MAX_ATTEMPTS} times and never finished. The image may be too much for "
            "the worker; its log says more.",
        )
        returned = expired.filter(attempts__lt=MAX_ATTEMPTS).update(status=Status.PENDING, lease_expires_at=None)
        return returned, failed

    def with_corrector(self) -> ImagePredictionQuerySet:
        """Add `corrector`: the name of who made the newest correction that stands, None if nobody known did."""
        return self.annotate(corrector=_newest_word("corrected_by__username"))

    def restore_truth(self) -> None:
        """Show the newest correction that stands, else the model's own answer, else nothing."""
        said = KeyTransform("0", "all_predictions")
        confidence = Cast(KeyTextTransform("confidence", said), models.FloatField())
        self.update(
            top_prediction=Coalesce(_newest_word("label_after"), KeyTextTransform("label", said)),
            confidence=Coalesce(_newest_word("confidence"), confidence),
            corrected_at=_newest_word("created_at"),
        )

    def lose_file(self) -> int:
        """Record that the files are gone; return of how many images. Waiting ones fail, the others keep what they have.

        Those that a worker has in hand it will fail itself.
        """
        finished = self.filter(status__in=[Status.DONE, Status.FAILED])
        behind = Concat("error", Value(f". {FILE_GONE}", models.TextField()))
        failed_before = finished.exclude(error="").update(error=behind)
        classified = finished.filter(error="").update(error=FILE_GONE)
        return failed_before + classified + self.pending().update(status=Status.FAILED, error=FILE_GONE)

    @transaction.atomic(savepoint=False)
    def finish(self, answers: Iterable[tuple[ImagePrediction, Answer]], version: ModelVersion) -> list[ImagePrediction]:
        """Record a model's answers; return the images whose claim still held, and whose answers therefore count.

        A correction stays the truth: the answer is then recorded beside it. What other versions said is kept.
        """
        answers, now = list(answers), timezone.now()
        held = self._held([prediction for prediction, _ in answers])
        finished = [(prediction, answer) for prediction, answer in answers if prediction.pk in held]
        Classification.objects.record(finished, version, now)
        self._show(finished, version, now)
        return [prediction for prediction, _ in finished]

    def _held(self, rows: Sequence[ImagePrediction]) -> set[int]:
        """Return the ids of the rows that are still leased as they were claimed, and keep those so."""
        claimed = self.filter(pk__in=[row.pk for row in rows], status=Status.PROCESSING).order_by("pk")
        leases = set(claimed.select_for_update(of=("self",)).values_list("pk", "attempts", "lease_expires_at"))
        return {row.pk for row in rows if (row.pk, row.attempts, row.lease_expires_at) in leases}

    def _show(self, answers: Sequence[tuple[ImagePrediction, Answer]], version: ModelVersion, now: datetime) -> None:
        """Show the recorded answers, unless a correction is the truth."""
        said = Classification.objects.filter(prediction=OuterRef("pk"), model_version=version).order_by()
        best = {"top_prediction": said.values("label"), "confidence": said.values("confidence")}
        # In one UPDATE: between two, somebody could correct an image, or undo that. And in one for all: each alone
        # takes longer to be written as SQL than a database takes to carry it out.
        self.filter(pk__in=[prediction.pk for prediction, _ in answers]).update(
            status=Status.DONE,
            error="",
            lease_expires_at=None,
            all_predictions=Subquery(said.values("labels")),
            model_version=version,
            classified_at=now,
            **{name: Case(When(corrected_at=None, then=Subquery(of)), default=F(name)) for name, of in best.items()},
        )
        if rendered := [prediction.pk for prediction, answer in answers if answer.is_rendered]:
            self.filter(pk__in=rendered).update(rendered_at=now)
        dated = [prediction for prediction, answer in answers if answer.taken_at]
        for prediction, answer in answers:
            prediction.taken_at = answer.taken_at
        self.bulk_update(dated, ["taken_at"])

    def requeue(self, priority: Priority = Priority.UPLOAD) -> int:
        """Return finished and failed images to the queue, to be classified again; return how many."""
        finished = self.filter(status__in=[Status.DONE, Status.FAILED])
        state = {"status": Status.PENDING, "attempts": 0, "error": "", "queued_at": timezone.now()}
        return finished.update(**state, priority=priority)

    def count_without_labels(self) -> dict[str, int]:
        """Return how many there are of each status but done, which would take long to count."""
        zero: dict[str, int] = dict.fromkeys((Status.PENDING, Status.PROCESSING, Status.FAILED), 0)
        # By what they are and not by what they are not, or the whole index would be read.
        counts = self.filter(status__in=zero).order_by().values_list("status").annotate(Count("pk"))
        return zero | dict(counts)

    def longest_wait(self) -> timedelta | None:
        """Return for how long the awaited image waits that joined the queue first; None if none waits.

        Of the IN_SIGHT that are claimed next: no other can have waited much longer.
        """
        next_ones = self.awaited().values("queued_at")[:IN_SIGHT]
        first: datetime | None = next_ones.aggregate(first=Min("queued_at"))["first"]
        # Clocks of two machines may differ: nobody has waited for less than no time.
        return None if first is None else max(timezone.now() - first, timedelta())


class ImagePrediction(models.Model):
    """An uploaded image and the current truth about it: the newest correction, else what the model says."""

    filename = models.CharField(max_length=255, help_text="The user's name for the file.")
    image_path = models.FileField("file", upload_to=storage_name, max_length=200)
    sha256 = models.CharField("SHA-256", max_length=64)
    width = models.PositiveIntegerField(help_text="Pixels, upright.")
    height = models.PositiveIntegerField(help_text="Pixels, upright.")
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    # The index by_uploader serves it.
    uploaded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(default=timezone.now)

    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    priority = models.PositiveSmallIntegerField(
        choices=Priority.choices, default=Priority.UPLOAD, db_default=Priority.UPLOAD
    )
    error = models.TextField(blank=True, help_text="Why it failed.")
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    queued_at = models.DateTimeField(null=True, default=timezone.now, help_text="When it last joined the queue.")
    request_id = models.CharField(
        max_length=ID_LENGTH, blank=True, default="", db_default="", help_text="Of the request that brought it."
    )

    all_predictions = models.JSONField(null=True, blank=True, help_text="The model's own answer, best first.")
    # The index by_model_version serves it.
    model_version = models.ForeignKey(ModelVersion, models.PROTECT, null=True, blank=True, db_index=False)
    classified_at = models.DateTimeField(null=True, blank=True)
    rendered_at = models.DateTimeField(null=True, blank=True, help_text="When a worker set about the thumbnail.")
    taken_at = models.DateTimeField(null=True, blank=True, help_text="What the camera's clock said.")

    top_prediction = models.CharField(  # noqa: DJ001  (null until classified: the API's contract)
        "label", max_length=LABEL_LENGTH, null=True, blank=True, validators=[labelmap.validate_label]
    )
    confidence = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(1)])
    corrected_at = models.DateTimeField(null=True, blank=True)

    objects = ImagePredictionQuerySet.as_manager()

    class Meta:
        verbose_name = "photo"
        ordering = ["-pk"]
        permissions = [("reclassify_imageprediction", "Can have the model classify photos again")]
        indexes = [
            # With the status, which is always the same: or SQLite would take by_status, and sort all that waits.
            models.Index(fields=["status", "priority", "id"], condition=Q(status="pending"), name="queue"),
            models.Index(fields=["lease_expires_at"], condition=Q(status="processing"), name="leased"),
            models.Index(fields=["id"], condition=Q(status="done", rendered_at=None), name="unrendered"),
            # The gallery's filters and orders.
            models.Index(fields=["top_prediction", "id"], name="by_label"),
            models.Index(fields=["status", "id"], name="by_status"),
            models.Index(fields=["confidence", "id"], name="by_confidence"),
            models.Index(fields=["created_at", "id"], name="by_date"),
            models.Index(fields=["model_version", "id"], name="by_model_version"),
            # Whether an image is there already.
            models.Index(fields=["sha256"], name="by_sha256"),
            # What a user stores is summed up from it alone.
            models.Index(fields=["uploaded_by", "size"], name="by_uploader"),
            models.Index(fields=["image_path"], name="by_file"),
            models.Index(fields=["id"], condition=Q(corrected_at__isnull=False), name="corrected"),
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

    @property
    def is_waiting(self) -> bool:
        """Return whether an answer is still to come."""
        return self.status in {Status.PENDING, Status.PROCESSING}

    @property
    def is_unfinished(self) -> bool:
        """Return whether labels or thumbnail are still to come."""
        return self.is_waiting or (self.status == Status.DONE and self.rendered_at is None)

    @property
    def next_look(self) -> int:
        """Return in how many milliseconds a page looks again at an unfinished image.

        The longer it waits, the less often: hundreds of cards would keep a server busy that has no worker.
        """
        waited = timezone.now() - (self.queued_at or self.created_at)
        return 700 + int(min(max(waited / timedelta(milliseconds=10), 0), 29_300))

    @property
    def thumbnail_url(self) -> str:
        """Return the address of the thumbnail, or, for as long as there is none, of what stands in for it.

        Browsers keep what they get from either. A database that is restored may give an id to another image.
        """
        return f"{reverse('thumbnail', args=[self.pk])}?{self.sha256[:8] if self.rendered_at else 'waiting'}"

    @property
    def is_file_gone(self) -> bool:
        """Return whether it was found that the file is missing."""
        return self.error.endswith(FILE_GONE)

    @property
    def label(self) -> str | None:
        """Return what people are shown: a person's word, else the model's by the label map; None if there is none."""
        if self.corrected_at or self.top_prediction is None:
            return self.top_prediction
        return LabelMap.current().shown(self.top_prediction, self.confidence)

    @property
    def user_label(self) -> str | None:
        """Return the user's label for it, even if the model is unsure of it; None if there is none."""
        if self.corrected_at or self.top_prediction is None:
            return self.top_prediction
        return LabelMap.current().name(self.top_prediction)

    @property
    def percent(self) -> str:
        """Return the confidence for people."""
        return "" if self.confidence is None else f"{self.confidence:.0%}"

    def answers(self) -> ClassificationQuerySet:
        """Return what each model version said of the image, newest first, without what nobody is to see."""
        said: ClassificationQuerySet = self.classifications.filter(unseen=False)
        return said.select_related("model_version")

    def history(self) -> list[Correction | Classification]:
        """Return what people and models said of the image, newest first.

        Corrections have `together`: of how many images they were made, and are undone, together.
        """
        together = Correction.objects.filter(batch=OuterRef("batch")).order_by().values("batch")
        corrections = self.corrections.annotate(together=Subquery(together.values(count=Count("pk"))))
        said: list[Correction | Classification] = [
            *corrections.select_related("corrected_by"),
            *self.answers(),
        ]
        return sorted(said, key=lambda entry: entry.created_at, reverse=True)

    def fail(self, reason: str) -> bool:
        """Record that there will be no answer, and why; return False if this claim had been lost."""
        return self._claim().update(status=Status.FAILED, error=reason, lease_expires_at=None) == 1

    def _claim(self) -> ImagePredictionQuerySet:
        """Return this row, as long as it is still leased as it was when it was claimed."""
        return ImagePrediction.objects.filter(
            pk=self.pk, status=Status.PROCESSING, attempts=self.attempts, lease_expires_at=self.lease_expires_at
        )


class ClassificationQuerySet(models.QuerySet["Classification"]):
    """What models said of many images."""

    def of_same_bytes(self, predictions: Sequence[ImagePrediction], version: ModelVersion) -> dict[str, Any]:
        """Return what a version said of other images with the very bytes of one of these, by their SHA-256.

        Only what the model said: a person's word is on one image, and stays with it.
        """
        own = [prediction.pk for prediction in predictions]
        others = ImagePrediction.objects.filter(sha256=OuterRef(OuterRef("sha256"))).exclude(pk__in=own)
        # Of each image's own: thousands of one that have no answer yet must neither be gone through nor hide another's.
        said = self.filter(prediction__in=others.order_by("-pk").values("pk")[:IN_SIGHT], model_version=version)
        asked = ImagePrediction.objects.filter(pk__in=own).annotate(said=Subquery(said.values("labels")[:1]))
        return {sha256: labels for sha256, labels in asked.values_list("sha256", "said") if labels}

    @transaction.atomic(savepoint=False)
    def record_beside(self, answers: Sequence[tuple[ImagePrediction, Answer]], version: ModelVersion) -> None:
        """Keep a version's answers without showing them; of images that were deleted meanwhile, none."""
        ids = [prediction.pk for prediction, _ in answers]
        there = set(ImagePrediction.objects.filter(pk__in=ids).select_for_update().values_list("pk", flat=True))
        self.record([answer for answer in answers if answer[0].pk in there], version, timezone.now(), unseen=True)

    def record(
        self,
        answers: Iterable[tuple[ImagePrediction, Answer]],
        version: ModelVersion,
        now: datetime,
        *,
        unseen: bool = False,
    ) -> None:
        """Keep a version's answers, in place of its earlier ones for these images. What was seen once stays so."""
        columns = ["labels", "label", "confidence", "milliseconds", "created_at", *([] if unseen else ["unseen"])]
        answers = list(answers)
        kept = self.bulk_create(
            [
                Classification(
                    prediction=prediction,
                    model_version=version,
                    labels=answer.labels,
                    label=answer.labels[0]["label"],
                    confidence=answer.labels[0]["confidence"],
                    milliseconds=answer.milliseconds,
                    created_at=now,
                    unseen=unseen,
                )
                for prediction, answer in answers
            ],
            update_conflicts=True,
            unique_fields=["prediction", "model_version"],
            update_fields=columns,
        )
        vectors = [
            Embedding(classification=classification, vector=answer.embedding)
            for classification, (_, answer) in zip(kept, answers, strict=True)
            if answer.embedding
        ]
        # One that is there is of the same bytes and the same version: it says the same.
        Embedding.objects.bulk_create(vectors, ignore_conflicts=True)


class Classification(models.Model):
    """What one model version said of one image. ImagePrediction repeats the newest of them.

    What was said of another image with the same bytes took no time, and has no milliseconds.
    """

    # The index of the constraint below serves it.
    prediction = models.ForeignKey(ImagePrediction, models.CASCADE, related_name="classifications", db_index=False)
    model_version = models.ForeignKey(ModelVersion, models.PROTECT)
    labels = models.JSONField(help_text="Best first.")
    # The best of them once more, to compare versions by: null in rows older than these columns.
    label = models.CharField(max_length=LABEL_LENGTH, null=True)  # noqa: DJ001  (see above)
    confidence = models.FloatField(null=True)
    milliseconds = models.FloatField(null=True, help_text="Decoding and inference; unknown for the oldest answers.")
    created_at = models.DateTimeField(default=timezone.now)
    unseen = models.BooleanField(
        default=False, db_default=False, help_text="For comparing only: of a shadow, or of an evaluation."
    )

    objects = ClassificationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["prediction", "model_version"], name="one_answer_per_image_and_version")
        ]
        # All that a comparison of two versions reads.
        indexes = [models.Index(fields=["model_version", "prediction", "label", "confidence"], name="compared")]

    def __str__(self) -> str:
        return f"{self.model_version_id}: {self.labels[0]['label']}"

    @property
    def shown(self) -> str:
        """Return what the best answer is shown as, by the label map."""
        return LabelMap.current().shown(self.labels[0]["label"], self.labels[0]["confidence"])


class Embedding(models.Model):
    """The pooled features behind a classification: what a classifier of other labels can be taught with.

    Images whose bytes were known have none of their own: another image with the same SHA-256 has it.
    """

    classification = models.OneToOneField(Classification, models.CASCADE, primary_key=True, related_name="embedding")
    vector = models.BinaryField(help_text="float16, little-endian; 1,280 of them for MobileNetV2.")

    def __str__(self) -> str:
        return f"{self.classification_id}: {len(self.vector) // 2} features"


class Correction(models.Model):
    """One person's word on one image. The newest that is not undone is the truth; none is ever deleted."""

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
    batch = models.UUIDField(default=uuid.uuid4, db_index=True, help_text="Made, and undone, together.")
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.label_before or 'none'} -> {self.label_after}"


class Reclassification(models.Model):
    """A run of the command reclassify that has not come to its end: what it chose, and what was said before.

    It is written in the transaction that returns the images to the queue. So the same command, after whatever ended the
    first, knows what is still to be done, and what to compare the answers with.
    """

    choice = models.TextField(help_text="The options that chose the images.")
    # An unfinished run with another model is no reason to keep that.
    model_version = models.ForeignKey(ModelVersion, models.CASCADE)
    labels_before = models.JSONField(help_text="Pairs of id and the model's label, null if it had none; by id.")
    started_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M}: {self.choice}"

    def ids(self) -> list[int]:
        """Return the chosen images' ids, ascending."""
        return [pk for pk, _ in self.labels_before]


class IdempotencyKeyQuerySet(models.QuerySet["IdempotencyKey"]):
    """Clients' names for many uploads."""

    def expired(self) -> IdempotencyKeyQuerySet:
        """Return those by which nobody will ask again."""
        return self.filter(created_at__lt=timezone.now() - KEY_LIFETIME)


class IdempotencyKey(models.Model):
    """A client's own name for an upload, by which it may ask for it twice and have it done once."""

    # The indexes of the constraints below serve it.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+", db_index=False)
    key = models.CharField(max_length=KEY_LENGTH)
    position = models.PositiveSmallIntegerField(help_text="Of the file in its request, from 0.")
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the file's name and content.")
    prediction = models.ForeignKey(ImagePrediction, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = IdempotencyKeyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "key", "position"], name="one_upload_per_user_and_key"),
            # Null is unequal to null.
            models.UniqueConstraint(
                fields=["key", "position"], condition=Q(user=None), name="one_upload_per_key_of_nobody"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key}[{self.position}]"
