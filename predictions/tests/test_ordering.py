"""Filtered lists read few rows, however many there are: by the plans of SQLite, which has no statistics."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test import Client

from predictions import filters
from predictions.admin import lists
from predictions.filters import PredictionFilter, beyond
from predictions.models import ImagePrediction
from predictions.ordering import along_order
from predictions.tests.filling import fill

pytestmark = pytest.mark.django_db
ROWS = 1000


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "COMMON", ROWS // 10)
    monkeypatch.setattr(filters, "COMMON", ROWS // 10)
    fill(ROWS)


def queries() -> Iterator[QuerySet[ImagePrediction]]:
    rows = ImagePrediction.objects.all()
    version = rows.exclude(model_version=None)[0].model_version
    conditions: list[dict[str, Any]] = [
        {"status": "done"},
        {"status": "failed"},
        {"corrected_at__isnull": False},
        {"created_at__year": 2024},
        {"confidence__gte": 0.2, "confidence__lt": 0.9},
        {"model_version": version},
        {"top_prediction": "label 0"},
        {"top_prediction__in": ["label 0", "label 1"]},
    ]
    for one in conditions:
        for other in conditions:
            for order in (["-pk"], ["confidence", "pk"], ["-created_at", "-pk"]):
                yield rows.filter(**one).filter(**other).order_by(*order)


@pytest.mark.parametrize("common", [0, ROWS // 10, ROWS])
def test_the_rows_and_their_order_are_the_same(common: int) -> None:
    for rows in queries():
        expected = list(rows.values_list("pk", flat=True)[:50])
        assert list(along_order(rows, common).values_list("pk", flat=True)[:50]) == expected, rows.query


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has statistics")
@pytest.mark.parametrize(("query", "plan"), [
    ("status=done&ordering=-confidence", "SEARCH photo USING INDEX by_confidence"),
    ("status=failed&ordering=-confidence", "USING INDEX by_status .* USE TEMP B-TREE"),
    ("corrected=true&ordering=confidence", "LIST SUBQUERY .* USING INDEX corrected .*USE TEMP B-TREE"),
    ("since=2024-01-02", "SCAN photo$"),
    ("status=done&label=nothing", "USING INDEX by_label"),
])  # fmt: skip
def test_gallery_and_api_read_by_an_index(query: str, plan: str) -> None:
    asked = dict(pair.split("=") for pair in query.split("&"))
    assert_plan(PredictionFilter(asked, ImagePrediction.objects.all()).qs, plan)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has statistics")
def test_pages_begin_where_the_one_before_ended() -> None:
    rows = PredictionFilter({"ordering": "-confidence"}, ImagePrediction.objects.all()).qs
    behind = rows.filter(beyond(("-confidence", "-id"), [0.5, 7], forward=True))
    assert_plan(behind, r"SEARCH photo USING INDEX by_confidence \(confidence>\? AND confidence<\?\)")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has statistics")
@pytest.mark.parametrize(("query", "plan"), [
    ("", "SCAN photo$"),
    ("corrected=yes", "SCAN photo USING INDEX corrected$"),
    ("model_version__id__exact=V0", "SEARCH photo USING INDEX by_model_version"),
    ("model_version__id__exact=V0&created_at__year=2024", "SEARCH photo USING INDEX by_date"),
    ("model_version__id__exact=V0&band=1", "SEARCH photo USING INDEX by_confidence"),
    ("model_version__id__exact=V0&o=3", "SEARCH photo USING INDEX by_label"),
    ("model_version__id__exact=V0&o=5", "SCAN photo USING INDEX by_status"),
    ("status=done&created_at__year=2024", "SEARCH photo USING INDEX by_date"),
    ("status=failed&o=8", "USING INDEX by_status .* USE TEMP B-TREE"),
])  # fmt: skip
def test_the_admins_list_reads_by_an_index(admin_client: Client, query: str, plan: str) -> None:
    first = ImagePrediction.objects.filter(model_version__name="v0").values_list("model_version", flat=True)[0]
    address = f"/admin/predictions/imageprediction/?{query.replace('V0', str(first))}"
    assert_plan(admin_client.get(address).context["cl"].queryset, plan)


def assert_plan(rows: QuerySet[Any], expected: str) -> None:
    steps = [line.split(maxsplit=3)[3] for line in rows.values("pk")[:100].explain().splitlines()]
    plan = " ".join(steps).replace(ImagePrediction._meta.db_table, "photo").replace("COVERING ", "")
    assert re.search(expected, plan)
    if "TEMP" not in expected:
        assert "TEMP" not in plan
