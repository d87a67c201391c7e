"""/metrics: who may read it, what it counts, from every process, and that nobody can make it grow."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import urllib3
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection, transaction
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from config.settings import rates
from config.tests.environment import ROOT, image_bytes
from config.tests.service import Service, photo_variants, wait_until
from predictions import metrics, renditions, services, tasks
from predictions.models import Correction, ImagePrediction, Status
from predictions.storage import StorageAway
from predictions.uploads import Refusal

Samples = dict[tuple[str, ...], float]
TOKEN = {"Authorization": "Bearer let-me-in"}


def parse(text: str) -> Samples:
    """Return the values by name and, in the order of the labels' names, the labels' values."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(client: Client) -> Samples:
    response = client.get("/metrics")
    assert response.status_code == 200
    return parse(response.content.decode())


@contextmanager
def counted(client: Client) -> Iterator[Samples]:
    """Gather by how much each value grows in the block; what has not changed is left out."""
    before, grown = read(client), Samples()
    yield grown
    after = read(client)
    changes = {key: value - before.get(key, 0) for key, value in after.items()}
    grown.update({key: change for key, change in changes.items() if change})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("access", "token", "headers", "status"),
    [
        ("open", "", {}, 200),
        ("open", "let-me-in", {}, 401),
        ("open", "let-me-in", TOKEN, 200),
        ("login", "", {}, 401),
        ("login", "", {"Authorization": "Bearer "}, 401),
        ("login", "let-me-in", {"Authorization": "Bearer let-me-out"}, 401),
        ("login", "let-me-in", {"Authorization": "Bearer käse"}, 401),
        ("login", "let-me-in", TOKEN, 200),
    ],
)
def test_who_may_read_it(
    client: Client, settings: Any, *, access: str, token: str, headers: dict[str, str], status: int
) -> None:
    settings.ACCESS, settings.METRICS_TOKEN = access, token
    response = client.get("/metrics", headers=headers)
    assert response.status_code == status
    assert (b"classification_" in response.content) == (status == 200)
    assert status == 200 or response["WWW-Authenticate"] == "Bearer"
    # The address of a proxy on this machine, from which everybody comes, opens nothing.
    assert client.get("/metrics", headers=headers, REMOTE_ADDR="127.0.0.1").status_code == status


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/ping", "/livez", "/readyz", "/metrics"])
def test_the_inside_asks_under_any_name_and_without_tls(client: Client, settings: Any, path: str) -> None:
    settings.SECURE_SSL_REDIRECT, settings.SECURE_REDIRECT_EXEMPT = True, [settings.PROBES]
    assert client.get(path, headers={"Host": "10.0.1.17:8000"}).status_code in {200, 503}
    assert client.get("/gallery/", headers={"Host": "10.0.1.17:8000"}).status_code == 400


@pytest.mark.django_db
def test_the_state_of_the_service(
    client: Client, submit: Callable[..., ImagePrediction], model: ModelVersion, settings: Any
) -> None:
    for status in [Status.PENDING, Status.PENDING, Status.FAILED, Status.DONE]:
        ImagePrediction.objects.filter(pk=submit().pk).update(status=status)
    ImagePrediction.objects.update(queued_at="2026-01-31T12:00Z")
    services.bring_in(SimpleUploadedFile("imported.jpg", image_bytes()))
    values = read(client)
    assert {key[1]: value for key, value in values.items() if key[0] == "classification_images"} == {
        "pending": 3, "processing": 0, "failed": 1,
    }  # fmt: skip
    assert values["classification_queue_uploads",] == 2
    assert values["classification_queue_oldest_seconds",] > 1000
    assert values["classification_queue_limit",] == settings.QUEUE_LIMIT
    assert values["classification_workers",] == 0
    assert values["classification_storage_free_bytes",] > 10**6
    ready = {key[1]: value for key, value in values.items() if key[0] == "classification_ready"}
    assert ready == {"database": 1, "cache": 1, "storage": 1, "model": 1, "worker": 0, "queue": 0}


@pytest.mark.django_db
def test_nothing_waits_in_an_empty_queue(client: Client) -> None:
    assert read(client)["classification_queue_oldest_seconds",] == 0


@pytest.mark.django_db
def test_a_scrape_takes_six_queries_however_many_images_there_are(
    client: Client, submit: Callable[..., ImagePrediction], model: ModelVersion, django_assert_num_queries: Any
) -> None:
    for _ in range(12):
        submit()
    with django_assert_num_queries(6):
        client.get("/metrics")


@pytest.mark.django_db
def test_it_answers_while_the_database_is_away(client: Client, submit: Callable[..., ImagePrediction]) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("connection refused")

    with connection.execute_wrapper(away):
        values = read(client)
    assert values["classification_ready", "database"] == values["classification_ready", "queue"] == 0
    assert ("classification_images", "pending") not in values
    assert ("classification_uploads_accepted_total",) in values


