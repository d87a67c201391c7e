"""How much one client may ask for, by user, token and address."""

import hashlib
from collections.abc import Callable
from functools import lru_cache, partial
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from config import rates
from config.errors import respond
from config.rates import Tally, TooManyRequests
from predictions import metrics

T = TypeVar("T")
FREE = {"ping", "livez", "readyz", "v2-live", "v2-ready"}
# What pages ask for by themselves: a look at a gallery is sixty of these.
PARTS = {"thumbnail", "view", "image", "card"}
# Why the files of a request are refused, all of them, before they are looked at: by its answer.
UNREAD: dict[int, str] = {
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limited",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
}
UPLOADS = {"upload", "prediction-list", "classify", "v2-model-infer", "v2-version-infer"}


class RateLimitMiddleware:
    """Counts requests, says in every answer what is left, and answers 429 before the body of a request is read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        rates.counter(settings.LIMITS_URL)  # a wrong address ends the start, and not the first request

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add the headers to the answer, and count what is known by now: an upload's further files, and misses."""
        response = self.get_response(request)
        if response.status_code in UNREAD and scope_of(request) == "uploads":
            metrics.UPLOADS_REFUSED.labels(UNREAD[response.status_code]).inc()
        tally: Tally | None = request.META.get("limits.tally")
        if response.status_code == HTTPStatus.NOT_FOUND and (missed := count_miss(request)):
            if missed.left < 0:
                return refuse(request, missed)
            tally = missed
        if tally is None:
            return response
        files = getattr(request, "_files", None)  # not there unless a view has read them
        further = sum(len(several) for _, several in files.lists()) - 1 if files else 0
        further = request.META.get("limits.further", further)  # images that are no files
        if further > 0 and scope_of(request) == "uploads":
            tally = rates.count("uploads", request.META["limits.clients"], further) or tally
        for name, value in tally.headers.items():
            response.headers.setdefault(name, value)
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Count the request; refuse it if there were too many."""
        scope = scope_of(request)
        request.META["limits.tally"] = tally = None
        if scope and settings.RATES[scope]:
            request.META["limits.clients"] = clients(request)
            request.META["limits.tally"] = tally = rates.count(scope, request.META["limits.clients"])
        if scope == "parts" and (reads := rates.count("reads", clients(request), 0)) and reads.left < 0:
            return refuse(request, reads)  # or what is there would be told from what is not
        return refuse(request, tally) if tally and tally.left < 0 else None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer those who try too many passwords, wherever they do."""
        return refuse(request, exception.tally) if isinstance(exception, TooManyRequests) else None


class UserThrottle(BaseThrottle):
    """Counts a request with a token or a password for its user too, once that is proved, with their sessions'."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count it, before its body is read. Raises TooManyRequests."""
        meta, scope = request.META, scope_of(request._request)
        name = f"user:{request.user.pk}"
        if not scope or not meta.get("limits.tally") or not request.user.pk or name in meta["limits.clients"]:
            return True
        meta["limits.clients"].append(name)
        tally = rates.count(scope, [name])
        if tally and tally.left < 0:
            raise TooManyRequests(tally)
        meta["limits.tally"] = min(meta["limits.tally"], tally, key=lambda either: either.left)
        return True


class PasswordBackend(ModelBackend):
    """Django's, for which whoever failed too often has to wait, on the login page, the admin's or in the API.

    Failures are counted by address and by the user name tried: one address cannot try many, nor many addresses one. Who
    is refused costs no hashing. Guesses under way at once are all heard: at most as many as there are threads.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Return the user of that name and password, if there is one. Raises TooManyRequests."""
        authenticate = partial(super().authenticate, request, username, password, **kwargs)
        return authenticate() if request is None or username is None else guess(request.META, username, authenticate)


def guess(meta: dict[str, Any], name: str, check: Callable[[], T]) -> T:
    """Return what a check of somebody's password says, and count it if that is no. Raises TooManyRequests."""
    names = [f"address:{address(meta)}", f"name:{digest(name)}"]
    tally = rates.count("logins", names, 0)
    if tally and tally.left < 1:
        raise TooManyRequests(tally)
    if not (found := check()):
        rates.count("logins", names)
    return found


def refuse(request: HttpRequest, tally: Tally) -> HttpResponse:
    """Answer 429 (RFC 6585) and when to come back."""
    response = respond(request, 429)
    for name, value in {"Retry-After": str(tally.reset), **tally.headers}.items():
        response[name] = value
    return response


def count_miss(request: HttpRequest) -> Tally | None:
    """Count what was not there as something read, if it was not; there are many ways to ask, and each is a guess."""
    if scope_of(request) == "reads" and request.resolver_match:
        return None  # it was counted before its view ran
    return rates.count("reads", request.META.get("limits.clients") or clients(request))


def scope_of(request: HttpRequest) -> str | None:
    """Return which rates a request counts for; None if for none."""
    match = request.resolver_match
    name = match.view_name if match else None
    if name in FREE:
        return None
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return "parts" if name in PARTS else "reads"
    return "uploads" if name in UPLOADS and request.method == "POST" else "writes"


def clients(request: HttpRequest) -> list[str]:
    """Return the names of a request's client: its user alone, or else its address, and its token if it sends one.

    A session has been proved, a token not yet: made-up ones do not help to escape the limit of the address. Once it is,
    UserThrottle adds its user.
    """
    if user := _session_user(request):
        return [f"user:{user}"]
    token = request.headers.get("Authorization")
    return [f"address:{address(request.META)}", *([f"token:{digest(token)}"] if token else [])]


def address(meta: dict[str, Any]) -> str:
    """Return by what a client's address is counted: of IPv6 the network, of which one client has all addresses."""
    return _network(origin(meta))


def origin(meta: dict[str, Any]) -> str:
    """Return the network address that a request comes from.

    X-Forwarded-For is believed with TRUST_PROXY only, and of it the last hop: the others say what the client likes.
    """
    forwarded = meta.get("HTTP_X_FORWARDED_FOR", "") if settings.TRUST_PROXY else ""
    return str(forwarded.rpartition(",")[2].strip() or meta.get("REMOTE_ADDR", ""))


def digest(secret: str) -> str:
    """Return a name for what must not be legible in a Redis."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()[:32]


@lru_cache(10_000)
def _network(text: str) -> str:
    try:
        parsed = ip_address(text)
    except ValueError:
        return "unknown"  # one name for all of them: whoever sends nonsense escapes nothing
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or f"{IPv6Address(int(parsed) >> 64 << 64)}/64")


def _session_user(request: HttpRequest) -> str | None:
    # Without its cookie, the session is left alone: looking into it makes an answer vary by cookie.
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return None
    try:
        return request.session.get(SESSION_KEY)
    except DatabaseError:
        return None  # the view will say so
