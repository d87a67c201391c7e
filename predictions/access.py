"""Who may use the API. Apart from api.py, because DRF reads it while its own views are still being imported."""

from typing import Any

from django.conf import settings
from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class Access(BasePermission):
    """Everybody, or with ACCESS=login whoever has logged in."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether this request may be served."""
        return settings.ACCESS == "open" or bool(request.user and request.user.is_authenticated)
