"""What a worker runs."""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import OperationalError, transaction
from django.utils import timezone

from classifier.images import NotAnImage, taken_at
from classifier.memory import at_most
from classifier.models import ModelVersion
from predictions import inference, logs, metrics, queue, renditions, serving
from predictions.inference_requests import InferenceRequest
from predictions.models import (
    BATCH,
    FILE_FORBIDDEN,
    FILE_GONE,
    MAX_ATTEMPTS,
    MOST_AT_ONCE,
    Answer,
    Classification,
    ImagePrediction,
)
from predictions.serving import Serving
from predictions.storage import StorageAway

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from classifier.runtime import Classifier

logger = logging.getLogger(__name__)

# The answer, why there never will be one, or neither: it is to be tried again.
Found = Answer | str | None
Labels = list[dict[str, Any]]
LookedAt = tuple[ImagePrediction, ModelVersion, Found]
LARGEST = 65504  # of a float16

# Seconds after which an answered bell is rung anew: a change of model reaches a busy worker, and a stop is not long in
# coming. Far below django-q2's timeout, which therefore strikes hanging images only.
TASK_SECONDS = 5
# After so long within a claim it is asked anew who serves: of slow images it may take long.
ASK_SECONDS = 2
# A machine without the model keeps away from the bells for so long: others are to hear them.
ABSENT_SECONDS = 1
# How long an answer may wait for the next ones: nobody notices it.
WRITE_SECONDS = 0.05
DRAIN_WRITE_SECONDS = 1.0  # of a command nobody awaits the single image

# Answered by this process, and not yet by the shadows, which come when nobody waits. What they never come to, because
# too many wait or the process ends, manage.py models evaluate has them answer.
_unshadowed: deque[ImagePrediction] = deque(maxlen=1000)


def classify_pending() -> None:
    """Classify waiting images until none is left or TASK_SECONDS have passed; then make what nobody waits for."""
    if not serving.current():
        leave_to_others()
        return
    try:
        _classify_and_render()
    except StorageAway as error:
        logger.warning("%s. The sweep rings again", error)


def _classify_and_render() -> None:
    stop = time.monotonic() + TASK_SECONDS
    while (models := serving.current()) and (predictions := claim_next(models)):
        classify(predictions, models)
        if time.monotonic() > stop:
            # Two for one: while a backlog lasts, ever more workers of ever more machines join in.
            queue.ring(2)
            return
    for do_next in (renditions.make_next, shadow_next):
        while do_next():
            if time.monotonic() > stop or has_more():
                queue.ring()
                return


def claim_next(models: Serving) -> list[ImagePrediction]:
    """Answer those who hold the line, then return the images that come next."""
    inference.answer_waiting(models)
    return ImagePrediction.objects.claim()


def has_more() -> bool:
    """Return whether somebody waits for labels: thumbnails and shadows can wait."""
    return ImagePrediction.objects.pending().exists() or InferenceRequest.objects.waiting().exists()


def drain(go_on: Callable[[], bool]) -> None:
    """Classify waiting images, asking before each claim whether to go on, until none is left; then thumbnails.

    For commands: no bell. Raises StorageAway.
    """
    most = BATCH
    while go_on() and (models := serving.current()) and (predictions := ImagePrediction.objects.claim(most)):
        start = time.monotonic()
        classify(predictions, models, within=DRAIN_WRITE_SECONDS)
        # As many as this takes for one write: each claim and each write alone costs what an image does, or half of it.
        pace = len(predictions) / (time.monotonic() - start) * DRAIN_WRITE_SECONDS
        most = max(BATCH, min(MOST_AT_ONCE, int(pace)))
        while shadow_next():
            pass
    while renditions.make_sketched() or (go_on() and renditions.make_next()):
        pass  # what is sketched would be decoded once more, if this process ended before


def leave_to_others() -> None:
    """Pass a bell on, if another machine can answer it, and leave it the time to be faster."""
    version = ModelVersion.objects.serving()
    if version and serving.others_have(version):
        queue.ring()
        time.sleep(ABSENT_SECONDS)


def classify(predictions: list[ImagePrediction], models: Serving, *, within: float = WRITE_SECONDS) -> None:
    """Classify claimed images, each with the version that the traffic sends it to, and record the answers.

    Bytes that a version has seen before are not looked at: it would say the same. Answers that come within so many
    seconds are written in one transaction: each alone would take a fifth of the time, and keep uploads waiting for
    SQLite's lock. What is not begun when half of the lease is over goes back to the queue. Raises StorageAway, and
    OperationalError if the database has no room for the answers, say; what has none by then is claimed anew later, and
    no attempt is counted.
    """
    known = recall_all(predictions, models)
    looked_at: list[LookedAt] = []
    begun = asked = written = time.monotonic()
    for position, prediction in enumerate(predictions):
        if time.monotonic() - asked > ASK_SECONDS:
            models, asked = serving.current() or models, time.monotonic()
        model = models.model_for(prediction.sha256)
        try:
            with logs.about(prediction):
                found = recall(prediction, known.get((model.version, prediction.sha256))) or look(
                    prediction, model.classifier
                )
        except StorageAway:
            write_down(looked_at, predictions[position:])
            ImagePrediction.objects.put_off(predictions[position:])
            raise
        looked_at.append((prediction, model.version, found))
        if isinstance(found, Answer):
            known[model.version, prediction.sha256] = found.labels
        is_late = time.monotonic() - begun > settings.LEASE_SECONDS / 2
        if is_late or prediction is predictions[-1] or time.monotonic() - written > within:
            write_down(looked_at, predictions[position + 1 :])
            looked_at, written = [], time.monotonic()
        if is_late:
            ImagePrediction.objects.give_back(predictions[position + 1 :])
            predictions = predictions[: position + 1]
            break
    if models.shadows:
        _unshadowed.extend(predictions)


