"""What CloudWatch is told: the rows that wait, in its own format, and nothing unless asked to."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from predictions import cluster
from predictions.models import ImagePrediction, Status
from predictions.tests.test_cluster import Guard

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def rows() -> None:
    cache.clear()  # of other tests' workers
    for status in (Status.PENDING, Status.PENDING, Status.PENDING, Status.PROCESSING, Status.FAILED):
        ImagePrediction.objects.create(filename="a.png", image_path="a.png", width=1, height=1, size=1, status=status)
    ImagePrediction.objects.update(queued_at=timezone.now() - timedelta(minutes=10))


def test_every_sweep_reports_the_backlog(settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    settings.CLOUDWATCH_NAMESPACE = "ml-scaled"
    cluster.keep_sweeping(Guard(2))  # type: ignore[arg-type]
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["Backlog"] == second["Backlog"] == 3
    assert first["Workers"] == 0
    assert 600 <= first["OldestSeconds"] < 700
    about = first["_aws"]
    assert abs(about["Timestamp"] / 1000 - time.time()) < 60  # milliseconds
    (metrics,) = about["CloudWatchMetrics"]
    assert (metrics["Namespace"], metrics["Dimensions"]) == ("ml-scaled", [[]])
    assert {metric["Name"] for metric in metrics["Metrics"]} == first.keys() - {"_aws"}


def test_by_default_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    cluster.keep_sweeping(Guard(1))  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""
