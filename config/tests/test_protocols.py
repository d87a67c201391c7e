"""The protocols on the real web and worker processes: answers, deadlines, deaths, and what stays behind."""

import base64
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import urllib3

from classifier.bundle import Bundle
from config.tests.environment import LABELS, image_bytes
from config.tests.service import Service, photo_variants, wait_until
from predictions.synchronous import MAX_WAITING
from predictions.tests.test_hostile import MEMORY, peaks

pytestmark = pytest.mark.xdist_group("protocols")
IMAGE = image_bytes(size=(320, 240))
WEB_WORKERS = 2  # gunicorn's processes, by default


@pytest.fixture(scope="module")
def served(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("protocols"), small_bundle) as service:
        service.http = urllib3.PoolManager(maxsize=40, retries=False, timeout=60)
        yield service


def ask(service: Service, path: str, body: Any = IMAGE) -> urllib3.BaseHTTPResponse:
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    content = body if isinstance(body, bytes) else json.dumps(body)
    return service.http.request("POST", f"{service.url}{path}", body=content, headers={"Content-Type": kind})


def left(service: Service) -> tuple[int, int, int]:
    """Return how many questions, photos and files there are; thumbnails come later."""
    counts = [
        service.query(f"SELECT count(*) FROM predictions_{table}")[0][0]
        for table in ("inferencerequest", "imageprediction")
    ]
    folders = [service.folder / "var" / name for name in ("media", "uploads")]
    return (
        counts[0],
        counts[1],
        sum(path.is_file() and path.suffix != ".webp" for folder in folders for path in folder.rglob("*")),
    )


@contextmanager
def idle_and_paused(service: Service) -> Iterator[None]:
    """Let the workers finish, and then stand still: in the middle of a transaction they would hold SQLite's lock."""
    unfinished = "SELECT count(*) FROM predictions_imageprediction WHERE rendered_at IS NULL"
    wait_until(lambda: service.query(unfinished)[0][0] == left(service)[0] == 0)
    with service.paused_workers():
        yield


def test_an_image_and_a_tensor_are_answered_and_forgotten(served: Service) -> None:
    before = left(served)
    answer = ask(served, "/classify?top_k=3")
    assert answer.status == 200, answer.data
    assert [set(label) for label in answer.json()] == [{"label", "score"}] * 3
    images = {"name": "image", "datatype": "BYTES", "shape": [2], "data": [base64.b64encode(IMAGE).decode()] * 2}
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 96, 96, 3], "data": [7] * 96 * 96 * 3}
    for tensor, count in ((images, 2), (pixels, 1)):
        inferred = ask(served, "/v2/models/classifier/infer", {"inputs": [tensor]})
        assert inferred.status == 200, inferred.data
        label, score = inferred.json()["outputs"][:2]
        assert label["shape"] == score["shape"] == [count, 5]
        assert set(label["data"]) <= set(LABELS)
    assert left(served) == before


def test_a_recorded_image_stays(served: Service) -> None:
    _, photos, _ = left(served)
    answer = ask(served, "/classify?record=true")
    assert answer.status == 200, answer.data
    [row] = served.wait_done([int(answer.headers["Location"].rstrip("/").rpartition("/")[2])])
    assert [label["label"] for label in row["all_predictions"]] == [label["label"] for label in answer.json()]
    assert left(served)[:2] == (0, photos + 1)


def test_clients_who_ask_at_once_all_have_their_answer(served: Service) -> None:
    before = left(served)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: ask(served, "/classify", body), photo_variants(80)))
    assert [answer.status for answer in answers] == [200] * 80
    assert left(served) == before


def test_large_bodies_at_once_are_not_all_held_in_the_memory(served: Service) -> None:
    photo = IMAGE + bytes(19_900_000)
    objects = b"[" + b'{"":0},' * 380_000 + b"1]"
    bodies = [("/classify", photo, "image/jpeg")] * 16
    bodies += [("/v2/models/classifier/infer", objects, "application/json")] * 8

    def send(request: tuple[str, bytes, str]) -> int:
        path, body, kind = request
        return served.http.request("POST", f"{served.url}{path}", body=body, headers={"Content-Type": kind}).status

    with ThreadPoolExecutor(len(bodies)) as pool:
        assert set(pool.map(send, bodies)) <= {200, 400, 503, 504}
    assert max(peaks(served).values()) < MEMORY


def test_after_the_deadline_nothing_is_left(served: Service) -> None:
    before = left(served)
    with idle_and_paused(served):
        answers = [ask(served, f"/classify?timeout=0.3{more}") for more in ("", "&record=true")]
        assert [answer.status for answer in answers] == [504, 504], [answer.data for answer in answers]
        assert left(served) == before


def test_who_waits_holds_nobody_up_and_only_so_many_wait(served: Service) -> None:
    before = left(served)
    with idle_and_paused(served), ThreadPoolExecutor(WEB_WORKERS * MAX_WAITING + 16) as pool:
        waiting = [pool.submit(ask, served, "/classify?timeout=2.5") for _ in range(WEB_WORKERS * MAX_WAITING + 16)]
        wait_until(lambda: left(served)[0] >= MAX_WAITING)
        assert not all(future.done() for future in waiting)
        assert served.get("/ping")["ping"] == "pong"  # six slots, and more than six who wait
        pk = served.post()["id"]
        answers = [future.result() for future in waiting]
    statuses = {answer.status for answer in answers}
    assert statuses == {503, 504}
    assert all("Retry-After" in answer.headers for answer in answers if answer.status == 503)
    served.wait_done([pk])
    assert left(served)[:2] == (0, before[1] + 1)


def test_who_has_gone_leaves_nothing(served: Service) -> None:
    before = left(served)
    head = f"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(IMAGE)}\r\n\r\n"
    with idle_and_paused(served):
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.sendall(head.encode() + IMAGE)
            wait_until(lambda: left(served)[0] == before[0] + 1)
        wait_until(lambda: left(served) == before, seconds=5)  # half the time for which it would have waited


def test_a_dead_worker_costs_one_deadline_and_then_nobody_waits_in_vain(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, small_bundle, INFER_SECONDS="1") as service:
        with idle_and_paused(service):
            assert ask(service, "/classify").status == 504
            wait_until(lambda: ask(service, "/classify").status == 503)  # it has not reported for three seconds
            answer = ask(service, "/classify")
            assert "No worker is alive" in answer.json()["error"]
            assert "Retry-After" in answer.headers
            assert left(service) == (0, 0, 0)
        wait_until(lambda: ask(service, "/classify").status == 200)
        os.kill(service.parts()["pool"][0], signal.SIGKILL)
        wait_until(lambda: [ask(service, "/classify").status for _ in range(3)] == [200] * 3)


def test_a_killed_web_process_leaves_a_row_until_the_sweep(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, small_bundle, INFER_SECONDS="1") as service:
        with idle_and_paused(service):
            threading.Thread(target=_ask_in_vain, args=(service,), daemon=True).start()
            wait_until(lambda: left(service)[0] == 1)
            for pid in service.parts()["web workers"]:
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: left(service)[0] == 0, seconds=30)


def _ask_in_vain(service: Service) -> None:
    with suppress(urllib3.exceptions.HTTPError):
        ask(service, "/classify")
