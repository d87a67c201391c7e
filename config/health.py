"""Is it alive, can it work? For people, load balancers and whoever is woken at night."""

import time
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from config.draining import is_stopping
from predictions import gauges
from predictions.readiness import CHECKS, warnings
from predictions.scraping import exposition, may_scrape

HELD_SECONDS = 1  # anybody may ask, as often as they like: each answer writes a file, or asks S3


@dataclass(frozen=True)
class State:
    """What the checks said."""

    checks: dict[str, str]
    warnings: list[str]

    def is_ready(self) -> bool:
        """Return whether all is well, and this process is to go on."""
        return set(self.checks.values()) == {"ok"} and not is_stopping()


def state() -> State:
    """Return what the checks say, asked once in HELD_SECONDS."""
    return _state(int(time.monotonic() / HELD_SECONDS))


@lru_cache(maxsize=1)
def _state(_moment: int) -> State:
    return State({name: check() for name, check in CHECKS.items()}, warnings())


@csrf_exempt  # a POST is refused for its method
@require_safe
@never_cache
def ping(request: HttpRequest) -> JsonResponse:
    """Answer as the tutorial's application does."""
    return JsonResponse({"ping": "pong", "environment": settings.ENVIRONMENT, "testing": settings.TESTING})


@csrf_exempt
@require_safe
@never_cache
def livez(request: HttpRequest) -> JsonResponse:
    """Answer 200 while this process serves, whatever is wrong elsewhere; 503 once it was told to stop."""
    if is_stopping():
        return JsonResponse({"status": "stopping"}, status=503)
    return JsonResponse({"status": "alive"})


@csrf_exempt
@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if an upload would be accepted and classified now, else 503; each check says ok or what to do."""
    now = state()
    status = "ready" if now.is_ready() else "stopping" if is_stopping() else "not ready"
    answer = {"status": status, "checks": now.checks, "warnings": now.warnings}
    return JsonResponse(answer, status=200 if now.is_ready() else 503)


@csrf_exempt
@require_safe
@never_cache
def v2_live(request: HttpRequest) -> JsonResponse:
    """Answer as /livez does, in the form of the Open Inference Protocol."""
    return JsonResponse({"live": not is_stopping()}, status=503 if is_stopping() else 200)


@csrf_exempt
@require_safe
@never_cache
def v2_ready(request: HttpRequest) -> JsonResponse:
    """Answer as /readyz does. The protocol's text has "live" here, too, and its servers say "ready"."""
    ready = state().is_ready()
    return JsonResponse({"live": True, "ready": ready}, status=200 if ready else 503)


@csrf_exempt
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer Prometheus, if it may read: what the processes of this machine counted, and how the whole service is."""
    if not may_scrape(request.headers.get("Authorization", "")):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD"])
    return HttpResponse(exposition(gauges.State()), content_type=CONTENT_TYPE_LATEST)
