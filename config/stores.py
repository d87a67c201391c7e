"""Where rows, bells and photos are kept: from the addresses in the environment to what Django and its libraries want.

What a store needs beyond the base requirements is looked for only if its address is set, and imported only when used.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

POOL_SECONDS = 2  # for which a request waits for a connection: while the database is away, each does
REDIS_SECONDS = 0.25  # a Redis that takes longer to answer is as good as away


def pool(connections: int) -> dict[str, float]:
    """Return psycopg's options of a pool of at most so many connections.

    It gives one up that cannot be made as soon as nobody waits for it: whoever comes next then tries anew, instead of
    waiting until the pool, which doubles its pauses, does.
    """
    return {
        "min_size": min(2, connections),
        "max_size": connections,
        "max_idle": 60,
        "timeout": POOL_SECONDS,
        "reconnect_timeout": POOL_SECONDS / 2,
    }


def broker(url: str) -> dict[str, Any]:
    """Return django-q2's settings of the queue at an address. Raises ImproperlyConfigured."""
    parts = urlsplit(url)
    if parts.scheme == "orm":
        return {"orm": "default"}
    if parts.scheme in {"redis", "rediss"} and parts.hostname:
        return {"broker_class": "predictions.brokers.redis.Redis", "redis": url}
    if parts.scheme == "sqs" and parts.hostname and parts.path.strip("/"):
        _require("BROKER_URL", "SQS", "boto3")
        where = {"region": parts.hostname, "queue": parts.path.strip("/")}
        return {"broker_class": "predictions.brokers.sqs.Sqs", "sqs": where}
    raise ImproperlyConfigured("BROKER_URL must be orm://, redis://HOST:PORT/DB, rediss:// or sqs://REGION/QUEUE.")


def cache(settings: dict[str, Any]) -> dict[str, Any]:
    """Return Django's settings of a cache, with which a Redis that is away holds nobody up."""
    if settings["BACKEND"].endswith("RedisCache"):
        settings["OPTIONS"] = settings.get("OPTIONS", {}) | impatience()
    return settings


def impatience() -> dict[str, Any]:
    """Return options of Redis' client for what must not wait: attempts of its own would take seconds."""
    from redis.backoff import NoBackoff  # takes 60 ms, and those only need it who have a Redis
    from redis.retry import Retry

    retry = Retry(NoBackoff(), 0)
    return {"retry": retry, "socket_timeout": REDIS_SECONDS, "socket_connect_timeout": REDIS_SECONDS}


@dataclass(frozen=True)
class Media:
    """Where photos are."""

    storage: dict[str, Any]  # Django's
    root: Path  # of the disk's
    origin: str = ""  # that browsers fetch them from, if it is not ours


def media(address: str, folder: Path, region: str, endpoint: str) -> Media:
    """Return where the photos are that have the address MEDIA: in a folder, or in a bucket; without one, in `folder`.

    The bucket is Amazon's in that region, or at the endpoint of another S3. Raises ImproperlyConfigured.
    """
    if "://" not in address:
        root = Path(address).resolve() if address else folder
        # A rendition may be overwritten by the same; originals have names of our own making.
        storage = {"BACKEND": "predictions.storage.DurableFileSystemStorage", "OPTIONS": {"allow_overwrite": True}}
        return Media(storage, root)
    parts = urlsplit(address)
    if parts.scheme != "s3" or not parts.hostname:
        raise ImproperlyConfigured(f"MEDIA is {address!r}; it must be a folder or s3://BUCKET/PREFIX.")
    _require("MEDIA", "S3", "boto3", "storages")
    host = urlsplit(endpoint)
    options = {
        "bucket_name": parts.netloc,
        "location": parts.path.strip("/"),
        "region_name": region,
        "endpoint_url": endpoint or None,
        "addressing_style": "path" if endpoint else "virtual",
    }
    origin = f"{host.scheme}://{host.netloc}" if endpoint else f"https://{parts.netloc}.s3.{region}.amazonaws.com"
    return Media({"BACKEND": "predictions.s3.Bucket", "OPTIONS": options}, folder, origin)


def _require(setting: str, what: str, *modules: str) -> None:
    """Complain about libraries that are not installed, without importing those that are."""
    if not all(map(find_spec, modules)):
        raise ImproperlyConfigured(
            f"{setting} names {what}, for which {' and '.join(modules)} must be installed: "
            "pip install --require-hashes -r requirements/production.txt"
        )
