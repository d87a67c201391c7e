"""What the database, the disk and the cache know, asked when Prometheus asks: three queries and those of /readyz."""

import shutil
from collections.abc import Iterable
from contextlib import suppress

from django.conf import settings
from django.db import DatabaseError
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from predictions.models import ImagePrediction
from predictions.queue import CacheAway, live_workers
from predictions.readiness import CHECKS


class State(Collector):
    """How the service is now. While database or cache are away, what only they know is left out."""

    def collect(self) -> Iterable[Metric]:
        """Return the gauges."""
        ready = GaugeMetricFamily("classification_ready", "Whether a check of /readyz says ok.", labels=["check"])
        for name, check in CHECKS.items():
            ready.add_metric([name], check() == "ok")
        yield ready
        with suppress(CacheAway):
            yield GaugeMetricFamily("classification_workers", "Worker processes that report.", live_workers())
        yield GaugeMetricFamily("classification_queue_limit", "QUEUE_LIMIT; 0: none.", settings.QUEUE_LIMIT)
        if settings.MEDIA_ROOT.exists():
            free = shutil.disk_usage(settings.MEDIA_ROOT).free
            yield GaugeMetricFamily("classification_storage_free_bytes", "Room on the disk with the images.", free)
        with suppress(DatabaseError):
            yield from _rows()


def _rows() -> list[Metric]:
    images = GaugeMetricFamily("classification_images", "Images without labels, by status.", labels=["status"])
    for status, count in ImagePrediction.objects.count_without_labels().items():
        images.add_metric([status], count)
    uploads = GaugeMetricFamily(
        "classification_queue_uploads",
        "Images that wait and that QUEUE_LIMIT counts: not imports, nor many that are classified again.",
        ImagePrediction.objects.awaited().count(),
    )
    longest = ImagePrediction.objects.longest_wait()
    oldest = GaugeMetricFamily(
        "classification_queue_oldest_seconds",
        "For how long the one of them waits that joined the queue first; 0 if none waits.",
        longest.total_seconds() if longest else 0,
    )
    return [images, uploads, oldest]
