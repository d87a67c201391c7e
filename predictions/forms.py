"""What the pages' forms accept."""

from __future__ import annotations

from typing import Any

from django import forms

from predictions.filters import suggesting
from predictions.models import LABEL_LENGTH


class BulkForm(forms.Form):
    """What is to be done with which images."""

    ACTIONS = ("correct", "reclassify", "delete")

    action = forms.ChoiceField(choices=[(name, name) for name in ACTIONS])
    label = forms.CharField(
        label="Right label", required=False, max_length=LABEL_LENGTH, widget=forms.TextInput(suggesting())
    )
    ids = forms.TypedMultipleChoiceField(coerce=int)

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, auto_id="right-%s", label_suffix="")
        # Ids are not looked up here: what is gone meanwhile is simply not there any more.
        chosen = [pk for pk in data.getlist("ids") if pk.isascii() and pk.isdigit()] if data else []
        self.fields["ids"].choices = [(pk, pk) for pk in chosen]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Require a label of a correction."""
        cleaned = super().clean() or {}
        if cleaned.get("action") == "correct" and not cleaned.get("label"):
            self.add_error("label", "Say which label is right.")
        return cleaned
