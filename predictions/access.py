"""Who may do what: one table of addresses by name. What is not in it is for nobody.

Pages are checked by config.middleware.AccessMiddleware, the API by the permission class below, once it has read tokens.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

PUBLIC = "public"  # everybody
OWN = "own"  # whoever has logged in, to what is theirs; even while access is open
ADMIN = "admin"  # Django's admin decides by itself
SCRAPE = "scrape"  # so does /metrics: whoever has METRICS_TOKEN, which is no user's
VIEW, ADD, CHANGE, DELETE, RECLASSIFY = (
    f"predictions.{action}_imageprediction" for action in ("view", "add", "change", "delete", "reclassify")
)
CHANGE_MODEL, DELETE_MODEL = "classifier.change_modelversion", "classifier.delete_modelversion"
READING = {"GET", "HEAD", "OPTIONS"}

# Name of an address -> what reading takes, and what the other methods take; or one rule for all.
RULES: dict[str, str | dict[str, str]] = {
    **dict.fromkeys(("ping", "livez", "readyz", "v2-live", "v2-ready", "favicon", "login", "logout"), PUBLIC),
    "metrics": SCRAPE,
    **dict.fromkeys(("password_reset", "password_reset_done"), PUBLIC),
    **dict.fromkeys(("password_reset_confirm", "password_reset_complete"), PUBLIC),
    **dict.fromkeys(("password_change", "password_change_done", "account", "revoke"), OWN),
    **dict.fromkeys(("schema", "docs", "redoc"), VIEW),
    "upload": {"read": VIEW, "POST": ADD},
    **dict.fromkeys(("gallery", "detail", "card", "labels", "dashboard", "image", "view", "thumbnail"), VIEW),
    "change": {"POST": CHANGE},  # and what the action takes: ACTIONS
    "undo": {"POST": CHANGE},
    "prediction-list": {"read": VIEW, "POST": ADD},
    "prediction-detail": {"read": VIEW, "PUT": CHANGE, "PATCH": CHANGE, "DELETE": DELETE},
    "prediction-reclassify": {"read": VIEW, "POST": RECLASSIFY},
    "prediction-history": VIEW,
    **dict.fromkeys(("models", "compare", "model-list", "model-compare"), VIEW),
    "change_model": {"POST": CHANGE_MODEL},  # and what the action takes: MODEL_ACTIONS
    "model-promote": {"POST": CHANGE_MODEL},
    "model-rollback": {"POST": CHANGE_MODEL},
    "model-detail": {"read": VIEW, "DELETE": DELETE_MODEL},
    "model-shares": {"PUT": CHANGE_MODEL},
    **dict.fromkeys(("v2", "v2-model", "v2-version", "v2-model-ready", "v2-version-ready"), VIEW),
    **{name: {"POST": ADD} for name in ("v2-model-infer", "v2-version-infer", "classify")},
    "label-rule-list": VIEW,
}
ACTIONS = {"correct": CHANGE, "reclassify": RECLASSIFY, "delete": DELETE}
MODEL_ACTIONS = {
    **dict.fromkeys(("promote", "rollback", "shares"), CHANGE_MODEL),
    "remove": DELETE_MODEL,
}


def rule_for(request: HttpRequest) -> str | None:
    """Return what a request takes, by its address and method; None if the table does not have it."""
    match = request.resolver_match
    if match is None:
        return None
    if match.namespace == "admin":
        return ADMIN
    rule = RULES.get(match.view_name)
    if not isinstance(rule, dict):
        return rule
    # A method that the address does not have is answered by the view with 405, to whoever may read it.
    return rule.get("read" if request.method in READING else str(request.method)) or rule.get("read") or VIEW


def may(user: User | AnonymousUser, rule: str | None) -> bool:
    """Return whether a user may do what the rule says."""
    if rule in {PUBLIC, ADMIN, SCRAPE}:
        return True
    if rule == OWN:
        return user.is_authenticated
    return rule is not None and (settings.ACCESS == "open" or user.has_perm(rule))


def permissions(request: HttpRequest) -> dict[str, object]:
    """Tell templates what to offer (a context processor)."""
    wanted = {"view": VIEW, "upload": ADD, "manage": CHANGE_MODEL, "remove": DELETE_MODEL, **ACTIONS}
    user = getattr(request, "user", AnonymousUser())  # an error may be answered before anybody asked who it is
    return {"may": {name: may(user, rule) for name, rule in wanted.items()}}


def is_foreign(request: HttpRequest) -> bool:
    """Return whether a page of another site has sent this: the browser says so, and programs say nothing of the kind.

    Forms' tokens tell it of pages. The API takes none, nor does it need a session while access is open: any site that
    somebody looks at could send to a service on their machine or in their network.
    """
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if request.method in READING or origin in settings.CSRF_TRUSTED_ORIGINS:
        return False
    if site:
        return site not in {"same-origin", "none"}
    # To a plain HTTP address that is not this machine's, browsers send no Sec-Fetch-Site.
    return origin is not None and origin.partition("://")[2] != request.get_host()


class Access(BasePermission):
    """The table's word on a request to the API."""

    message = "Your account may not do this; whoever runs this service can give it a role"

    def has_permission(self, request: Request, view: object) -> bool:
        """Return whether this request may be served. Raises PermissionDenied."""
        if is_foreign(request._request):
            raise PermissionDenied("Pages of other sites may not send this; CSRF_TRUSTED_ORIGINS names those that may")
        return may(request.user, rule_for(request._request))
