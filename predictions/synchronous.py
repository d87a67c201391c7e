"""Labels for a client that holds the line: the web's side of it. What the worker does is in inference.py.

Nothing stays behind once the client has its answer, has gone, or has waited for as long as it may, unless it asked for
the images to be recorded, and got its answer.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.files.uploadedfile import UploadedFile

from predictions import admission, logs, metrics, queue, readiness, services, uploads
from predictions.admission import QueueFull
from predictions.exceptions import DeadlinePassed, NotServing, TooLarge
from predictions.inference_requests import InferenceRequest, Question
from predictions.models import ImagePrediction, Status
from predictions.storage import MEGABYTE, StorageAway
from predictions.uploads import Refusal, UploadRejected

# How many may wait at a time in one web process: half of its threads (config/worker.py). The others are for whoever
# does not wait. With 50 ms for an answer these are more than two workers can serve.
MAX_WAITING = 12
# Bytes that what they have sent takes, all together: a web process has 80 MB itself, and 300 at most.
ROOM = 200_000_000
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.05  # seconds between two looks for the answer


@dataclass(frozen=True)
class Said:
    """What a model said of one image or tensor."""

    labels: list[dict[str, Any]]  # best first
    model_version: str
    prediction: int | None = None  # the id, if it was recorded


@dataclass(frozen=True)
class Line:
    """A client's line, and for how long it is held."""

    seconds: float
    pause: Callable[[float], bool]  # sleeps so long; returns whether the client is still there


def infer(questions: Sequence[Question], *, top_k: int, line: Line) -> list[Said]:
    """Return what the models say of each, and record nothing.

    Raises UploadRejected for what is no image, NotServing and DeadlinePassed.
    """
    waiting = InferenceRequest.objects.ask(
        questions, top_k=top_k, seconds=line.seconds, request_id=logs.request_id.get()
    )
    try:
        _ring_for(waiting)
        return _wait(line, lambda: _answers(waiting))
    finally:
        InferenceRequest.objects.filter(pk__in=waiting).delete()


def infer_recorded(contents: Sequence[bytes], *, top_k: int, line: Line, by: User | AnonymousUser | None) -> list[Said]:
    """Return what the model says of images that are kept as uploads are, all of them or, if one has no answer, none.

    Raises what infer() and services.submit() do.
    """
    kept: list[int] = []
    try:
        for content in contents:
            kept.append(_submit(content, by))  # noqa: PERF401  (one by one: those before a refused one are removed)
        return _wait(line, lambda: _results(kept, top_k))
    except BaseException:
        services.remove(ImagePrediction.objects.filter(pk__in=kept))
        raise


def as_file(content: bytes) -> UploadedFile[Any]:
    """Return bytes in the form in which uploads.py and services.py take them."""
    return UploadedFile(BytesIO(content), None, None, len(content))


class Room:
    """The memory for those who wait. What they have sent takes ROOM bytes at most, all together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: list[int] = []  # by each who waits
        self._garbage = 0

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Take so many bytes of it. Raises QueueFull, and TooLarge for what there never is room for."""
        if size > ROOM:
            raise TooLarge(
                f"To read it takes {size / MEGABYTE:.0f} MB of memory, of {ROOM / MEGABYTE:.0f}; send less at a time"
            )
        with self._lock:
            self._take(size)
        try:
            yield
        finally:
            with self._lock:
                self._taken.remove(size)
                self._garbage += size  # DRF's requests and serializers refer to themselves

    def _take(self, size: int) -> None:
        taken = sum(self._taken) + size
        if len(self._taken) == MAX_WAITING or taken > ROOM:
            raise QueueFull("Too many requests wait for their answers already; try again in a moment")
        if taken + self._garbage > ROOM:
            gc.collect()
            self._garbage = 0
        self._taken.append(size)


_room = Room()


@contextmanager
def place(size: int) -> Iterator[None]:
    """Have a place among those who wait, with room for so many bytes, until the answer.

    Raises QueueFull and NotServing, and TooLarge for what there never is room for.
    """
    admission.admit(0, None)
    if problems := readiness.problems():
        raise NotServing(problems[0])
    with _room.taken(size):
        yield


def _wait(line: Line, look: Callable[[], list[Said] | None]) -> list[Said]:
    """Return what `look` does, as soon as that is something. Raises DeadlinePassed."""
    deadline, pause = time.monotonic() + line.seconds, FIRST_PAUSE
    while (found := look()) is None:
        left = deadline - time.monotonic()
        if left <= 0 or not line.pause(min(pause, left)):
            raise DeadlinePassed(line.seconds)
        pause = min(pause * 1.5, LONGEST_PAUSE)
    return found


def _ring_for(asked: list[int]) -> None:
    """Ring, unless older questions wait for every worker: who answers one goes on until none is left."""
    count = queue.workers()
    if len(InferenceRequest.objects.waiting().filter(pk__lt=asked[0]).values_list("pk")[:count]) < count:
        queue.ring(min(len(asked), count))


def _answers(asked: list[int]) -> list[Said] | None:
    """Return the answers, None if one is still to come. Raises UploadRejected and NotServing."""
    columns = "pk", "labels", "answered_by", "error"
    rows = {pk: rest for pk, *rest in InferenceRequest.objects.filter(pk__in=asked).values_list(*columns)}
    if len(rows) < len(asked):
        raise NotServing("The worker could not answer; its log says why")
    answers = [rows[pk] for pk in asked]
    for _, _, error in answers:
        if error:
            raise UploadRejected(error)
    if any(labels is None for labels, _, _ in answers):
        return None
    return [Said(labels, version) for labels, version, _ in answers]


def _results(kept: list[int], top_k: int) -> list[Said] | None:
    """Return what was recorded, None if one is still to be classified. Raises UploadRejected."""
    found = ImagePrediction.objects.filter(pk__in=kept).select_related("model_version").in_bulk()
    if len(found) < len(kept):
        raise NotServing("Somebody has deleted the image before it was classified")
    rows = [found[pk] for pk in kept]
    for row in rows:
        if row.status == Status.FAILED:
            raise UploadRejected(row.error)
    if any(row.status != Status.DONE for row in rows):
        return None
    return [Said((row.all_predictions or [])[:top_k], str(row.model_version), row.pk) for row in rows]


def _submit(content: bytes, by: User | AnonymousUser | None) -> int:
    """Keep an image as an upload, and count it; return its id."""
    try:
        prediction = services.submit(as_file(content), by)
    except (Refusal, StorageAway) as error:
        metrics.UPLOADS_REFUSED.labels(error.reason).inc()
        raise
    metrics.UPLOADS_ACCEPTED.inc()
    return prediction.pk


def question(content: bytes, model_version: str = "") -> Question:
    """Judge an image as uploads are judged; return it as a question, to the version that would answer the upload.

    Raises UploadRejected.
    """
    accepted = uploads.inspect(as_file(content))
    if settings.STRIP_METADATA:
        with suppress(UploadRejected):  # only as an upload, whose metadata would be kept
            _, accepted = uploads.without_metadata(as_file(content), accepted)
    return Question(content, accepted.sha256, model_version=model_version)
