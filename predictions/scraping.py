"""What Prometheus reads, from the web's /metrics and, where workers run on their own, from a small port beside them.

Processes that share PROMETHEUS_MULTIPROC_DIR count together: those of one machine, of which any can answer for all.
Between machines, or containers, nothing is shared, for their processes may have the same ids.
"""

import os
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own variable


def may_scrape(authorization: str) -> bool:
    """Return whether a request with this header may read: with METRICS_TOKEN, or without while access is open."""
    if settings.METRICS_TOKEN:
        return bool(constant_time_compare(authorization, f"Bearer {settings.METRICS_TOKEN}"))
    return bool(settings.ACCESS == "open")


def exposition(*collectors: Collector) -> bytes:
    """Return what was counted, and what these collectors find, in Prometheus' text format."""
    registry = CollectorRegistry()
    if DIRECTORY in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)  # one process alone, such as runserver's
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)


def serve(host: str, port: int) -> None:
    """Answer scrapes of what these workers count, in a thread, until the process ends. Raises OSError."""
    server = make_server(host, port, _application, _Server, _Quiet)
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if not may_scrape(environ.get("HTTP_AUTHORIZATION", "")):
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
        return [b""]
    start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
    return [exposition()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds without a byte

    def log_message(self, *_: Any) -> None:
        """Say nothing: a scrape is no news."""