@pytest.mark.django_db
def test_uploads_are_counted_and_refusals_by_reason(client: Client, settings: Any) -> None:
    def send(content: bytes, **headers: str) -> None:
        client.post("/predictions/", {"file": SimpleUploadedFile("x.jpg", content)}, headers=headers)

    photo = image_bytes()
    with counted(client) as grown:
        send(photo)
        client.post("/", {"file": [SimpleUploadedFile("x.jpg", photo), SimpleUploadedFile("x.txt", b"text")]})
        send(b"")
        send(photo, **{"Idempotency-Key": "a"})
        send(photo, **{"Idempotency-Key": "a"})  # answered from memory: no second upload
        send(photo + b"other", **{"Idempotency-Key": "a"})
        send(photo, **{"Idempotency-Key": "ä"})
        services.remove(ImagePrediction.objects.all())
        send(photo, **{"Idempotency-Key": "a"})
        settings.MAX_UPLOAD_MEGAPIXELS = 0
        send(photo)
        settings.MAX_UPLOAD_MB = 0
        send(photo)
        settings.QUEUE_LIMIT = 1
        ImagePrediction.objects.create(width=1, height=1, size=1)
        send(photo)
        settings.MAX_REQUEST_MB = 0
        send(photo)
        client.post("/account/", b"x" * 1_000_000, content_type="text/plain")  # which is no upload
        settings.RATES = {**settings.RATES, "uploads": rates("1/hour")}
        for _ in range(3):
            send(photo)
    refused = {key[1]: value for key, value in grown.items() if key[0] == "classification_uploads_refused_total"}
    assert refused == dict.fromkeys(
        ["not_an_image", "empty", "key_reused", "bad_key", "already_deleted", "too_many_pixels", "too_large"], 1
    ) | {"queue_full": 1, "request_too_large": 2, "rate_limited": 2}
    assert grown["classification_uploads_accepted_total",] == 3


def test_every_reason_to_refuse_is_known() -> None:
    def kinds(kind: type[Refusal]) -> Iterator[type[Refusal]]:
        yield kind
        for further in kind.__subclasses__():
            yield from kinds(further)

    own = {vars(kind)["reason"] for kind in [*kinds(Refusal), StorageAway] if "reason" in vars(kind)}
    files = ("predictions/uploads.py", "predictions/idempotency.py", "config/limits.py")
    source = "".join((ROOT / file).read_text() for file in files)
    assert own | {"not_an_image"} <= set(metrics.REASONS)
    assert all(f'"{reason}"' in source for reason in set(metrics.REASONS) - own)


@pytest.mark.django_db(transaction=True)
def test_corrections_are_counted_once_they_are_certain(client: Client, submit: Callable[..., ImagePrediction]) -> None:
    submit(), submit()
    everything = ImagePrediction.objects.all()
    with counted(client) as grown:
        services.correct(everything, "cat", 1, by=None, source=Correction.Source.PAGE)
        with pytest.raises(ImagePrediction.DoesNotExist):
            services.correct(everything.none(), "cat", 1, by=None, source=Correction.Source.API)
        with suppress(RuntimeError), transaction.atomic():
            services.correct(everything, "dog", 1, by=None, source=Correction.Source.ADMIN)
            raise RuntimeError
    corrections = {key: value for key, value in grown.items() if key[0] == "classification_corrections_total"}
    assert corrections == {("classification_corrections_total", "page"): 2}
    assert set(Correction.Source.values) == set(metrics.SOURCES)


