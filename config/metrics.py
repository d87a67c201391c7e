"""Requests, counted by django-prometheus for Prometheus."""

from contextlib import suppress
from typing import Any

from django.http import HttpRequest
from django_prometheus.middleware import PrometheusAfterMiddleware


class RequestMetricsMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]  # it has no types
    """Counts requests, without letting clients make up as many series as they like."""

    def process_request(self, request: HttpRequest) -> None:
        """Begin to measure; the size is unknown of a request with a malformed Content-Length."""
        with suppress(ValueError):
            super().process_request(request)

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: Any) -> Any:
        """Return a metric's series; a method that HTTP does not have shares one with all others of these."""
        if "method" in labels:
            labels["method"] = self._method(request)
        return super().label_metric(metric, request, response, **labels)
