"""What the framework's own middleware does not do for clients of an API."""

import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.shortcuts import resolve_url
from django.utils.deprecation import MiddlewareMixin
from django_htmx.http import HttpResponseClientRedirect

from config.errors import respond
from config.limits import scope_of
from predictions import logs
from predictions.access import READING, Access, may, rule_for
from predictions.admission import RETRY_SECONDS
from predictions.forms import way_back
from predictions.storage import MEGABYTE, StorageAway


class MethodKeepingCommonMiddleware(CommonMiddleware):
    """Redirects to the address with a slash by 308: after a 301, a POST would arrive as a GET, its file lost.

    Probes may be asked for at any host: a load balancer knows the process by its address, not by its name, and would
    take the 400 that Django answers for a process that is ill.
    """

    response_redirect_class = partial(HttpResponsePermanentRedirect, preserve_request=True)  # type: ignore[assignment]

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        """Refuse hosts that are not ours, and redirect, but for probes."""
        if re.match(settings.PROBES, request.path.lstrip("/")):
            return None
        return super().process_request(request)


class AccessMiddleware(LoginRequiredMiddleware):
    """Lets in whom the table of predictions.access lets in. The others may log in, or are told that it is not for them.

    Views that have the permission class Access see to it themselves: only DRF reads tokens.
    """

    def process_view(
        self, request: HttpRequest, view_func: Any, view_args: Any, view_kwargs: Any
    ) -> HttpResponseBase | None:
        """Check a page before its view runs."""
        by_itself = Access in getattr(getattr(view_func, "cls", None), "permission_classes", ())
        if by_itself or may(request.user, rule_for(request)):
            return None
        if request.user.is_authenticated:
            return respond(request, 403, Access.message)
        return self.handle_no_permission(request, view_func)

    def handle_no_permission(self, request: HttpRequest, view_func: Any) -> HttpResponseBase:  # type: ignore[override]
        """Lead to the login page, and from there to where the person was.

        Htmx, which would put that page into a part of its own, leads the browser there. What a form has sent is not
        sent again: behind the login is the page that it was on.
        """
        if request.headers.get("HX-Request"):
            return HttpResponseClientRedirect(resolve_url(settings.LOGIN_URL))
        if request.method in READING:
            return super().handle_no_permission(request, view_func)
        messages.warning(request, "Nothing was changed: log in, then try again.")
        # Files of somebody who is not let in are not read, not even for the way back.
        way = "" if request.content_type == "multipart/form-data" else way_back(request)
        return redirect_to_login(way or resolve_url(settings.LOGIN_REDIRECT_URL))


class StorageAwayMiddleware(MiddlewareMixin):
    """Answers 503 to whoever asks a page for a file while the storage is away."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer for a view that has raised StorageAway."""
        if not isinstance(error, StorageAway):
            return None
        response = respond(request, 503, str(error))
        response["Retry-After"] = str(RETRY_SECONDS)
        return response


def explain_405(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer in words where Django's decorators refuse a method without any."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.status_code != HTTPStatus.METHOD_NOT_ALLOWED or response.content:
            return response
        explained = respond(request, response.status_code, "This address is not to be opened, or not in this way")
        explained["Allow"] = response["Allow"]
        return explained

    return middleware


class BodyMiddleware(MiddlewareMixin):
    """Refuses bodies of unknown length, and those larger than their address takes, before any of them is read.

    What is behind it reads: a form's CSRF token lies in the body, in which files are stored while it is looked for.
    """

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        """Answer 411 or 413."""
        # Of a body in chunks, Django reads nothing, and would say that it is empty.
        if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
            return respond(request, 411, "Send the Content-Length; chunked bodies are not accepted")
        takes_files = scope_of(request) == "uploads"
        largest = settings.MAX_REQUEST_MB * MEGABYTE if takes_files else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if _content_length(request) > largest:
            sentence = f"The request is too large: at most {largest / MEGABYTE:g} MB are accepted at a time"
            return respond(request, 413, sentence)
        return None


def identify_request(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Give a request the id that its X-Request-ID proposes, or a new one: for every line of the log, and the answer."""

    def middleware(request: HttpRequest) -> HttpResponse:
        name = logs.accept_id(request.headers.get("X-Request-ID", ""))
        # Not taken back here: Django and gunicorn have yet to log the answer. config/worker.py sees to its end.
        logs.request_id.set(name)
        response = get_response(request)
        response["X-Request-ID"] = name
        return response

    return middleware


def _content_length(request: HttpRequest) -> int:
    """Return the declared length in bytes; Django, too, takes a malformed one for none."""
    try:
        return int(request.headers.get("Content-Length") or 0)
    except ValueError:
        return 0
