"""Several machines, as one of them sees the others: through the database's clock and the cache that all share."""

import shutil
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from classifier.models import ModelVersion
from config.tests.environment import LiveCluster
from predictions import machines, queue, tasks
from predictions.models import ImagePrediction, Status

Submit = Callable[..., ImagePrediction]
pytestmark = pytest.mark.django_db


@pytest.fixture
def others_have_the_model(model: ModelVersion, live_cluster: LiveCluster) -> ModelVersion:
    """This machine has lost the model's files; another one has them."""
    shutil.rmtree(model.path)
    live_cluster()
    live_cluster("other")
    cache.set("models:other", {model.name: True})
    return model


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_machine_whose_clock_is_wrong_claims_and_sweeps_as_others_do(
    submit: Submit, settings: Any, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    pk, true = submit().pk, timezone.now()
    monkeypatch.setattr("django.utils.timezone.now", lambda: true + timedelta(hours=hours))
    [claimed] = ImagePrediction.objects.claim()
    assert claimed.lease_expires_at
    assert abs(claimed.lease_expires_at - true - timedelta(seconds=settings.LEASE_SECONDS)) < timedelta(seconds=5)
    assert ImagePrediction.objects.recover_stale() == (0, 0)
    assert ImagePrediction.objects.get(pk=pk).status == Status.PROCESSING


def test_a_machine_without_the_model_leaves_the_images_and_the_bell_to_others(
    submit: Submit, others_have_the_model: ModelVersion, caplog: pytest.LogCaptureFixture
) -> None:
    submit()
    OrmQ.objects.all().delete()
    start = time.monotonic()
    tasks.classify_pending()
    assert ImagePrediction.objects.get().status == Status.PENDING
    assert time.monotonic() - start >= tasks.ABSENT_SECONDS
    assert "leaves the images to others" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_the_bell_goes_on_to_the_others(submit: Submit, others_have_the_model: ModelVersion) -> None:
    submit()
    OrmQ.objects.all().delete()
    tasks.classify_pending()
    assert OrmQ.objects.count() == 1


def test_a_machine_without_the_model_has_the_previous_one_stand_in_when_nobody_else_has_it(
    submit: Submit, model: ModelVersion, live_cluster: LiveCluster
) -> None:
    """Its own report, from before the damage, does not make it wait for itself."""
    prediction = submit()
    ModelVersion.objects.update(serving=False)
    ModelVersion.objects.create(name="newer", backbone="b", digest="0" * 64, serving=True)
    live_cluster()
    cache.set(f"models:{socket.gethostname()}", {"newer": True})
    tasks.classify_pending()
    prediction.refresh_from_db()
    assert prediction.model_version == model


def test_readyz_of_a_machine_without_a_model_believes_those_that_classify(
    client: Client, others_have_the_model: ModelVersion
) -> None:
    machines.report()
    answer = client.get("/readyz").json()
    assert answer["checks"]["model"] == "ok"
    assert answer["warnings"][0].startswith(f"1 of 2 machines that classify lack {others_have_the_model}")
    cache.set("models:other", {others_have_the_model.name: False})
    answer = client.get("/readyz").json()
    assert "missing, damaged" in answer["checks"]["model"]
    assert answer["warnings"] == []


def test_a_version_installed_after_the_last_report_is_believed_to_be_there_until_the_next(
    client: Client, model: ModelVersion, live_cluster: LiveCluster
) -> None:
    live_cluster()
    machines.report()
    newer = ModelVersion.objects.create(name="newer", backbone="b", digest="0" * 64)
    addresses = [f"/v2/models/classifier/versions/{name}/ready" for name in (newer, model)]
    assert [client.get(address).status_code for address in addresses] == [200, 200]
    ModelVersion.objects.promote(newer)
    assert client.get("/readyz").json()["checks"]["model"] == "ok"
    machines.report()
    assert [client.get(address).status_code for address in addresses] == [503, 200]
    assert f"{model} classifies until then" in client.get("/readyz").json()["checks"]["model"]


def test_a_web_process_without_models_knows_which_versions_others_have(
    client: Client, others_have_the_model: ModelVersion
) -> None:
    ModelVersion.objects.update(serving=False)
    assert client.get(f"/v2/models/classifier/versions/{others_have_the_model}/ready").status_code == 200


def test_a_machine_is_not_healthy_because_another_one_is(live_cluster: LiveCluster) -> None:
    live_cluster("other")
    call_command("check_worker", anywhere=True)
    with pytest.raises(CommandError):
        call_command("check_worker")
    live_cluster()
    call_command("check_worker")


@pytest.mark.django_db(transaction=True)
def test_bells_are_rung_for_the_workers_of_all_machines(
    submit: Submit, settings: Any, live_cluster: LiveCluster
) -> None:
    settings.WORKERS = 1
    for host in ("a", "b", "c"):
        live_cluster(host)
    queue._workers.cache_clear()
    for _ in range(6):
        submit()
    assert OrmQ.objects.count() == 3
    queue._workers.cache_clear()
