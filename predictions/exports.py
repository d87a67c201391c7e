"""Predictions as a table, for spreadsheets and other programs."""

import csv
from collections.abc import Iterator
from typing import Any

from predictions.models import ImagePredictionQuerySet

COLUMNS = (
    "id",
    "filename",
    "sha256",
    "label",
    "confidence",
    "model_label",
    "model_confidence",
    "model_version",
    "status",
    "corrected_by",
    "corrected_at",
    "created_at",
)
CHUNK = 1000  # rows in memory at a time
# What spreadsheets take for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def rows(predictions: ImagePredictionQuerySet) -> Iterator[list[Any]]:
    """Yield a row of COLUMNS for every image; times are UTC in ISO 8601, what is unknown is None."""
    for prediction in predictions.select_related("model_version").with_corrector().iterator(chunk_size=CHUNK):
        yield _row(prediction)


def csv_lines(predictions: ImagePredictionQuerySet) -> Iterator[str]:
    """Yield the lines of a CSV file, names first, one at a time: a million need no memory.

    Text that a spreadsheet would run as a formula gets an apostrophe in front: strangers chose the file names.
    """
    writer = csv.writer(Echo())
    yield writer.writerow(COLUMNS)
    for row in rows(predictions):
        yield writer.writerow([_harmless(value) for value in row])


class Echo:
    """A file that hands back what is written to it, for the writer to hand on."""

    def write(self, line: str) -> str:
        """Return the line."""
        return line


def _row(prediction: Any) -> list[Any]:
    answer = (prediction.all_predictions or [{}])[0]
    version = prediction.model_version
    return [
        prediction.pk,
        prediction.filename,
        prediction.sha256,
        prediction.top_prediction,
        prediction.confidence,
        answer.get("label"),
        answer.get("confidence"),
        version.name if version else None,
        prediction.status,
        prediction.corrector,
        *(moment and moment.isoformat() for moment in (prediction.corrected_at, prediction.created_at)),
    ]


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