def shadow_next() -> bool:
    """Have the shadows classify an image that was answered here; return whether there was one. Raises StorageAway."""
    if not _unshadowed:
        return False
    prediction, models = _unshadowed.popleft(), serving.current()
    for model in models.shadows if models else ():
        found = look(prediction, model.classifier, is_seen=False)
        if isinstance(found, Answer):
            Classification.objects.record_beside([(prediction, found)], model.version)
    return True


def recall_all(predictions: list[ImagePrediction], models: Serving) -> dict[tuple[ModelVersion, str], Labels]:
    """Return what each image's version said of its bytes before, by version and SHA-256."""
    own: dict[ModelVersion, list[ImagePrediction]] = {}
    for prediction in predictions:
        own.setdefault(models.model_for(prediction.sha256).version, []).append(prediction)
    return {
        (version, sha256): labels
        for version, rows in own.items()
        for sha256, labels in Classification.objects.of_same_bytes(rows, version).items()
    }


def recall(prediction: ImagePrediction, labels: Labels | None) -> Answer | None:
    """Return the answer that the image's bytes had before; None if they are new."""
    if labels:
        renditions.plan(prediction)
        return Answer(labels)
    return None


def look(prediction: ImagePrediction, classifier: "Classifier", *, is_seen: bool = True) -> Found:
    """Classify one image, and sketch its thumbnail from the same pixels, unless nobody is to see anything of it.

    Return its answer, or why it never has one. What is not the image's fault, a full memory or a disk that cannot be
    read, has neither and leaves the claim as it is: when its lease ends the sweep has it tried again, MAX_ATTEMPTS
    times. Raises StorageAway.
    """
    try:
        with at_most(settings.MAX_DECODED_MB):  # with the file, which is in the memory from here on
            image, start = renditions.read(prediction), time.perf_counter()
            said = classifier.classify(image)
            milliseconds = (time.perf_counter() - start) * 1000
            moment = None if prediction.taken_at else taken_at(image)  # it never changes
            is_rendered = is_seen and renditions.sketch(prediction, image)
        return Answer(
            [label.to_dict() for label in said.labels],
            milliseconds,
            moment and timezone.make_aware(moment),
            is_rendered,
            pack(said.embedding),
        )
    except NotAnImage as error:
        return str(error)
    except FileNotFoundError:
        return FILE_GONE
    except StorageAway:
        raise
    except renditions.FileForbidden as error:
        logger.warning("Prediction %s: attempt %d failed: %s", prediction.pk, prediction.attempts, error)
        return FILE_FORBIDDEN if prediction.attempts >= MAX_ATTEMPTS else None
    except Exception:
        logger.exception("Prediction %s: attempt %d failed", prediction.pk, prediction.attempts)
        return None


def pack(embedding: "NDArray[np.float32] | None") -> bytes | None:
    """Return what is kept of an embedding; nothing, if the model has none, or none are wanted."""
    if embedding is None or not settings.KEEP_EMBEDDINGS:
        return None
    return embedding.clip(-LARGEST, LARGEST).astype("<f2").tobytes()


def write_down(looked_at: list[LookedAt], behind: list[ImagePrediction]) -> None:
    """Record what was found of images, all in one transaction, then count and log it.

    If the database cannot take it, they are put off, and those behind them: it is no image's fault.
    """
    answers: dict[ModelVersion, list[tuple[ImagePrediction, Answer]]] = {}
    for prediction, version, found in looked_at:
        if isinstance(found, Answer):
            answers.setdefault(version, []).append((prediction, found))
    try:
        with transaction.atomic():
            recorded = {row for version in answers for row in ImagePrediction.objects.finish(answers[version], version)}
            recorded |= {row for row, _, why in looked_at if isinstance(why, str) and row.fail(why)}
    except OperationalError:
        ImagePrediction.objects.put_off([row for row, _, found in looked_at if found is not None] + behind)
        raise
    for prediction, version, found in looked_at:
        with logs.about(prediction):
            report(prediction, found, version, is_recorded=prediction in recorded)


def report(prediction: ImagePrediction, found: Found, version: ModelVersion, *, is_recorded: bool) -> None:
    """Count and log what became of an image, now that it is certain."""
    if found is None:
        outcome = "error"
    elif not is_recorded:
        outcome = "late"
        logger.info("Prediction %s: it was deleted, or this attempt came too late", prediction.pk)
        renditions.discard_orphans(prediction)
    elif isinstance(found, str):
        outcome = "failed"
        logger.info("Failed: %s", found)
    else:
        outcome = "done"
        if prediction.queued_at:
            metrics.END_TO_END.observe(max((timezone.now() - prediction.queued_at).total_seconds(), 0))
        if found.milliseconds is not None:
            metrics.INFERENCE.labels(version.name).observe(found.milliseconds / 1000)
        logger.info("Classified by %s", version)
    metrics.RESULTS.labels(outcome, version.name).inc()
