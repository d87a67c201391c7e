"""System checks: what would go wrong later is said at the start (manage.py check)."""

import os
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register


@register(Tags.files)
def storage_is_writable(**_: Any) -> list[CheckMessage]:
    """Uploads and models need a place."""
    if os.access(settings.DATA_DIR, os.W_OK):
        return []
    return [checks.Error(f"{settings.DATA_DIR} is not writable.", hint="Set DATA_DIR.", id="predictions.E001")]


@register(Tags.caches)
def worker_status_is_shared(**_: Any) -> list[CheckMessage]:
    """/readyz asks the cache which workers live; a cache of one process cannot know."""
    if "locmem" not in settings.CACHES["default"]["BACKEND"]:
        return []
    return [
        checks.Warning(
            "CACHE_URL names a cache inside one process: /readyz would never see a worker.",
            hint="Use filecache:// on one machine, rediscache:// on several.",
            id="predictions.W001",
        )
    ]


@register(Tags.caches, deploy=True)
def worker_status_is_shared_by_machines(**_: Any) -> list[CheckMessage]:
    """Photos in a bucket are for several machines; a folder of one tells the others nothing."""
    if not settings.MEDIA.origin or "filebased" not in settings.CACHES["default"]["BACKEND"]:
        return []
    return [
        checks.Warning(
            "Photos are in a bucket, but CACHE_URL is a folder: /readyz would see the workers of its own machine only.",
            hint="Set CACHE_URL to a Redis, rediscache://host:6379/1.",
            id="predictions.W003",
        )
    ]


@register(Tags.security, deploy=True)  # in dev, only guessing passwords is limited
def limits_are_shared(**_: Any) -> list[CheckMessage]:
    """Counted in memory, a limit holds in each web process for itself."""
    alone = settings.WEB_WORKERS < 2 and not settings.MEDIA.origin  # a bucket is for several machines
    if settings.LIMITS_URL != "memory://" or alone or not any(settings.RATES.values()):
        return []
    return [
        checks.Warning(
            f"Each of the {settings.WEB_WORKERS} web processes of every machine counts requests by itself: clients may "
            "send that many times what the RATE_ settings say.",
            hint="Set LIMITS_URL to a Redis, redis://host:6379/0; on one machine WEB_WORKERS=1 will do.",
            id="predictions.W002",
        )
    ]
