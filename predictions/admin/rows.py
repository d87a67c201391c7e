"""The inputs of label and confidence, in the list and on a photo's page.

A list has 500 inputs. Django renders each by two templates, which takes as long as everything else of the page; these
write themselves.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.forms.utils import ErrorList, flatatt
from django.forms.widgets import Input
from django.utils.html import format_html
from django.utils.safestring import SafeString

from predictions.filters import suggesting
from predictions.models import ImagePrediction
from predictions.services import Truth


class QuickInput(Input):
    """An input that is written without templates."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Return the element."""
        widget = self.get_context(name, value, attrs)["widget"]
        shown = "" if widget["value"] is None else format_html(' value="{}"', widget["value"])
        return format_html('<input type="{}" name="{}"{}{}>', widget["type"], name, shown, flatatt(widget["attrs"]))


class LabelInput(QuickInput, forms.TextInput):
    """A label, with suggestions."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"aria-label": "Label", **suggesting(), **(attrs or {})})


class ConfidenceInput(QuickInput, forms.NumberInput):
    """A number from 0 to 1."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"aria-label": "Confidence", "step": "any", "min": 0, "max": 1, **(attrs or {})})


class HiddenInput(QuickInput, forms.HiddenInput):
    """What was shown, sent along."""


def choice(pk: int, name: str) -> SafeString:
    """Return the box that chooses a row of a list, for actions; Django's own is rendered by templates."""
    box = '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="Choose {}">'
    return format_html(box, ACTION_CHECKBOX_NAME, pk, name)


class LabelField(forms.CharField):
    """A label. Sends along what was shown: only what somebody edited is a correction, whatever others did meanwhile."""

    widget = LabelInput
    hidden_widget = HiddenInput

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "required": True, "show_hidden_initial": True})


class ConfidenceField(forms.FloatField):
    """A confidence in as many digits as mean something; sends along what was shown, as a label does."""

    widget = ConfidenceInput
    hidden_widget = HiddenInput

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "show_hidden_initial": True})

    def prepare_value(self, value: Any) -> Any:
        """Return what is shown, and what is compared with to find out whether it was edited."""
        return round(value, 4) if isinstance(value, float) else value


class QuickErrors(ErrorList):
    """Errors that need no template when there are none."""

    def __str__(self) -> SafeString:
        return super().__str__() if self else SafeString()


class PhotoForm(forms.ModelForm[ImagePrediction]):
    """A photo with the label in the user's words, whether or not the model is sure enough of it to show it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["top_prediction"] = self.instance.user_label


class RowForm(PhotoForm):
    """A row of the list. What is not edited need not be valid: photos that wait have no label yet."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "error_class": QuickErrors})
        self.empty_permitted = True
        # Or whoever hears the page hears a hundred times the same.
        for name, said in (("top_prediction", "Label of"), ("confidence", "Confidence in the label of")):
            if name in self.fields:
                self.fields[name].widget.attrs["aria-label"] = f"{said} {self.instance.filename}"


class RowFormSet(forms.BaseModelFormSet[ImagePrediction, RowForm]):
    """The rows of the list."""

    def add_fields(self, form: RowForm, index: int | None) -> None:
        """Add the row's id."""
        super().add_fields(form, index)
        form.fields["id"].widget = HiddenInput()


def word(form: Any) -> Truth:
    """Return what somebody said by editing. A confidence left alone was that of the label that stood there before."""
    confidence = form.cleaned_data["confidence"] if "confidence" in form.changed_data else None
    return Truth(form.cleaned_data["top_prediction"], 1.0 if confidence is None else confidence)


def overtaken(form: Any) -> bool:
    """Return whether the row's label is another than that which was shown to whoever edited it."""
    shown = form.data.get(form.add_initial_prefix("top_prediction"), "")
    return bool(shown != (form.initial["top_prediction"] or ""))
