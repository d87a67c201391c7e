"""What the pages' forms accept."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

from predictions.filters import suggesting
from predictions.labelmap import validate_label
from predictions.models import LABEL_LENGTH


class IdsField(forms.Field):
    """Ids of rows, which are not looked up: what is gone meanwhile is simply not there any more."""

    widget = forms.MultipleHiddenInput

    def to_python(self, value: Any) -> list[int]:
        """Return the ids. No row has one of more digits, and no database looks for it."""
        return [int(pk) for pk in value if pk.isascii() and pk.isdigit() and len(pk) <= 18]


class BulkForm(forms.Form):
    """What is to be done with which images."""

    ACTIONS = ("correct", "reclassify", "delete")

    action = forms.ChoiceField(choices=[(name, name) for name in ACTIONS])
    # Deletions and the like do without: their buttons have formnovalidate.
    label = forms.CharField(
        label="Right label",
        required=False,
        max_length=LABEL_LENGTH,
        validators=[validate_label],
        widget=forms.TextInput(suggesting() | {"required": True}),
    )
    ids = IdsField()

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, auto_id="right-%s", label_suffix="")

    def clean(self) -> dict[str, Any]:
        """Require a label of a correction."""
        cleaned = super().clean() or {}
        if cleaned.get("action") == "correct" and not cleaned.get("label"):
            self.add_error("label", "Say which label is right.")
        return cleaned


def way_back(request: HttpRequest, name: str = "back") -> str:
    """Return where a form wants to lead to, if that is an address of ours; else nothing."""
    target = request.POST.get(name, "")
    # Anything without a slash redirect() would take for a view's name; Django refuses to lead to endless addresses.
    here = target.startswith("/") and len(target) < 2000
    return target if here and url_has_allowed_host_and_scheme(target, allowed_hosts=None) else ""
