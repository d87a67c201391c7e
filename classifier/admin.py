"""Looking at installed models; manage.py install_model changes them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from classifier.models import ModelVersion


@admin.register(ModelVersion)
class ModelVersionAdmin(admin.ModelAdmin[ModelVersion]):
    """Read only: a row without its bundle, or a bundle without its row, would help nobody."""

    list_display = ("name", "backbone", "serving", "served_at", "installed_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
