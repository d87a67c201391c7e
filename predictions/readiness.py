"""Would an upload be accepted and classified now? Each check says "ok", or what is wrong and what to do."""

from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection

from classifier.models import ModelVersion
from predictions import machines
from predictions.models import ImagePrediction
from predictions.queue import CacheAway, live_workers
from predictions.storage import disk_trouble, photos

UNKNOWN = "Unknown while the database does not answer"
UNREPORTED = "Unknown while the cache does not answer"


def check_database() -> str:
    """Ask the database for the length of the queue's beginning, as every upload does."""
    try:
        ImagePrediction.objects.awaited()[:1].count()
    except DatabaseError as error:
        connection.close()
        return f"The database does not answer: {type(error).__name__}"
    return "ok"


def check_cache() -> str:
    """Ask the cache who reports."""
    try:
        live_workers()
    except CacheAway as error:
        return f"{error}: {type(error.__cause__).__name__}. Workers go on, and cannot be seen"
    return "ok"


def check_storage() -> str:
    """See whether the largest upload could be received, on this machine's disk, and stored."""
    return disk_trouble(settings.FILE_UPLOAD_TEMP_DIR) or photos().trouble() or "ok"


def check_model() -> str:
    """See whether a machine that classifies has the serving model undamaged; if none has, which one stands in for it.

    While no machine has reported, this one is looked at.
    """
    try:
        version = ModelVersion.objects.serving()
        if version is None:
            return "No model is installed: run manage.py install_model. Uploads wait until then"
        if machines.is_at_hand(version):
            return "ok"
        stand_in = ModelVersion.objects.stand_in()
    except DatabaseError:
        return UNKNOWN
    except CacheAway:
        return UNREPORTED
    meanwhile = f"{stand_in} classifies until then" if stand_in else "Uploads wait until then"
    trouble = f"The files of {version} are missing, damaged or not those that were installed"
    return f"{trouble}: run manage.py install_model. {meanwhile}"


def check_worker() -> str:
    """See whether a worker has reported lately."""
    try:
        return "ok" if live_workers() else "No worker is alive: start manage.py qcluster. Uploads wait until then"
    except CacheAway:
        return UNREPORTED


def warnings() -> list[str]:
    """Return what people should know of though uploads are classified."""
    try:
        version = ModelVersion.objects.serving()
        having = machines.having(version) if version else None
    except (DatabaseError, CacheAway):
        return []
    if not having or not having.able or not having.lacking:
        return []
    return [
        f"{having.lacking} of {having.able + having.lacking} machines that classify lack {version}, or have it "
        "damaged, and leave the images to the others: copy it there, or run manage.py install_model"
    ]


def check_queue() -> str:
    """See whether the queue moves on: an upload comes after those that wait already."""
    try:
        longest = ImagePrediction.objects.longest_wait()
    except DatabaseError:
        return UNKNOWN
    if not settings.QUEUE_AGE_SECONDS or not longest or longest.total_seconds() <= settings.QUEUE_AGE_SECONDS:
        return "ok"
    return f"The first in the queue has waited for {longest.total_seconds():.0f} seconds: workers hang, or are too few"


CHECKS: dict[str, Callable[[], str]] = {
    "database": check_database,
    "cache": check_cache,
    "storage": check_storage,
    "model": check_model,
    "worker": check_worker,
    "queue": check_queue,
}


def problems() -> list[str]:
    """Return what is known to keep uploads waiting, in sentences for people."""
    return [result for result in (check_model(), check_worker()) if result not in {"ok", UNKNOWN, UNREPORTED}]
