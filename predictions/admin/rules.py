"""The label map: rules edited in a list, or written for many labels at once. What they would change is told first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import escape
from django.utils.http import urlencode

from classifier.models import ModelVersion
from predictions.admin.lists import ListAdmin
from predictions.admin.rows import ConfidenceInput, LabelInput
from predictions.filters import suggesting
from predictions.labelmap import LABEL_LENGTH, LabelMap, LabelRule, fault_of
from predictions.models import ImagePrediction

NAMED = 5  # unknown labels in a sentence
SHOWN_AS, MINIMUM = LabelInput({"aria-label": "Shown as"}), ConfidenceInput({"aria-label": "Minimum confidence"})
WIDGETS = {"shown_as": SHOWN_AS, "minimum": MINIMUM}


class MapForm(forms.ModelForm[LabelRule]):
    """One rule for many labels."""

    labels = forms.CharField(
        label="Model's labels", widget=forms.Textarea({"rows": 10, "cols": 40}), help_text="One a line."
    )
    field_order = ("labels", "shown_as", "minimum")

    class Meta:
        model = LabelRule
        fields = ("shown_as", "minimum")
        widgets = WIDGETS

    def clean_labels(self) -> list[str]:
        """Return the labels, each once."""
        labels = list(dict.fromkeys(filter(None, map(str.strip, self.cleaned_data["labels"].splitlines()))))
        if wrong := [label for label in labels if fault_of(label)]:
            raise forms.ValidationError(f"This is no label: {wrong[0][:LABEL_LENGTH]}")
        return labels

    def rules(self) -> list[LabelRule]:
        """Return what a valid form says."""
        said = {name: self.cleaned_data[name] for name in WIDGETS}
        return [LabelRule(label=label, **said) for label in self.cleaned_data["labels"]]


@admin.register(LabelRule)
class LabelRuleAdmin(ListAdmin[LabelRule]):
    """The rules in force within a second of saving. Images keep what the model said."""

    list_display = ("label", "shown_as", "minimum")
    list_display_links = None  # all of a rule is edited in the list
    list_editable = ("shown_as", "minimum")
    search_fields = ("label", "shown_as")
    search_help_text = "Part of a label, the model's or yours."
    actions = ("map_together",)

    class Media:
        css = {"all": ["css/admin.css"]}

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        widget = WIDGETS.get(db_field.name)
        return super().formfield_for_dbfield(db_field, request, **({**kwargs, "widget": widget} if widget else kwargs))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show or save the list, or tell what saving it would change."""
        if request.method == "POST" and "_preview" in request.POST and self.has_change_permission(request):
            return self._preview_list(request)
        with self._telling(request):
            return super().changelist_view(request, extra_context)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        with self._telling(request):
            return super().delete_view(request, object_id, extra_context)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return what Django asks about before it deletes, and tell what that would change."""
        if "post" not in request.POST:
            before = LabelMap.read()
            messages.info(request, _foretell(before, before.without_rules({rule.label for rule in objs})))
        return super().get_deleted_objects(objs, request)

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """Lead to the form for many rules, which does for one."""
        if not self.has_change_permission(request):
            raise PermissionDenied  # or the way there would tell what the rule is of
        rule = self.get_object(request, object_id)
        query = f"?{urlencode({'label': rule.label})}" if rule else ""
        return HttpResponseRedirect(f"{reverse('admin:predictions_labelrule_add')}{query}")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Ask for labels and what they are to be shown as; rules that are there already are replaced."""
        if not (self.has_add_permission(request) and self.has_change_permission(request)):
            raise PermissionDenied
        if request.method != "POST":
            return self._ask(request, LabelRule.objects.filter(label__in=request.GET.getlist("label")))
        form = MapForm(request.POST)
        if "_preview" in request.POST:
            return self._preview(request, form)
        if not form.is_valid():
            return self._page(request, form)
        rules = form.rules()
        with self._telling(request), transaction.atomic():
            LabelRule.objects.bulk_create(
                rules, update_conflicts=True, unique_fields=["label"], update_fields=["shown_as", "minimum"]
            )
            written = LabelRule.objects.filter(label__in=[rule.label for rule in rules])
            LogEntry.objects.log_actions(
                cast("int", request.user.pk),
                written,
                CHANGE,
                [{"changed": {"fields": list(WIDGETS)}}],
                single_object=False,
            )
        messages.success(request, f"Rules saved: {len(rules):,}.{_unknown(rules)}")
        return HttpResponseRedirect(reverse("admin:predictions_labelrule_changelist"))

    @admin.action(description="Map together to one label…", permissions=["change"])
    def map_together(self, request: HttpRequest, queryset: QuerySet[LabelRule]) -> HttpResponse:
        return self._ask(request, queryset)

    def _ask(self, request: HttpRequest, rules: QuerySet[LabelRule]) -> HttpResponse:
        """Show the form with the labels of some rules, and what these have in common."""
        found = list(rules.order_by("label"))
        common = {name: {getattr(rule, name) for rule in found} for name in WIDGETS}
        initial: dict[str, Any] = {name: next(iter(values)) for name, values in common.items() if len(values) == 1}
        labels = [rule.label for rule in found] or request.GET.getlist("label")
        return self._page(request, MapForm(initial={**initial, "labels": "\n".join(labels)}))

    def _page(self, request: HttpRequest, form: MapForm, preview: str = "") -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        find = forms.TextInput(suggesting("raw", into="model-labels")).render("find", "", {"id": "find"})
        context |= {"title": "Map labels", "form": form, "find": find, "preview": preview}
        return TemplateResponse(request, "admin/predictions/labelrule/map.html", context)

    def _preview(self, request: HttpRequest, form: MapForm) -> HttpResponse:
        told = _foretell_rules(rules := form.rules()) + _unknown(rules) if form.is_valid() else _complaints([form])
        return HttpResponse(escape(told)) if request.htmx else self._page(request, form, told)  # type: ignore[attr-defined]

    def _preview_list(self, request: HttpRequest) -> Any:
        rows = self._get_list_editable_queryset(request, "form")
        formset = self.get_changelist_formset(request)(request.POST, queryset=rows)
        valid = formset.is_valid()
        told = _foretell_rules(form.instance for form in formset) if valid else _complaints(formset)
        if request.htmx:  # type: ignore[attr-defined]
            return HttpResponse(escape(told))
        request.method = "GET"  # the list as it is, with what was typed in it
        response: Any = super().changelist_view(request, {"preview": told})
        if isinstance(response, TemplateResponse) and response.context_data:
            response.context_data["cl"].formset = formset
        return response

    @contextmanager
    def _telling(self, request: HttpRequest) -> Iterator[None]:
        """Say how many photos show another label by what is changed in here."""
        if request.method != "POST":
            yield
            return
        before = LabelMap.read()
        yield
        if (after := LabelMap.read()) != before:
            LabelMap.forget()
            messages.success(request, f"Photos that show another label now: {_count(before, after):,}.")


def _count(before: LabelMap, after: LabelMap) -> int:
    return ImagePrediction.objects.filter(before.changed(after)).count()


def _foretell(before: LabelMap, after: LabelMap) -> str:
    return f"Photos that would show another label: {_count(before, after):,}."


def _foretell_rules(rules: Iterable[LabelRule]) -> str:
    """Say how many photos these rules would change."""
    before = LabelMap.read()
    return _foretell(before, before.with_rules(rules))


def _unknown(rules: Iterable[LabelRule]) -> str:
    """Say which labels none of the models that answer has; they may be of another, or mistyped."""
    traffic = ModelVersion.objects.traffic()
    known = traffic.labels() if traffic else set()
    unknown = [rule.label for rule in rules if rule.label not in known] if known else []
    rest = f" and {len(unknown) - NAMED:,} more" if len(unknown) > NAMED else ""
    return f" Not among the labels of the models that answer: {', '.join(unknown[:NAMED])}{rest}." if unknown else ""


def _complaints(invalid: Iterable[Any]) -> str:
    """Say what is wrong with forms."""
    sentences = [text for form in invalid for name in form.errors for text in form.errors[name]]
    return " ".join(dict.fromkeys(sentences)) or "This is no list of rules."
