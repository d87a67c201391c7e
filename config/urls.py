"""Every address."""

from collections.abc import Callable

from csp.decorators import csp_update
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import (
    LoginView,
    LogoutView,
    PasswordChangeDoneView,
    PasswordResetCompleteView,
    PasswordResetDoneView,
)
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import include, path
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView

from config import health, passwords

admin.autodiscover()


def page(view: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Make a page of one of DRF's views: it has no page to say no with, so access and method are checked before it."""

    @require_safe
    def show(request: HttpRequest) -> HttpResponseBase:
        return view(request)

    return show


urlpatterns = [
    path("ping", health.ping, name="ping"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("v2/health/live", health.v2_live, name="v2-live"),
    path("v2/health/ready", health.v2_ready, name="v2-ready"),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
    path("docs", page(SpectacularSwaggerSplitView.as_view()), name="docs"),
    path("redoc", csp_update(settings.REDOC_CSP)(page(SpectacularRedocView.as_view())), name="redoc"),
    # For pages that name no icon of their own: the admin's, the API's.
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}icon.svg"), name="favicon"),
    path("login", LoginView.as_view(), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    # The admin's own would let one guess at the old password, and leave the tokens.
    path("admin/password_change/", passwords.ChangeView.as_view(), name="password_change"),
    path("password/change", passwords.ChangeView.as_view(), name="password_change"),
    path("password/changed", PasswordChangeDoneView.as_view(), name="password_change_done"),
    path("password/forgotten", passwords.ResetView.as_view(), name="password_reset"),
    path("password/sent", PasswordResetDoneView.as_view(), name="password_reset_done"),
    path("password/<uidb64>/<token>", passwords.ResetConfirmView.as_view(), name="password_reset_confirm"),
    path("password/new", PasswordResetCompleteView.as_view(), name="password_reset_complete"),
    path("admin/", admin.site.urls),
    path("", include("predictions.urls")),
]

handler400 = "config.errors.bad_request"
handler403 = "config.errors.permission_denied"
handler404 = "config.errors.page_not_found"
handler500 = "config.errors.server_error"
