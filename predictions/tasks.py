"""What a worker runs."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from classifier.bundle import BundleError
from classifier.images import NotAnImage, taken_at
from classifier.memory import at_most
from classifier.models import ModelVersion
from predictions import inference, logs, machines, metrics, queue, renditions
from predictions.inference_requests import InferenceRequest
from predictions.models import FILE_GONE, Answer, Classification, ImagePrediction
from predictions.storage import StorageAway

if TYPE_CHECKING:
    from classifier.runtime import Classifier

logger = logging.getLogger(__name__)

# The answer, why there never will be one, or neither: it is to be tried again.
Found = Answer | str | None

# Seconds after which an answered bell is rung anew: a change of model reaches a busy worker, and a stop is not long in
# coming. Far below django-q2's timeout, which therefore strikes hanging images only.
TASK_SECONDS = 5
# A machine without the model keeps away from the bells for so long: others are to hear them.
ABSENT_SECONDS = 1
# How long an answer may wait for the next ones: nobody notices it.
WRITE_SECONDS = 0.05
DRAIN_WRITE_SECONDS = 1.0  # of a command nobody awaits the single image


def classify_pending() -> None:
    """Classify waiting images until none is left or TASK_SECONDS have passed; then make thumbnails still missing."""
    if not (loaded := load_serving()):
        leave_to_others()
        return
    try:
        _classify_and_render(*loaded)
    except StorageAway as error:
        logger.warning("%s. The sweep rings again", error)


def _classify_and_render(classifier: "Classifier", version: ModelVersion) -> None:
    stop = time.monotonic() + TASK_SECONDS
    while predictions := claim_next(lambda wanted: load_wanted(wanted, (classifier, version))):
        classify(predictions, classifier, version)
        if time.monotonic() > stop:
            # Two for one: while a backlog lasts, ever more workers of ever more machines join in.
            queue.ring(2)
            return
    while renditions.make_next():
        if time.monotonic() > stop or has_more():
            queue.ring()
            return


def claim_next(load: inference.Load) -> list[ImagePrediction]:
    """Answer those who hold the line, then return the images that come next."""
    inference.answer_waiting(load)
    return ImagePrediction.objects.claim()


def has_more() -> bool:
    """Return whether somebody waits for labels: thumbnails can wait."""
    return ImagePrediction.objects.pending().exists() or InferenceRequest.objects.waiting().exists()


def load_wanted(wanted: str, serving: "tuple[Classifier, ModelVersion]") -> "tuple[Classifier, ModelVersion] | None":
    """Return the version of that name, loaded, None if it is not whole here; of an image's SHA-256, the serving one."""
    from classifier.runtime import load

    version = ModelVersion.objects.filter(name=wanted, removed_at=None).exclude(pk=serving[1].pk).first()
    if version is None:
        return serving
    try:
        return load(version.path, version.digest), version
    except BundleError as error:
        logger.error("%s is refused: %s", version, error)
        return None


def drain(go_on: Callable[[], bool]) -> None:
    """Classify waiting images, asking before each claim whether to go on, until none is left; then thumbnails.

    For commands: no bell. Raises StorageAway.
    """
    while go_on() and (loaded := load_serving()) and (predictions := ImagePrediction.objects.claim()):
        classify(predictions, *loaded, within=DRAIN_WRITE_SECONDS)
    while go_on() and renditions.make_next():
        pass


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


def classify(
    predictions: list[ImagePrediction],
    classifier: "Classifier",
    version: ModelVersion,
    *,
    within: float = WRITE_SECONDS,
) -> None:
    """Classify claimed images and record the answers.

    Bytes that this version has seen before are not looked at: it would say the same. Answers that come within so many
    seconds are written in one transaction: each alone would take a fifth of the time, and keep uploads waiting for
    SQLite's lock. Raises StorageAway; what was not looked at by then is claimed anew later, and no attempt is counted.
    """
    known = Classification.objects.of_same_bytes(predictions, version)
    looked_at: list[tuple[ImagePrediction, Found]] = []
    written = time.monotonic()
    for position, prediction in enumerate(predictions):
        try:
            with logs.about(prediction):
                found = recall(prediction, known) or look(prediction, classifier)
        except StorageAway:
            write_down(looked_at, version)
            ImagePrediction.objects.put_off(predictions[position:])
            raise
        looked_at.append((prediction, found))
        if isinstance(found, Answer):
            known[prediction.sha256] = found.labels
        if prediction is predictions[-1] or time.monotonic() - written > within:
            write_down(looked_at, version)
            looked_at, written = [], time.monotonic()


def recall(prediction: ImagePrediction, known: dict[str, Any]) -> Answer | None:
    """Return the answer that the image's bytes had before; None if they are new."""
    if labels := known.get(prediction.sha256):
        renditions.plan(prediction)
        return Answer(labels)
    return None


def look(prediction: ImagePrediction, classifier: "Classifier") -> Found:
    """Classify one image, and sketch its thumbnail from the same pixels. Return its answer, or why it never has one.

    What is not the image's fault, a full memory or a disk that cannot be read, has neither and leaves the claim as it
    is: when its lease ends the sweep has it tried again, MAX_ATTEMPTS times. Raises StorageAway.
    """
    try:
        image, start = renditions.read(prediction), time.perf_counter()
        with at_most(settings.MAX_DECODED_MB):
            labels = [label.to_dict() for label in classifier.classify(image).labels]
            milliseconds, moment = (time.perf_counter() - start) * 1000, taken_at(image)
            is_rendered = renditions.sketch(prediction, image)
        return Answer(labels, milliseconds, moment and timezone.make_aware(moment), is_rendered)
    except NotAnImage as error:
        return str(error)
    except FileNotFoundError:
        return FILE_GONE
    except StorageAway:
        raise
    except Exception:
        logger.exception("Prediction %s: attempt %d failed", prediction.pk, prediction.attempts)
        return None


def write_down(looked_at: list[tuple[ImagePrediction, Found]], version: ModelVersion) -> None:
    """Record what was found of images, all in one transaction, then count and log it."""
    with transaction.atomic():
        answers = [(prediction, found) for prediction, found in looked_at if isinstance(found, Answer)]
        recorded = ImagePrediction.objects.finish(answers, version)
        recorded += [prediction for prediction, found in looked_at if isinstance(found, str) and prediction.fail(found)]
    for prediction, found in looked_at:
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
