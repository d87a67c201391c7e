"""The whole service from outside: real processes, a real database, a real model, real signals."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import urllib3

from classifier import benchmark
from classifier.bundle import Bundle
from config.tests.environment import LABELS, ROOT, image_bytes, variant
from config.tests.service import Service, photo_variants, wait_until

shares_a_service = pytest.mark.xdist_group("service")


@shares_a_service
def test_an_upload_is_classified_out_of_band(service: Service) -> None:
    accepted = service.post()
    assert accepted["status"] == "pending"
    assert accepted["top_prediction"] is accepted["confidence"] is accepted["all_predictions"] is None
    done = service.wait_done([accepted["id"]])[0]
    assert done["status"] == "done"
    assert done["top_prediction"] in LABELS
    assert [set(answer) for answer in done["all_predictions"]] == [{"label", "confidence"}] * 5


@shares_a_service
def test_it_is_ready_and_says_so(service: Service) -> None:
    assert set(service.checks().values()) == {"ok"}
    assert service.manage("check_worker").returncode == 0


@shares_a_service
def test_the_benchmark_measures_it_and_leaves_nothing_behind(service: Service) -> None:
    before = len(service.get("/predictions/"))
    result = service.manage("benchmark", "--url", service.url, "--burst", "20", "--clients", "4")
    assert "burst to floor" in result.stdout
    assert len(service.get("/predictions/")) == before


@pytest.mark.parametrize(("is_image", "status"), [(True, 0), (False, 1)])
def test_the_smoke_test_leaves_nothing_behind(service: Service, tmp_path: Path, *, is_image: bool, status: int) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(image_bytes(size=(400, 300))[: None if is_image else 3000])
    before = service.rows()
    smoke = [str(ROOT / "deploy/smoke.sh"), service.url, str(picture)]
    found = subprocess.run(smoke, capture_output=True, text=True)
    assert (found.returncode, '"done"' in found.stdout) == (status, is_image), found
    assert service.rows() == before


def test_uploads_wait_for_a_model_and_nothing_is_lost(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, None) as service:
        accepted = [service.post(content)["id"] for content in photo_variants(5)]
        assert "install_model" in service.checks()["model"]
        wait_until(lambda: "No model is installed" in service.log())
        assert service.manage("check_worker").returncode == 0
        service.install(small_bundle)
        assert {row["status"] for row in service.wait_done(accepted)} == {"done"}
        assert set(service.checks().values()) == {"ok"}


@pytest.fixture
def two_versions(tmp_path: Path, small_bundle: Bundle) -> Iterator[tuple[Service, str, str]]:
    """A service, the version that serves, and one with other labels that is installed while it runs."""
    other = variant(small_bundle, tmp_path, "abc")
    with Service(tmp_path, small_bundle) as service:
        folder = service.folder / "var" / "models" / other.name
        shutil.copytree(other.path, folder)
        install = "from pathlib import Path; from classifier.models import Bundle, ModelVersion;"
        install += f"ModelVersion.objects.install(Bundle.read(Path('{folder}')), serve=False)"
        service.manage("shell", "-c", install)
        service.http = urllib3.PoolManager(maxsize=20, retries=False, timeout=60)
        yield service, small_bundle.name, other.name


def classify(service: Service, content: bytes) -> urllib3.BaseHTTPResponse:
    return service.http.request("POST", f"{service.url}/classify", body=content)


def test_a_promoted_version_is_ready_at_once(two_versions: tuple[Service, str, str]) -> None:
    """Machines report every ten seconds what they have: not knowing yet is no reason to send anybody away."""
    service, old, new = two_versions
    for number, name in enumerate((new, old, new)):
        promoted = service.http.request("POST", f"{service.url}/models/{name}/promote/")
        assert promoted.json()["serving"], promoted.data
        for path in ("/readyz", "/v2/health/ready", "/v2/models/classifier/ready"):
            answer = service.http.request("GET", service.url + path)
            assert answer.status == 200, answer.data
        answer = classify(service, photo_variants(1, start=number)[0])
        assert answer.status == 200, answer.data
        assert answer.json()[0]["label"].startswith("abc") == (name == new)


def test_versions_are_swapped_and_shared_under_load_and_nobody_notices(two_versions: tuple[Service, str, str]) -> None:
    service, old, new = two_versions
    changes = f"""
