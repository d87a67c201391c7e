"""Is it alive, can it work? For people, load balancers and whoever is woken at night."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from config.draining import is_stopping
from predictions.gauges import State
from predictions.readiness import CHECKS, warnings
from predictions.scraping import exposition, may_scrape


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
    checks = {name: check() for name, check in CHECKS.items()}
    ready = all(result == "ok" for result in checks.values()) and not is_stopping()
    answer = {"status": "ready" if ready else "stopping" if is_stopping() else "not ready", "checks": checks}
    return JsonResponse(answer | {"warnings": warnings()}, status=200 if ready else 503)


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
    ready = all(check() == "ok" for check in CHECKS.values()) and not is_stopping()
    return JsonResponse({"live": True, "ready": ready}, status=200 if ready else 503)


@csrf_exempt
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer Prometheus, if it may read: what the processes of this machine counted, and how the whole service is."""
    if not may_scrape(request.headers.get("Authorization", "")):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD"])
    return HttpResponse(exposition(State()), content_type=CONTENT_TYPE_LATEST)
