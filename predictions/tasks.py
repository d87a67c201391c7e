"""What a worker runs."""

import logging
import time
from typing import TYPE_CHECKING

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
    while predictions := ImagePrediction.objects.claim():
        for prediction in predictions:
            classify(prediction, classifier, version)
        if time.monotonic() > stop:
            # Two for one: while a backlog lasts, ever more workers of ever more machines join in.
            queue.ring(2)
            return
    while renditions.make_next():
        if time.monotonic() > stop or ImagePrediction.objects.pending().exists():
            queue.ring()
            return


def classify(prediction: ImagePrediction, classifier: "Classifier", version: ModelVersion) -> None:
    """Classify one claimed image and record the answer, or why there is none.

    What is not the image's fault, a full memory or a storage that is away, leaves the claim as it is: when its lease
    ends the sweep has it tried again, MAX_ATTEMPTS times.
    """
    try:
        with prediction.image_path.open("rb") as file:
            labels = [label.to_dict() for label in classifier.classify(file).labels]
    except NotAnImage as error:
        recorded = prediction.fail(str(error))
    except FileNotFoundError:
        recorded = prediction.fail("The file is no longer in the storage")
    except Exception:
        logger.exception("Prediction %s: attempt %d failed", prediction.pk, prediction.attempts)
        return
    else:
        recorded = prediction.finish(labels, version)
    if not recorded:
        logger.info("Prediction %s: it was deleted, or this attempt came too late", prediction.pk)
