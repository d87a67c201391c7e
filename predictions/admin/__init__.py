"""Where people put labels right all day. Everything that changes a row goes through services.py."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from classifier.admin import ReadOnly
from predictions import services
from predictions.admin import accounts as accounts
from predictions.admin import actions, filters
from predictions.admin import rules as rules
from predictions.admin.lists import PER_PAGE, BoundedChangeList, ListAdmin, PhotoChangeList
from predictions.admin.rows import ConfidenceField, LabelField, PhotoForm, RowForm, RowFormSet, choice, overtaken, word
from predictions.filters import PredictionFilter
from predictions.labelmap import UNSURE, LabelMap
from predictions.models import Correction, ImagePrediction

FIELDS: dict[str, Any] = {"top_prediction": LabelField, "confidence": ConfidenceField}
LABEL = tuple(FIELDS)
HINT = "Saving a change records it as your word. A confidence left empty, or as it was beside another label, becomes 1."

admin.site.site_header = admin.site.site_title = "Image classification"
admin.site.index_title = "Photos, labels, models and the queue"


@admin.register(ImagePrediction)
class ImagePredictionAdmin(ListAdmin[ImagePrediction]):
    """Label and confidence can be edited: that records a correction. The rest is what happened."""

    form = PhotoForm
    list_display = ("thumbnail", "name", *LABEL, "status", "model_version", "corrected_by", "created_at")
    list_display_links = ("thumbnail", "name")
    list_editable = LABEL
    sortable_by = (*LABEL, "status", "created_at")  # what an index orders
    list_filter = (
        filters.LabelFilter,
        filters.StatusFilter,
        filters.BandFilter,
        filters.CorrectedFilter,
        "model_version",
        "created_at",
    )
    list_select_related = ("model_version",)
    show_facets = admin.ShowFacets.NEVER  # they would count all rows
    date_hierarchy = "created_at"
    search_fields = ("filename", "top_prediction")
    search_help_text = "Part of a file name or label."
    actions = (actions.correct, actions.accept, actions.reclassify, actions.delete_selected, actions.export)
    readonly_fields = tuple(
        field.name
        for field in ImagePrediction._meta.fields
        if field.name not in {*LABEL, "image_path", "all_predictions", "rendered_at"}
    )
    fieldsets = (
        (None, {"fields": LABEL, "description": HINT}),
        ("What happened", {"fields": readonly_fields, "classes": ("collapse",)}),
    )
    view_on_site = False  # the form has a link, which needs no redirect

    class Media:
        css = {"all": ["css/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Photos come by the pages and the API."""
        return False

    def has_reclassify_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("predictions.reclassify_imageprediction")

    def action_checkbox(self, obj: ImagePrediction) -> SafeString:
        """Return the box that chooses a photo."""
        return choice(obj.pk, obj.filename)

    @admin.display(description="photo")
    def thumbnail(self, photo: ImagePrediction) -> SafeString:
        image = '<img class="thumbnail" src="{}" alt="{}" loading="lazy" width="160" height="120">'
        return format_html(image, photo.thumbnail_url, photo.filename)

    @admin.display(description="file name")
    def name(self, photo: ImagePrediction) -> str:
        return photo.filename

    @admin.display(description="corrected by")
    def corrected_by(self, photo: Any) -> str | None:
        return photo.corrector or ("somebody" if photo.corrected_at else None)

    @admin.display(description="the model says")
    def raw(self, photo: ImagePrediction) -> str:
        """Return the model's own label where another is shown, or it is not sure enough for any."""
        if photo.label == photo.top_prediction:
            return ""
        return f"{photo.top_prediction}{f': {UNSURE}' if photo.label == UNSURE else ''}"

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Return the columns: that of the label map only if there is one."""
        columns: list[Any] = list(self.list_display)
        if LabelMap.current().rules:
            columns.insert(columns.index("status"), "raw")
        return columns

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        """Search file names and labels; labels also as the label map shows them."""
        found, has_duplicates = super().get_search_results(request, queryset, search_term)
        mapped = LabelMap.current().search(search_term) if search_term else None
        return (found | queryset.filter(mapped) if mapped else found), has_duplicates

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[PhotoChangeList]:
        return PhotoChangeList

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_form(request, **{"form": RowForm, **kwargs})

    def get_changelist_formset(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_formset(request, **{"formset": RowFormSet, **kwargs})

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if field := FIELDS.get(db_field.name):
            kwargs |= {"form_class": field, "widget": field.widget}
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Save edited rows as one batch of corrections; everything else is Django's own."""
        if request.method == "POST" and "_save" in request.POST and self.has_change_permission(request):
            rows = self._get_list_editable_queryset(request, "form")
            forms = list(self.get_changelist_formset(request)(request.POST, queryset=rows))
            gone = [form for form in forms if not form.instance.pk]
            edited = [form for form in forms if form not in gone and not set(LABEL).isdisjoint(form.changed_data)]
            invalid = not all(form.is_valid() for form in edited)
            if gone:
                lost = ", and nothing was saved" if invalid else ""
                messages.warning(request, f"{actions.photos(len(gone))} had been deleted by somebody{lost}.")
            if gone or not invalid:
                self._correct(request, [] if invalid else edited)
                return HttpResponseRedirect(request.get_full_path())
        return super().changelist_view(request, extra_context)

    def save_model(self, request: HttpRequest, obj: ImagePrediction, form: Any, change: bool) -> None:
        self._correct(request, [form] if form.changed_data else [])

    def _correct(self, request: HttpRequest, edited: list[Any]) -> None:
        """Record what valid forms say, in one batch."""
        if not edited:
            return
        words = {form.instance.pk: word(form) for form in edited}
        try:
            batch = services.correct_each(words, by=request.user, source=Correction.Source.ADMIN)
        except ImagePrediction.DoesNotExist:
            messages.error(request, "Those photos are gone.")
            return
        count, _ = services.corrected(batch)
        messages.success(request, actions.undoable(f"{actions.photos(count)} corrected.", batch))
        if count := sum(map(overtaken, edited)):
            sentence = (
                f"Of these, {actions.photos(count)} had got another label while you edited. Yours stands now; "
                "both are in the history."
            )
            messages.warning(request, sentence)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Keep no second log: a correction is the record of who changed what."""

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        photo = self.get_object(request, object_id)
        context: dict[str, Any] = {**(extra_context or {}), "subtitle": None}
        if photo:
            before, behind = PredictionFilter({}, ImagePrediction.objects.all()).neighbours(photo)
            context |= {"title": photo.filename, "history": photo.history(), "before": before, "behind": behind}
        return super().change_view(request, object_id, form_url, context)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Say what goes, without reading it all: the history has no permissions of its own."""
        return [f"{photo}, with its files and its history" for photo in objs], {"photos": len(objs)}, set(), []

    def delete_model(self, request: HttpRequest, obj: ImagePrediction) -> None:
        services.remove(ImagePrediction.objects.filter(pk=obj.pk))