import time
from classifier.models import ModelVersion
from predictions import registry
pair = [ModelVersion.objects.get(name=name) for name in ("{old}", "{new}")]
for number in range(40):
    serving, other = pair[number % 2], pair[(number + 1) % 2]
    registry.promote(serving, force=True)
    registry.set_shares({{other.name: 30}} if number % 4 < 2 else {{}}, [] if number % 4 < 2 else [other.name])
    time.sleep(0.1)
"""
    accepted: list[int] = []
    answers: list[urllib3.BaseHTTPResponse] = []
    with ThreadPoolExecutor(8) as pool:
        changing = pool.submit(service.manage, "shell", "-c", changes)
        while not changing.done():
            contents = photo_variants(20, start=len(accepted))
            uploads = pool.map(service.post, contents[:16])
            answers += pool.map(partial(classify, service), contents[16:])
            accepted += [row["id"] for row in uploads]
    assert changing.result().returncode == 0
    assert {answer.status for answer in answers} == {200}
    rows = service.wait_done(accepted)
    assert {row["status"] for row in rows} == {"done"}
    for labels in ([row["top_prediction"] for row in rows], [answer.json()[0]["label"] for answer in answers]):
        assert {label in LABELS for label in labels} == {True, False}  # both versions have answered
    assert "Traceback" not in service.log()


def test_the_benchmark_measures_the_comparison_of_two_versions(two_versions: tuple[Service, str, str]) -> None:
    service, _, new = two_versions
    client = benchmark.Service(service.url, 1)
    service.wait_done([service.post()["id"]])
    assert benchmark.measure_comparing(client, 2) == {}
    service.manage("models", "evaluate", new)
    found = benchmark.measure_comparing(client, 2)
    assert (found["compared_photos"], found["compare_p95_ms"] > 0) == (1, True)


def test_killing_everything_loses_nothing_and_does_nothing_twice(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, small_bundle, LEASE_SECONDS="5") as service:
        with ThreadPoolExecutor(8) as pool:
            accepted = [row["id"] for row in pool.map(service.post, photo_variants(100))]
        service.kill()
        service.start()
        rows = service.wait_done(accepted)
        assert {row["status"] for row in rows} == {"done"}
        assert len({row["id"] for row in rows}) == 100
        assert len(list((service.folder / "var" / "media").rglob("*.jpg"))) == 100


def test_a_stopped_worker_takes_nothing_with_it(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, small_bundle, LEASE_SECONDS="3") as service:
        accepted = [service.post(content)["id"] for content in photo_variants(40)]
        worker = int(subprocess.run(["pgrep", "-n", "-s", str(service.process.pid)], capture_output=True).stdout)  # type: ignore[union-attr]
        os.kill(worker, signal.SIGKILL)
        assert {row["status"] for row in service.wait_done(accepted)} == {"done"}


def test_a_lost_bell_costs_nothing_but_time(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, None) as service:
        accepted = service.post()["id"]
        service.manage("shell", "-c", "from django_q.models import OrmQ; OrmQ.objects.all().delete()")
        service.install(small_bundle)
        assert service.wait_done([accepted])[0]["status"] == "done"


def test_it_stops_cleanly_when_asked(tmp_path: Path, small_bundle: Bundle) -> None:
    service = Service(tmp_path, small_bundle)
    with service:
        service.post()
        assert service.stop() == 0
        assert service.pids() == []
        service.start()


def test_it_stops_though_a_part_hangs(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, small_bundle) as service:
        hanging = service.pids()[-1]
        os.kill(hanging, signal.SIGSTOP)
        service.stop()
        wait_until(lambda: not service.pids(), seconds=10)  # the kernel may take a moment to bury what was killed
        service.start()


def test_it_stops_whole_when_a_part_dies(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, small_bundle) as service:
        assert service.process
        children = subprocess.run(["pgrep", "-P", str(service.process.pid)], capture_output=True, text=True).stdout
        os.kill(int(children.split()[0]), signal.SIGKILL)
        assert service.process.wait(60) == 1
        assert "ended unexpectedly" in service.log()
        service.start()
