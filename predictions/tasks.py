"""What a worker runs."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from PIL import Image

from classifier.bundle import BundleError
from classifier.images import NotAnImage
from classifier.memory import at_most
from classifier.models import ModelVersion
from predictions import logs, metrics, queue, renditions
from predictions.models import FILE_GONE, ImagePrediction

if TYPE_CHECKING:
    from classifier.runtime import Classifier

logger = logging.getLogger(__name__)

# Seconds after which an answered bell is rung anew: a change of model reaches a busy worker, and a stop is not long in
# coming. Far below django-q2's timeout, which therefore strikes hanging images only.
TASK_SECONDS = 5
# How long an answer may wait for the next ones: nobody notices it.
WRITE_SECONDS = 0.05
DRAIN_WRITE_SECONDS = 1.0  # of a command nobody awaits the single image


def classify_pending() -> None:
    """Classify waiting images until none is left or TASK_SECONDS have passed; in the time left, make thumbnails."""
    if not (loaded := load_serving()):
        return
    stop = time.monotonic() + TASK_SECONDS
    predictions = ImagePrediction.objects.claim()
    while predictions:
        image = classify(predictions, *loaded)
        if time.monotonic() > stop:
            # Two for one: while a backlog lasts, ever more workers of ever more machines join in.
            queue.ring(2)
            return
        last, predictions = predictions[-1], ImagePrediction.objects.claim()
        if image and not predictions:
            with logs.about(last):
                renditions.make(last, image)
            image = None
    while renditions.make_next():
        if time.monotonic() > stop or ImagePrediction.objects.pending().exists():
            queue.ring()
            return


def drain(go_on: Callable[[], bool]) -> None:
    """Classify waiting images, asking before each claim whether to go on, until none is left. For commands: no bell."""
    while go_on() and (loaded := load_serving()) and (predictions := ImagePrediction.objects.claim()):
        classify(predictions, *loaded, within=DRAIN_WRITE_SECONDS)


def load_serving() -> "tuple[Classifier, ModelVersion] | None":
    """Return the model that serves, loaded, or if it is damaged the one that served before; None if none is whole.

    What this process has loaded was whole then, and stays in use. Damaged files are looked at again at every bell, so
    that a repaired model serves without a restart.
    """
    from classifier.runtime import load  # native code, loaded after django-q2 has forked

    for version in ModelVersion.objects.by_preference():
        try:
            return load(version.path, version.digest), version
        except BundleError as error:
            logger.error("%s is refused: %s", version, error)
    waiting = ImagePrediction.objects.pending().count()
    logger.warning("No model is installed, or none is whole: %d images wait. Run manage.py install_model", waiting)
    return None


@dataclass(frozen=True)
class Answer:
    """What is to be recorded of an image: its labels, best first, or why there are none."""

    labels: list[dict[str, Any]] = field(default_factory=list)
    milliseconds: float = 0
    error: str = ""


def classify(
    predictions: list[ImagePrediction],
    classifier: "Classifier",
    version: ModelVersion,
    *,
    within: float = WRITE_SECONDS,
) -> Image.Image | None:
    """Classify claimed images and record the answers. Return the last one's pixels, if it has an answer.

    Answers that come within so many seconds are written in one transaction: each alone would take a fifth of the time,
    and keep uploads waiting for SQLite's lock.
    """
    answers: list[tuple[ImagePrediction, Answer | None]] = []
    image, recorded, written = None, False, time.monotonic()
    for prediction in predictions:
        image = None  # pixels of one image at a time: they can be 200 MB
        with logs.about(prediction):
            answer, image = look(prediction, classifier)
        answers.append((prediction, answer))
        if prediction is predictions[-1] or time.monotonic() - written > within:
            with transaction.atomic():
                outcomes = [record(looked_at, found, version) for looked_at, found in answers]
            for (looked_at, found), outcome in zip(answers, outcomes, strict=True):
                report(looked_at, found, outcome, version)
            recorded = outcomes[-1] in {"done", "failed"}
            answers, written = [], time.monotonic()
    return image if recorded else None


def look(prediction: ImagePrediction, classifier: "Classifier") -> tuple[Answer | None, Image.Image | None]:
    """Classify one image; return the answer and its pixels.

    What is not the image's fault, a full memory or a storage that is away, has no answer and leaves the claim as it is:
    when its lease ends the sweep has it tried again, MAX_ATTEMPTS times.
    """
    try:
        image = renditions.read(prediction)
        start = time.perf_counter()
        with at_most(settings.MAX_DECODED_MB):
            labels = [label.to_dict() for label in classifier.classify(image).labels]
        return Answer(labels, (time.perf_counter() - start) * 1000), image
    except NotAnImage as error:
        return Answer(error=str(error)), None
    except FileNotFoundError:
        return Answer(error=FILE_GONE), None
    except Exception:
        logger.exception("Prediction %s: attempt %d failed", prediction.pk, prediction.attempts)
        return None, None


def record(prediction: ImagePrediction, answer: Answer | None, version: ModelVersion) -> str:
    """Write an answer down; return what became of it: done, failed, late if the claim was lost, error without one."""
    if answer is None:
        return "error"
    if answer.labels:
        return "done" if prediction.finish(answer.labels, version, answer.milliseconds) else "late"
    return "failed" if prediction.fail(answer.error) else "late"


def report(prediction: ImagePrediction, answer: Answer | None, outcome: str, version: ModelVersion) -> None:
    """Count and log what became of an image, now that it is certain."""
    metrics.RESULTS.labels(outcome, version.name).inc()
    with logs.about(prediction):
        if answer and outcome == "done":
            metrics.INFERENCE.labels(version.name).observe(answer.milliseconds / 1000)
            if prediction.queued_at:
                metrics.END_TO_END.observe(max((timezone.now() - prediction.queued_at).total_seconds(), 0))
            logger.info("Classified by %s in %.1f ms", version, answer.milliseconds)
        elif answer and outcome == "failed":
            logger.info("Failed: %s", answer.error)
        elif outcome == "late":
            logger.info("Prediction %s: it was deleted, or this attempt came too late", prediction.pk)
