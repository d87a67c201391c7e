"""How the API tells whose token it is. Apart from tokens.py: workers need the rows, but not DRF."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed

from predictions.tokens import ApiToken

# last_used_at is renewed at most so often: reading must not cost a write each time.
FRESH = timedelta(minutes=1)


class ApiTokenAuthentication(TokenAuthentication):  # type: ignore[misc]
    """`Authorization: Bearer TOKEN` (RFC 6750). Remembers when a token was used."""

    def authenticate_credentials(self, token: bytes) -> Any:
        """Return user and token. Raises AuthenticationFailed, also for what is no text."""
        if not token.isascii():
            raise AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(token)

    def validate_user(self, auth_token: ApiToken) -> Any:
        """Return user and token, if the user is active."""
        found = super().validate_user(auth_token)
        now = timezone.now()
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - FRESH)
        if auth_token.last_used_at is None or auth_token.last_used_at < now - FRESH:
            ApiToken.objects.filter(stale, pk=auth_token.pk).update(last_used_at=now)
        return found


class ApiTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document describes it."""

    target_class = ApiTokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the security scheme object."""
        return {"type": "http", "scheme": "bearer", "description": "Made on the page /account/."}
