"""Which machines classify, and which model each has on its disk.

One that lacks the serving model leaves the images to those that have it; and the web process, whose machine may have no
model at all, asks here rather than its own disk. Reports are in the cache that all share.
"""

import socket
from dataclasses import dataclass

from django.core.cache import cache

from classifier.models import ModelVersion
from predictions.queue import live_clusters

LIFETIME = 60  # seconds; clusters report every ten


@dataclass(frozen=True)
class Having:
    """How many machines with a live cluster have a certain model whole, and how many said that they have not."""

    able: int
    lacking: int


def report() -> None:
    """Say which model this machine would classify with, "" if none."""
    name = next((version.name for version in ModelVersion.objects.by_preference() if not version.is_damaged()), "")
    cache.set(_key(socket.gethostname()), name, LIFETIME)


def having(version: ModelVersion) -> Having:
    """Return which of the machines have this model, by their latest reports."""
    said = cache.get_many([_key(host) for host in {cluster.host for cluster in live_clusters()}])
    able = sum(name == version.name for name in said.values())
    return Having(able, len(said) - able)


def _key(host: str) -> str:
    return f"model:{host}"
