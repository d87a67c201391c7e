"""Is it alive, can it work? For people, load balancers and whoever is woken at night."""

import os
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from classifier.bundle import Bundle, BundleError
from classifier.models import ModelVersion
from predictions.models import ImagePrediction
from predictions.queue import live_workers


@require_safe
@never_cache
def ping(request: HttpRequest) -> JsonResponse:
    """Answer as the tutorial's application does."""
    return JsonResponse({"ping": "pong", "environment": settings.ENVIRONMENT, "testing": settings.TESTING})


@require_safe
@never_cache
def livez(request: HttpRequest) -> JsonResponse:
    """Answer 200 while this process serves, whatever is wrong elsewhere."""
    return JsonResponse({"status": "alive"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if an upload would be accepted and classified now, else 503; each check says ok or what to do."""
    checks = {name: check() for name, check in CHECKS.items()}
    ready = all(result == "ok" for result in checks.values())
    return JsonResponse({"status": "ready" if ready else "not ready", "checks": checks}, status=200 if ready else 503)


def check_database() -> str:
    """Ask the database for the length of the queue's beginning, as every upload does."""
    try:
        ImagePrediction.objects.pending()[:1].count()
    except DatabaseError as error:
        connection.close()
        return f"The database does not answer: {type(error).__name__}"
    return "ok"


def check_storage() -> str:
    """See whether files can be written."""
    folder = settings.MEDIA_ROOT if settings.MEDIA_ROOT.exists() else settings.DATA_DIR
    return "ok" if os.access(folder, os.W_OK) else "The media folder cannot be written to"


def check_model() -> str:
    """See whether the serving model is installed, and its manifest the registered one."""
    try:
        version = ModelVersion.objects.serving()
        if version is None:
            return "No model is installed: run manage.py install_model. Uploads wait until then"
        if Bundle.read(version.path).digest != version.digest:
            return f"The files of {version} are not those that were installed: run manage.py install_model"
    except BundleError:
        return f"The files of {version} are missing or damaged: run manage.py install_model"
    except DatabaseError:
        return "Unknown while the database does not answer"
    return "ok"


def check_worker() -> str:
    """See whether a worker has reported lately."""
    return "ok" if live_workers() else "No worker is alive: start manage.py qcluster. Uploads wait until then"


CHECKS: dict[str, Callable[[], str]] = {
    "database": check_database,
    "storage": check_storage,
    "model": check_model,
    "worker": check_worker,
}
