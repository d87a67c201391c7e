"""Tables as large as a service's become in years, filled in seconds."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

from django.db import connection

from classifier.models import ModelVersion
from predictions.models import Correction, ImagePrediction, Status

PATTERN = 10_000  # rows that are made up; the others repeat them


def fill(count: int) -> None:
    """Make `count` images, nearly all classified, by three versions, a twentieth corrected, some failed or waiting."""
    ImagePrediction.objects.bulk_create(_pattern(min(count, PATTERN)), batch_size=500)
    columns = ", ".join(
        field.column for field in ImagePrediction._meta.concrete_fields if field.column and not field.primary_key
    )
    table = ImagePrediction._meta.db_table
    with connection.cursor() as cursor:
        for start in range(PATTERN, count, PATTERN):
            cursor.execute(
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} ORDER BY id LIMIT %s",
                [min(PATTERN, count - start)],
            )
        # One word on each of the corrected.
        cursor.execute(
            f"INSERT INTO {Correction._meta.db_table} (prediction_id, label_before, label_after, confidence, source,"
            " created_at, batch) SELECT id, 'label 0', top_prediction, confidence, 'page', corrected_at, %s"
            f" FROM {table} WHERE corrected_at IS NOT NULL",
            [uuid4() if connection.vendor == "postgresql" else uuid4().hex],
        )
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")


def _pattern(count: int) -> list[ImagePrediction]:
    chance = Random(1)
    versions = [ModelVersion.objects.create(name=f"v{n}", backbone="b", digest=str(n)) for n in range(3)]
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return [_row(number, start + timedelta(minutes=100 * number), versions, chance) for number in range(count)]


def _row(number: int, at: datetime, versions: list[ModelVersion], chance: Random) -> ImagePrediction:
    said: list[dict[str, Any]] = [
        {"label": f"label {int(1000 * chance.random() ** 3)}", "confidence": chance.random()} for _ in range(5)
    ]
    fields: dict[str, Any] = {
        "filename": f"photo {number}.jpg",
        "image_path": f"2024/01/01/{number}.jpg",
        "sha256": f"{number:064x}",
        "width": 640,
        "height": 480,
        "size": 100_000,
        "created_at": at,
        "queued_at": at,
        "rendered_at": at,
    }
    if chance.random() < 0.02:
        status = chance.choice([Status.FAILED, Status.PENDING])
        return ImagePrediction(status=status, error="damaged" if status == Status.FAILED else "", **fields)
    return ImagePrediction(
        status=Status.DONE,
        all_predictions=said,
        top_prediction=said[0]["label"],
        confidence=said[0]["confidence"],
        model_version=chance.choices(versions, [90, 9, 1])[0],
        classified_at=at,
        corrected_at=at if chance.random() < 0.05 else None,
        **fields,
    )