@pytest.mark.django_db
def test_results_are_counted_by_outcome_and_model(
    client: Client, submit: Callable[..., ImagePrediction], model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = image_bytes(size=(400, 300))
    submit("whole.jpg", content), submit("broken.jpg", content[: len(content) // 2])
    deleted, unreadable = submit().pk, submit().pk
    real = renditions.read

    def reading(prediction: ImagePrediction) -> Any:
        if prediction.pk == unreadable:
            raise PermissionError(13, "Permission denied")
        image = real(prediction)
        ImagePrediction.objects.filter(pk=prediction.pk, id=deleted).delete()
        return image

    monkeypatch.setattr(renditions, "read", reading)
    with counted(client) as grown:
        tasks.classify_pending()
    results = {key[2]: value for key, value in grown.items() if key[0] == "classification_results_total"}
    assert {key[1] for key in grown if key[0] == "classification_results_total"} <= {model.name}
    assert results == {"done": 1, "failed": 1, "late": 1, "error": 1}
    assert grown["classification_inference_seconds_count", model.name] == 1
    assert grown["classification_end_to_end_seconds_count",] == 1
    assert 0 < grown["classification_inference_seconds_sum", model.name] < 10
    assert 0 < grown["classification_end_to_end_seconds_sum",] < 60


@pytest.mark.django_db
def test_expired_claims_are_counted(client: Client, submit: Callable[..., ImagePrediction]) -> None:
    submit(), submit()
    ImagePrediction.objects.claim()
    ImagePrediction.objects.filter(status=Status.PROCESSING).update(lease_expires_at="2026-01-31T12:00Z")
    with counted(client) as grown:
        services.recover_stale()
    assert grown["classification_claims_expired_total", "returned"] == 1


@pytest.mark.django_db
def test_clients_make_up_no_series(client: Client, settings: Any) -> None:
    def series() -> set[tuple[str, ...]]:
        return {key for key in read(client) if not key[0].endswith("_created")}

    paths = ["/", "/nowhere/%d", "/predictions/%d/", "/gallery/?label=%d", "/metrics", "/admin/%d"]

    def hostile(number: int) -> None:
        for path in paths:
            url = path.replace("%d", str(number))
            client.generic(f"METHOD{number}", url)
            client.get(url, headers={"Host": f"host-{number}", "Content-Length": f"{number} bytes"})
            client.get(url, headers={"User-Agent": str(number), "X-Request-ID": str(number)})
            client.post(
                url, {"file": SimpleUploadedFile(f"{number}.jpg", b"")}, headers={"Content-Type": f"x/{number}"}
            )

    hostile(1)
    before = series()
    for number in range(2, 6):
        hostile(number)
    assert series() == before
    assert not any("METHOD" in "".join(key) for key in before)


def scrape(url: str, **headers: str) -> Samples:
    response = urllib3.request("GET", url, headers=headers, retries=False)
    assert response.status == 200, response.status
    return parse(response.data.decode())


def test_one_address_speaks_for_all_processes_even_for_the_dead(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, small_bundle) as service:
        service.wait_done([service.post(content)["id"] for content in photo_variants(10)])
        victim = service.parts()["pool"][0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in service.parts()["pool"])
        service.wait_done([service.post(content)["id"] for content in photo_variants(10)])
        wait_until(lambda: scrape(f"{service.url}/metrics")["classification_workers",] > 0)
        # Whichever web process answers.
        for _ in range(10):
            values = scrape(f"{service.url}/metrics")
            assert values["classification_uploads_accepted_total",] == 20
            results = {key[2]: value for key, value in values.items() if key[0] == "classification_results_total"}
            assert results == {"done": 20}
            assert values["classification_end_to_end_seconds_count",] == 20
            assert (
                values["django_http_responses_total_by_status_view_method_total", "POST", "201", "prediction-list"]
                == 20
            )
        variables = Path(f"/proc/{service.parts()['web'][0]}/environ").read_text().split("\0")
        [folder] = [
            Path(entry.partition("=")[2]) for entry in variables if entry.startswith("PROMETHEUS_MULTIPROC_DIR=")
        ]
        assert list(folder.glob("counter_*.db"))
        service.kill()
        assert folder.exists()
        service.start()
        assert not folder.exists()


def test_workers_on_their_own_have_a_port(tmp_path: Path, small_bundle: Bundle) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tempfile.mkdtemp()
    own = {"METRICS_PORT": str(port), "METRICS_TOKEN": "let-me-in", "PROMETHEUS_MULTIPROC_DIR": folder}
    service = Service(tmp_path, small_bundle, ACCESS="login", **own)
    service.set_up()
    worker = subprocess.Popen([sys.executable, str(ROOT / "manage.py"), "qcluster"], env=service.environment)
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        wait_until(lambda: service.manage("check_worker", check=False).returncode == 0)
        assert urllib3.request("GET", url, retries=5).status == 401
        picture = tmp_path / "cat.jpg"
        picture.write_bytes(image_bytes())
        service.manage("import_images", str(picture))

        def classified() -> bool:
            return any(key[0] == "classification_results_total" for key in scrape(url, **TOKEN))

        wait_until(classified)
        assert ("classification_images", "pending") not in scrape(url, **TOKEN)  # the web process knows
    finally:
        worker.terminate()
        assert worker.wait(30) == 0
        service.__exit__()
        shutil.rmtree(folder)


def test_a_port_without_a_folder_is_refused(tmp_path: Path) -> None:
    service = Service(tmp_path, None, METRICS_PORT="1")
    service.server = ""
    result = service.manage("qcluster", check=False)
    assert result.returncode == 1
    assert "METRICS_PORT needs PROMETHEUS_MULTIPROC_DIR" in result.stderr
