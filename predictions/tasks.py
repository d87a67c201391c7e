"""What a worker runs."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from PIL import Image

from classifier.bundle import BundleError
from classifier.images import NotAnImage
from classifier.memory import at_most
from classifier.models import ModelVersion
from predictions import machines, queue, renditions
from predictions.models import FILE_GONE, ImagePrediction

if TYPE_CHECKING:
    from classifier.runtime import Classifier

logger = logging.getLogger(__name__)

# Seconds after which an answered bell is rung anew: a change of model reaches a busy worker, and a stop is not long in
# coming. Far below django-q2's timeout, which therefore strikes hanging images only.
TASK_SECONDS = 5
# A machine without the model keeps away from the bells for so long: others are to hear them.
ABSENT_SECONDS = 1
# How long an answer may wait for the next ones: nobody notices it.
WRITE_SECONDS = 0.05
DRAIN_WRITE_SECONDS = 1.0  # of a command nobody awaits the single image


def classify_pending() -> None:
    """Classify waiting images until none is left or TASK_SECONDS have passed; in the time left, make thumbnails."""
    if not (loaded := load_serving()):
        leave_to_others()
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

    If other machines have the serving one, this one leaves the images to them: None, too. What this process has loaded
    was whole then, and stays in use. Damaged files are looked at again at every bell, so that a repaired model serves
    without a restart.
    """
    from classifier.runtime import load  # native code, loaded after django-q2 has forked

    for version in ModelVersion.objects.by_preference():
        try:
            return load(version.path, version.digest), version
        except BundleError as error:
            logger.error("%s is refused: %s", version, error)
            if version.serving and others_have(version):
                logger.error("This machine leaves the images to others, which have the model")
                return None
    waiting = ImagePrediction.objects.pending().count()
    logger.warning("No model is installed, or none is whole: %d images wait. Run manage.py install_model", waiting)
    return None


def leave_to_others() -> None:
    """Pass a bell on, if another machine can answer it, and leave it the time to be faster."""
    version = ModelVersion.objects.serving()
    if version and others_have(version):
        queue.ring()
        time.sleep(ABSENT_SECONDS)


def others_have(version: ModelVersion) -> bool:
    """Return whether another machine has the model that this one lacks."""
    machines.report()  # or our own report may be from before the damage
    return machines.having(version).able > 0


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
        answer, image = look(prediction, classifier)
        answers.append((prediction, answer))
        if prediction is predictions[-1] or time.monotonic() - written > within:
            with transaction.atomic():
                for looked_at, found in answers:
                    recorded = record(looked_at, found, version)
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


def record(prediction: ImagePrediction, answer: Answer | None, version: ModelVersion) -> bool:
    """Write an answer down; return whether there was one and the claim still held."""
    if answer is None:
        return False
    if answer.labels:
        recorded = prediction.finish(answer.labels, version, answer.milliseconds)
    else:
        recorded = prediction.fail(answer.error)
    if not recorded:
        logger.info("Prediction %s: it was deleted, or this attempt came too late", prediction.pk)
    return recorded
