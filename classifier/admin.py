"""Looking at installed models; the models' page and manage.py change them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from classifier.models import ModelVersion


class ReadOnly:
    """For an admin of what is made and changed elsewhere: rows can be looked at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnly, admin.ModelAdmin[ModelVersion]):
    """Read only: a row without its bundle, or a bundle without its row, would help nobody."""

    list_display = (
        "name",
        "backbone",
        "serving",
        "traffic",
        "shadow",
        "served_at",
        "installed_at",
        "removed_at",
        "page",
    )

    @admin.display(description="share")
    def traffic(self, version: ModelVersion) -> str:
        return "what others leave" if version.serving else f"{version.share} %"

    @admin.display(description="card, comparison, promotion")
    def page(self, version: ModelVersion) -> SafeString:
        return format_html('<a href="{}#version-{}">{} among the models</a>', reverse("models"), version.pk, version)
