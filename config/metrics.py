"""Requests, counted by django-prometheus for Prometheus."""

from contextlib import suppress
from typing import Any

from django.http import HttpRequest
from django_prometheus.middleware import Metrics, PrometheusAfterMiddleware

# What the dashboard, the alerts and who looks into something ask for. All of it would cost each request 0.1 ms.
KEPT = {
    "django_http_requests_latency_seconds_by_view_method",
    "django_http_responses_total_by_status_view_method",
    "django_http_responses_body_total_bytes",
    "django_http_requests_body_total_bytes",
    "django_http_exceptions_total_by_type",
}


class Nothing:
    """A metric that is not kept."""

    def labels(self, **_: str) -> "Nothing":
        """Return the series of these labels."""
        return self

    def inc(self) -> None:
        """Count."""

    def observe(self, _: float) -> None:
        """Measure."""


class FewMetrics(Metrics):  # type: ignore[misc]  # it has no types
    """Those that are kept."""

    def register_metric(self, metric_cls: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """Return a metric of that name."""
        return super().register_metric(metric_cls, name, *args, **kwargs) if name in KEPT else Nothing()


class RequestMetricsMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]  # it has no types
    """Counts requests, without letting clients make up as many series as they like."""

    metrics_cls = FewMetrics

    def process_request(self, request: HttpRequest) -> None:
        """Begin to measure; the size is unknown of a request with a malformed Content-Length."""
        with suppress(ValueError):
            super().process_request(request)

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: Any) -> Any:
        """Return a metric's series; a method that HTTP does not have shares one with all others of these."""
        if "method" in labels:
            labels["method"] = self._method(request)
        return super().label_metric(metric, request, response, **labels)
