"""What a worker does for those who wait for an answer while they hold the line."""

from __future__ import annotations

import logging
import time
from io import BytesIO
from typing import TYPE_CHECKING

from django.conf import settings

from classifier.images import NotAnImage, open_image
from classifier.memory import at_most
from predictions import logs, metrics, queue, serving
from predictions.inference_requests import InferenceRequest
from predictions.serving import Model, Serving
from predictions.storage import MEGABYTE

if TYPE_CHECKING:
    from classifier.runtime import Classification

logger = logging.getLogger(__name__)

# Answered before it is the photos' turn again, which would otherwise wait for as long as somebody asks.
AT_ONCE = 8
DTYPES = {"FP32": "<f4", "UINT8": "u1"}


class WrongShape(ValueError):
    """A tensor that the model does not take. The message is for its sender."""


def answer_waiting(models: Serving) -> None:
    """Answer those who wait, one after the other, until nobody does; of many AT_ONCE, and ring for the others.

    What this machine lacks the version for, another may have: it is left there, and stands in nobody's way.
    """
    lacking: set[str] = set()
    for _ in range(AT_ONCE):
        if not (claimed := _claim_next(models, lacking)):
            return
        question, model = claimed
        token = logs.request_id.set(question.request_id)
        try:
            _answer(question, model)
        finally:
            logs.request_id.reset(token)
    queue.ring()


def _claim_next(models: Serving, lacking: set[str]) -> tuple[InferenceRequest, Model] | None:
    """Claim who waits longest, but for what is lacking, and add to that; return the question, and its model."""
    waiting = InferenceRequest.objects.waiting().order_by("pk").values_list("pk", "model_version", "sha256")
    while first := waiting.exclude(model_version__in=lacking).first():
        pk, name, digest = first
        model = serving.named(name) if name else models.model_for(digest)
        if model is None:
            lacking.add(name)
        elif question := InferenceRequest.objects.claim(pk):
            return question, model
    return None


def _answer(question: InferenceRequest, model: Model) -> None:
    """Write the answer, or why there is none. Of a fault that is not the question's the row is taken away."""
    row, version = InferenceRequest.objects.filter(pk=question.pk), model.version
    start = time.perf_counter()
    try:
        found = _infer(question, model)
    except (NotAnImage, WrongShape) as error:
        row.update(error=str(error), answered_by=version.name)
        metrics.RESULTS.labels("failed", version.name).inc()
    except Exception:
        logger.exception("A question could not be answered")
        row.delete()
        metrics.RESULTS.labels("error", version.name).inc()
    else:
        seconds = time.perf_counter() - start
        row.update(labels=[label.to_dict() for label in found.labels], answered_by=version.name)
        metrics.INFERENCE.labels(version.name).observe(seconds)
        metrics.RESULTS.labels("done", version.name).inc()
        logger.info("Answered by %s", version)


def _infer(question: InferenceRequest, model: Model) -> Classification:
    """Classify an image or a tensor. Raises NotAnImage and WrongShape."""
    content = bytes(question.content)
    if not question.datatype:
        with at_most(settings.MAX_DECODED_MB - len(content) / MEGABYTE):
            return model.classifier.classify(open_image(BytesIO(content)), question.top_k)
    import numpy as np  # here: tasks.py is read before django-q2 forks

    size = model.classifier.bundle.preprocessing.size
    if question.shape != [size, size, 3]:
        found = ", ".join(str(side) for side in question.shape)
        raise WrongShape(f"{model.version} takes tensors of shape [n, {size}, {size}, 3], and not [n, {found}]")
    pixels = np.frombuffer(content, DTYPES[question.datatype]).reshape(1, size, size, 3)
    return model.classifier.infer(pixels.astype(np.float32), question.top_k)