@admin.register(Correction)
class CorrectionAdmin(ReadOnly, ListAdmin[Correction]):
    """Who said what of which photo. Corrections are never changed nor deleted, but can be undone."""

    list_display = ("word", "photo", "confidence", "corrected_by", "source", "created_at", "undone_at")
    list_filter = ("source", filters.UndoneFilter, "created_at")
    show_facets = admin.ShowFacets.NEVER  # they would count all rows
    sortable_by = ()
    search_fields = ("label_before", "label_after", "corrected_by__username")
    search_help_text = "Part of a label, before or after, or of a name."
    actions = ("undo",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Correction]:
        rows = super().get_queryset(request).select_related("prediction", "corrected_by")
        return rows.defer("prediction__all_predictions")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BoundedChangeList]:
        return BoundedChangeList

    def has_undo_permission(self, request: HttpRequest) -> bool:
        """Undoing changes what photos show, as correcting does."""
        return request.user.has_perm("predictions.change_imageprediction")

    def action_checkbox(self, obj: Correction) -> SafeString:
        """Return the box that chooses a correction."""
        return choice(obj.pk, f"the correction {obj} of {obj.prediction.filename}")

    @admin.display(description="correction")
    def word(self, correction: Correction) -> SafeString:
        """Return what was corrected; by its sound, a link tells of which photo."""
        return format_html('{}<span class="visually-hidden"> of {}</span>', correction, correction.prediction.filename)

    @admin.display(description="photo")
    def photo(self, correction: Correction) -> SafeString:
        address = reverse("admin:predictions_imageprediction_change", args=[correction.prediction_id])
        return format_html('<a href="{}">{}</a>', address, correction.prediction.filename)

    @admin.action(description="Undo, with all that was corrected together with it", permissions=["undo"])
    def undo(self, request: HttpRequest, queryset: QuerySet[Correction]) -> None:
        """Undo whole batches: what was corrected in one go is taken back in one go."""
        batches = list(queryset.order_by().values_list("batch", flat=True).distinct()[: PER_PAGE + 1])
        if len(batches) > PER_PAGE:
            messages.error(request, f"More than {PER_PAGE} at once are too many.")
            return
        with transaction.atomic():
            count = sum(map(services.undo, batches))
        messages.success(request, f"Correction of {actions.photos(count)} undone.")
