"""Waiting for many images to be classified."""

from __future__ import annotations

from collections.abc import Sequence

from predictions.models import ImagePrediction, Status
from predictions.services import CHUNK


class Waiting:
    """Images whose classification is awaited. Asking again and again stays cheap, however many they are."""

    def __init__(self, ids: Sequence[int]) -> None:
        """Wait for the images with these ids, in ascending order: the order in which they are claimed."""
        self._chunks = [list(ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK)]

    def count(self) -> int:
        """Return how many still wait. Deleted images do not."""
        unfinished = ImagePrediction.objects.filter(status__in=[Status.PENDING, Status.PROCESSING])
        for index, chunk in enumerate(self._chunks):
            left = list(unfinished.filter(pk__in=chunk).values_list("pk", flat=True))
            self._chunks[index] = left
            if len(left) == len(chunk) == CHUNK:
                break  # nobody has come as far as this
        self._chunks = [chunk for chunk in self._chunks if chunk]
        return sum(map(len, self._chunks))
