"""An image as a line of a dataset: what it shows, who says so, and which part of the dataset it belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Prefetch

from predictions.models import Correction, ImagePrediction, ImagePredictionQuerySet
from predictions.services import CHUNK

TRAIN, VALIDATION = "train", "validation"
MODEL, PERSON = "model", "person"  # who labels
COLUMNS = (
    "id",
    "filename",
    "label",
    "confidence",
    "labelled_by",
    "person",
    "labelled_at",
    "labelled_in",
    "model_label",
    "model_confidence",
    "model_version",
    "classified_at",
    "split",
    "sha256",
    "width",
    "height",
    "size",
    "status",
    "uploaded_at",
    "label_exported",
    "image_path",
)
# What makes spreadsheets take a cell for a formula, behind any number of apostrophes.
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


@dataclass(frozen=True)
class Split:
    """Divides a dataset by what the images are, not by what else is in it: an image never changes sides."""

    validation: float = 0.2  # the part of all images, 0 to 1
    seed: int = 0

    def of(self, sha256: str) -> str:
        """Return the part that a content belongs to; the same content always to the same."""
        digest = hashlib.sha256(f"{self.seed}:{sha256}".encode()).digest()
        return VALIDATION if int.from_bytes(digest[:8], "big") < self.validation * 2**64 else TRAIN


def records(rows: ImagePredictionQuerySet, split: Split) -> Iterator[tuple[ImagePrediction, dict[str, Any]]]:
    """Return each image with its record, by id, in memory that does not grow with their number."""
    standing = Correction.objects.filter(undone_at=None).select_related("corrected_by")
    rows = rows.select_related("model_version").order_by("pk")
    for row in rows.prefetch_related(Prefetch("corrections", standing, "standing")).iterator(chunk_size=CHUNK):
        yield row, record(row, split)


def record(row: ImagePrediction, split: Split) -> dict[str, Any]:
    """Return what there is to say of an image; None where nothing is."""
    best = row.all_predictions[0] if row.all_predictions else {}
    word = next(iter(row.standing), None) if row.corrected_at else None  # type: ignore[attr-defined]
    label = row.label  # once: the label map may change at any moment
    by_model = not row.corrected_at and row.top_prediction is not None
    return {
        "id": row.pk,
        "filename": row.filename,
        "label": label,
        "confidence": row.confidence,
        "labelled_by": MODEL if by_model else PERSON if row.corrected_at else None,
        "person": word.corrected_by.get_username() if word and word.corrected_by else None,
        "labelled_at": row.classified_at if by_model else row.corrected_at,
        "labelled_in": word.source if word else None,
        "model_label": best.get("label"),
        "model_confidence": best.get("confidence"),
        "model_version": row.model_version.name if row.model_version else None,
        "classified_at": row.classified_at,
        "split": split.of(row.sha256),
        "sha256": row.sha256,
        "width": row.width,
        "height": row.height,
        "size": row.size,
        "status": row.status,
        "uploaded_at": row.created_at,
        "label_exported": label,  # beside an edited label, tells that it was edited
        "image_path": row.image_path.name,  # the last: never empty, and spreadsheets drop empty cells at a row's end
    }


def plain(value: Any) -> Any:
    """Return a record's value as JSON has it."""
    return value.isoformat() if isinstance(value, datetime) else value


def to_cell(value: Any) -> str:
    """Return a record's value as a cell of a spreadsheet: text that could be a formula has an apostrophe before it."""
    text = "" if value is None else str(plain(value))
    return f"'{text}" if FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """Return the text that to_cell() made a cell of."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
