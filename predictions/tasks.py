"""What a worker runs."""

import logging
import time
from typing import TYPE_CHECKING

from PIL import Image

from classifier.bundle import BundleError
from classifier.images import NotAnImage
from classifier.models import ModelVersion
from predictions import queue, renditions
from predictions.models import ImagePrediction

if TYPE_CHECKING:
    from classifier.runtime import Classifier

logger = logging.getLogger(__name__)

# Seconds after which an answered bell is rung anew: a change of model reaches a busy worker, and a stop is not long in
# coming. Far below django-q2's timeout, which therefore strikes hanging images only.
TASK_SECONDS = 5


def classify_pending() -> None:
    """Classify waiting images until none is left or TASK_SECONDS have passed; in the time left, make thumbnails."""
    from classifier.runtime import load  # native code, loaded after django-q2 has forked

    version = ModelVersion.objects.serving()
    if version is None:
        waiting = ImagePrediction.objects.pending().count()
        logger.warning("No model is installed: %d images wait. Run manage.py install_model", waiting)
        return
    try:
        classifier = load(version.path, version.digest)
    except BundleError as error:
        logger.error("The model cannot be used, images wait: %s", error)
        return
    stop = time.monotonic() + TASK_SECONDS
    predictions = ImagePrediction.objects.claim()
    while predictions:
        for prediction in predictions:
            image = classify(prediction, classifier, version)
        if time.monotonic() > stop:
            # Two for one: while a backlog lasts, ever more workers of ever more machines join in.
            queue.ring(2)
            return
        predictions = ImagePrediction.objects.claim()
        if image and not predictions:
            renditions.make(prediction, image)
    while renditions.make_next():
        if time.monotonic() > stop or ImagePrediction.objects.pending().exists():
            queue.ring()
            return


def classify(prediction: ImagePrediction, classifier: "Classifier", version: ModelVersion) -> Image.Image | None:
    """Classify one claimed image and record the answer, or why there is none. Return its pixels, if there is one.

    What is not the image's fault, a full memory or a storage that is away, leaves the claim as it is: when its lease
    ends the sweep has it tried again, MAX_ATTEMPTS times.
    """
    try:
        image = renditions.read(prediction)
        start = time.perf_counter()
        labels = [label.to_dict() for label in classifier.classify(image).labels]
        milliseconds = (time.perf_counter() - start) * 1000
    except NotAnImage as error:
        image, recorded = None, prediction.fail(str(error))
    except FileNotFoundError:
        image, recorded = None, prediction.fail("The file is no longer in the storage")
    except Exception:
        logger.exception("Prediction %s: attempt %d failed", prediction.pk, prediction.attempts)
        return None
    else:
        recorded = prediction.finish(labels, version, milliseconds)
    if not recorded:
        logger.info("Prediction %s: it was deleted, or this attempt came too late", prediction.pk)
    return image if recorded else None
