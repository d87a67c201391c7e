"""/ping as the tutorial's; /livez and /readyz for load balancers and people."""

import tempfile
from datetime import timedelta
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from classifier.models import ModelVersion
from config.tests.environment import LiveCluster
from predictions.models import ImagePrediction


def test_ping_answers_as_the_tutorial(client: Client) -> None:
    response = client.get("/ping")
    assert response.json() == {"ping": "pong", "environment": "dev", "testing": True}


def test_livez_needs_no_database(client: Client) -> None:
    assert client.get("/livez").json() == {"status": "alive"}


@pytest.mark.parametrize("path", ["/livez", "/ping"])
def test_probes_are_answered_at_any_host_and_nothing_else_is(client: Client, path: str) -> None:
    address = {"host": "10.0.1.23:8000"}  # how a load balancer asks
    assert client.get(path, headers=address).status_code == 200
    assert client.get(f"{path}/", headers=address).status_code == 400
    assert client.get("/login", headers=address).status_code == 400


@pytest.mark.django_db
def test_readyz_names_everything_that_is_missing(client: Client, settings: Any) -> None:
    cache.clear()
    response = client.get("/readyz")
    assert response.status_code == 503
    checks = response.json()["checks"]
    assert checks["database"] == checks["storage"] == "ok"
    assert "install_model" in checks["model"]
    assert "qcluster" in checks["worker"]


@pytest.mark.django_db
def test_readyz_sees_a_damaged_model(client: Client, model: ModelVersion) -> None:
    assert client.get("/readyz").json()["checks"]["model"] == "ok"
    with (model.path / "model.tflite").open("r+b") as file:
        file.write(b"damage")
    answer = client.get("/readyz").json()["checks"]["model"]
    assert "damaged" in answer
    assert "Uploads wait" in answer
    (model.path / "bundle.json").unlink()
    assert "missing" in client.get("/readyz").json()["checks"]["model"]


@pytest.mark.django_db
def test_readyz_sees_a_foreign_model(client: Client, model: ModelVersion) -> None:
    ModelVersion.objects.update(digest="0" * 64)
    assert "not those that were installed" in client.get("/readyz").json()["checks"]["model"]


@pytest.mark.django_db
def test_readyz_sees_workers_while_they_report(client: Client, model: ModelVersion, live_cluster: LiveCluster) -> None:
    report = live_cluster()
    response = client.get("/readyz")
    assert response.status_code == 200, response.json()
    call_command("check_worker")
    report.host = "elsewhere"
    report.save()
    call_command("check_worker", "--anywhere")
    with pytest.raises(CommandError, match="No worker"):
        call_command("check_worker")
    # The clock is set back: the cache would keep this report for an hour.
    report.timestamp += timedelta(hours=1)
    report.save()
    assert "No worker" in client.get("/readyz").json()["checks"]["worker"]


@pytest.mark.django_db
def test_readyz_says_that_the_database_is_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("connection refused")

    with connection.execute_wrapper(away):
        checks = client.get("/readyz").json()["checks"]
    assert checks["database"] == "The database does not answer: OperationalError"
    assert checks["model"].startswith("Unknown")


@pytest.mark.django_db
def test_however_often_somebody_asks_the_checks_are_made_once_in_a_while(
    client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("config.health.HELD_SECONDS", float("inf"))
    assert client.get("/readyz").json()["checks"]["storage"] == "ok"
    settings.MAX_UPLOAD_MB = 10**12
    assert client.get("/readyz").json()["checks"]["storage"] == "ok"
    monkeypatch.setattr("config.health.HELD_SECONDS", 1e-9)
    assert client.get("/readyz").json()["checks"]["storage"] != "ok"


@pytest.mark.django_db
def test_readyz_says_that_the_disk_is_full(client: Client, settings: Any) -> None:
    settings.MAX_UPLOAD_MB = 10**12
    assert "full: make room" in client.get("/readyz").json()["checks"]["storage"]


@pytest.mark.django_db
def test_readyz_says_that_the_storage_is_missing(client: Client, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = settings.DATA_DIR = tmp_path / "gone"
    assert "cannot be written" in client.get("/readyz").json()["checks"]["storage"]


@pytest.mark.django_db
def test_readyz_says_that_no_byte_can_be_written_though_there_is_room(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inodes may be used up, or a quota, of which the disk's free space says nothing."""

    def full(**_: Any) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert "full: make room" in client.get("/readyz").json()["checks"]["storage"]


@pytest.mark.django_db
def test_the_storage_is_tried_and_nothing_stays(client: Client, settings: Any) -> None:
    assert client.get("/readyz").json()["checks"]["storage"] == "ok"
    assert list(settings.MEDIA_ROOT.iterdir()) == []


@pytest.mark.django_db
def test_readyz_says_how_long_the_queue_is_in_time(client: Client, submit: Any, settings: Any) -> None:
    def queue() -> str:
        return str(client.get("/readyz").json()["checks"]["queue"])

    submit()
    assert queue() == "ok"
    ImagePrediction.objects.update(queued_at=timezone.now() - timedelta(seconds=700))
    assert queue().startswith("The first in the queue has waited for 70")
    settings.QUEUE_AGE_SECONDS = 0
    assert queue() == "ok"
    settings.QUEUE_AGE_SECONDS = 600
    # Somebody has old images classified again: those have not waited since they were uploaded.
    ImagePrediction.objects.update(status="done")
    ImagePrediction.objects.all().requeue()
    assert queue() == "ok"
