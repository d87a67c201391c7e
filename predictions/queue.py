"""The queue is only a bell: it says that there may be work. The rows say what the work is."""

import functools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from django_q.brokers import Broker, get_broker
from django_q.conf import Conf
from django_q.signing import BadSignature, SignedPackage
from django_q.status import Stat
from django_q.tasks import async_task

from predictions.models import ImagePrediction

logger = logging.getLogger(__name__)

# A dotted name: the web process must not import what the worker runs.
TASK = "predictions.tasks.classify_pending"
CLOCKS_DIFFER = timedelta(seconds=20)  # those of several machines, at most
COUNT_SECONDS = 2  # so long, the number of workers is taken to be what it was


class CacheAway(Exception):
    """The cache that all share does not answer: nobody knows which workers are alive."""

    def __init__(self) -> None:
        super().__init__("CACHE_URL does not answer")


@contextmanager
def asking_the_cache() -> Iterator[None]:
    """Raise CacheAway for whatever is raised: each kind of cache has errors of its own."""
    try:
        yield
    except Exception as error:
        raise CacheAway from error


def ring(times: int = 1) -> None:
    """Ring, once the current transaction is committed. Never raises: what a lost bell leaves, the sweep finds."""
    for _ in range(times):
        transaction.on_commit(_ring, robust=True)


def ring_for(prediction: ImagePrediction) -> None:
    """Ring for a new image, unless older ones already wait for every worker.

    For those the bells were rung, and who answers one claims images until none is left, so comes to this one too. Only
    older images count: of several that arrive at once each would otherwise leave the ringing to the others.
    """
    older = ImagePrediction.objects.pending().filter(pk__lt=prediction.pk)
    count = workers()
    if len(older.values_list("pk")[:count]) < count:
        ring()


def ring_for_backlog(times: int) -> None:
    """Ring for so many workers, if images wait."""
    if ImagePrediction.objects.pending().exists():
        ring(times)


def ring_at_worker_start(**_signal: Any) -> None:
    """Ring when a worker process has started. A database that is away then must not end the worker."""
    try:
        ring()
    except Exception:
        logger.exception("The new worker could not look for waiting images; the next sweep will")


def live_workers(host: str = "") -> int:
    """Return how many worker processes, of all machines or of that one, reported in the last three seconds.

    Raises CacheAway.
    """
    return sum(len(cluster.workers) for cluster in live_clusters() if host in {"", cluster.host})


def live_clusters() -> list[Stat]:
    """Return the reports of the clusters, of all machines, that reported in the last three seconds.

    Reports from the future are from before the clock was set back: the cache would keep them until it is then again.
    Raises CacheAway.
    """
    # Not by Stat.get_all(): in django-q2 1.11 it skips every other report, and writes, which a full disk would refuse.
    latest = timezone.now() + CLOCKS_DIFFER
    with asking_the_cache():
        return [cluster for cluster in _reports() if cluster.timestamp < latest]


def workers() -> int:
    """Return how many workers all machines have, counted every COUNT_SECONDS; at least as many as this machine."""
    return max(int(settings.WORKERS), _workers(int(time.monotonic() / COUNT_SECONDS)))


@lru_cache(maxsize=1)
def _workers(_moment: int) -> int:
    """Return live_workers(), asked once in a moment; 0 if the cache does not answer."""
    try:
        return live_workers()
    except CacheAway as error:
        logger.warning("%s: bells are rung for the workers of one machine", error)
        return 0


def _reports() -> Iterator[Stat]:
    for report in cache.get_many(cache.get(Conf.Q_STAT) or []).values():
        with suppress(BadSignature):  # of a cluster with another SECRET_KEY
            yield SignedPackage.loads(report)


@functools.cache
def _broker() -> Broker:
    """Return this process's broker. django-q2 would make one, with connections of its own, for each bell."""
    return get_broker()


def _ring() -> None:
    async_task(TASK, broker=_broker())
