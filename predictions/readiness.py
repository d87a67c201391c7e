"""Would an upload be accepted and classified now? Each check says "ok", or what is wrong and what to do."""

import shutil
import tempfile
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection

from classifier.models import ModelVersion
from predictions.models import ImagePrediction
from predictions.queue import live_workers
from predictions.storage import is_disk_full
from predictions.uploads import MEGABYTE

FULL = "The disk with the media folder is full: make room. Uploads are refused until then"
UNKNOWN = "Unknown while the database does not answer"


def check_database() -> str:
    """Ask the database for the length of the queue's beginning, as every upload does."""
    try:
        ImagePrediction.objects.pending()[:1].count()
    except DatabaseError as error:
        connection.close()
        return f"The database does not answer: {type(error).__name__}"
    return "ok"


def check_storage() -> str:
    """See whether files can be written, by writing one, and the largest one has room."""
    folder = settings.MEDIA_ROOT if settings.MEDIA_ROOT.exists() else settings.DATA_DIR
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # without a name: whatever happens, nothing stays
            file.write(b"x")
    except OSError as error:
        return FULL if is_disk_full(error) else f"The media folder cannot be written to: {error.strerror}"
    if shutil.disk_usage(folder).free < settings.MAX_UPLOAD_MB * MEGABYTE:
        return FULL
    return "ok"


def check_model() -> str:
    """See whether the serving model is installed and undamaged; if not, which one stands in for it."""
    try:
        version = ModelVersion.objects.serving()
        if version is None:
            return "No model is installed: run manage.py install_model. Uploads wait until then"
        if not version.is_damaged():
            return "ok"
        stand_in = ModelVersion.objects.stand_in()
    except DatabaseError:
        return UNKNOWN
    meanwhile = f"{stand_in} classifies until then" if stand_in else "Uploads wait until then"
    trouble = f"The files of {version} are missing, damaged or not those that were installed"
    return f"{trouble}: run manage.py install_model. {meanwhile}"


def check_worker() -> str:
    """See whether a worker has reported lately."""
    return "ok" if live_workers() else "No worker is alive: start manage.py qcluster. Uploads wait until then"


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
    "storage": check_storage,
    "model": check_model,
    "worker": check_worker,
    "queue": check_queue,
}


def problems() -> list[str]:
    """Return what keeps uploads waiting, in sentences for people."""
    return [result for result in (check_model(), check_worker()) if result != "ok"]
