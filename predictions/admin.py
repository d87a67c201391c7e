"""Looking at images and putting labels right. Everything that changes a row goes through services.py."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from predictions import services
from predictions.models import Correction, ImagePrediction

LABEL = ("top_prediction", "confidence")


class CorrectionInline(admin.TabularInline[Correction, ImagePrediction]):
    """The history; it cannot be changed."""

    model = Correction
    extra = 0
    can_delete = False
    readonly_fields = ("label_before", "label_after", "confidence", "corrected_by", "source", "created_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ImagePrediction)
class ImagePredictionAdmin(admin.ModelAdmin[ImagePrediction]):
    """Label and confidence can be edited: that records a correction. The rest is what happened."""

    list_display = ("id", "filename", "top_prediction", "confidence", "status", "model_version", "created_at")
    list_filter = ("status", "model_version", ("corrected_at", admin.EmptyFieldListFilter))
    list_select_related = ("model_version",)
    search_fields = ("filename", "top_prediction")
    show_full_result_count = False
    readonly_fields = tuple(field.name for field in ImagePrediction._meta.fields if field.name not in LABEL)
    fieldsets = ((None, {"fields": LABEL}), ("What happened", {"fields": readonly_fields}))
    inlines = (CorrectionInline,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ImagePrediction, form: Any, change: bool) -> None:
        if form.changed_data:
            label, confidence = (form.cleaned_data[name] for name in LABEL)
            rows = ImagePrediction.objects.filter(pk=obj.pk)
            services.correct(rows, label, confidence, by=request.user, source=Correction.Source.ADMIN)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        for name in LABEL:
            form.base_fields[name].required = True
        return form

    def delete_model(self, request: HttpRequest, obj: ImagePrediction) -> None:
        services.remove(ImagePrediction.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ImagePrediction]) -> None:
        services.remove(ImagePrediction.objects.filter(pk__in=queryset.values("pk")))
