"""Which machines classify, and which models each has on its disk.

One that lacks the serving model leaves the images to those that have it; and the web process, whose machine may have no
model at all, asks here rather than its own disk. Reports are in the cache that all share.
"""

import socket
from collections import Counter
from dataclasses import dataclass

from django.core.cache import cache

from classifier.models import ModelVersion
from predictions.queue import asking_the_cache, live_clusters

LIFETIME = 60  # seconds; clusters report every ten


@dataclass(frozen=True)
class Having:
    """How many machines with a live cluster have a certain model whole, have it not, or have not looked for it yet."""

    able: int
    lacking: int
    unsaid: int  # the model was installed after their latest reports


def report() -> None:
    """Say which of the installed models this machine has whole: whichever is promoted next, this is known of it.

    Raises CacheAway.
    """
    found = {version.name: not version.is_damaged() for version in ModelVersion.objects.filter(removed_at=None)}
    with asking_the_cache():
        cache.set(_key(socket.gethostname()), found, LIFETIME)


def having(version: ModelVersion) -> Having:
    """Return which of the machines have this model, by their latest reports. Raises CacheAway."""
    hosts = {cluster.host for cluster in live_clusters()}
    with asking_the_cache():
        said = cache.get_many([_key(host) for host in hosts])
    found = Counter(models.get(version.name) for models in said.values())
    return Having(able=found[True], lacking=found[False], unsaid=found[None])


def is_at_hand(version: ModelVersion) -> bool:
    """Return whether a machine can classify with this model, by the reports; without any, whether this one can.

    Raises CacheAway.
    """
    found = having(version)
    return bool(found.able or found.unsaid) or not (found.lacking or version.is_damaged())


def _key(host: str) -> str:
    return f"models:{host}"
