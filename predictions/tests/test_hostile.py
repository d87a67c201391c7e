"""Hostile files are refused or fail with a sentence; nothing answers 500, dies, or takes more memory than granted."""

import itertools
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
from django.test import Client

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from config.tests.service import Service
from predictions import tasks
from predictions.models import ImagePrediction
from predictions.tests.corpus import Fate, Sample, corpus, encode, picture, small_corpus

MEMORY = 300_000_000  # bytes, of any process: a worker's 100 MB and MAX_DECODED_MB
PING = 0.1  # seconds, in which 95 of 100 answers of /ping come meanwhile
# What a sentence for people does not have.
TECHNICAL = ("Traceback", "0x", "/tmp", "/home", ".py", "<class", "site-packages")


def assert_fate(sample: Sample, fate: Fate, sentence: str) -> None:
    allowed = {Fate.NOT_DONE: {Fate.REFUSED, Fate.NOT_DONE}, Fate.ANY: set(Fate)}.get(sample.fate, {sample.fate})
    assert fate in allowed, (sample.name, fate, sentence)
    if fate is not Fate.DONE:
        assert len(sentence) > 10, sample.name
        assert not [word for word in TECHNICAL if word in sentence], (sample.name, sentence)


def test_small_hostile_files(client: Client, model: ModelVersion) -> None:
    pending: dict[int, Sample] = {}
    for sample in small_corpus():
        response = client.post("/predictions/", multipart(sample), content_type="multipart/form-data; boundary=X")
        if response.status_code == 201:
            pending[response.json()["id"]] = sample
        else:
            assert response.status_code == 400, sample.name
            assert_fate(sample, Fate.REFUSED, response.json()["detail"])
    while ImagePrediction.objects.pending().exists():
        tasks.classify_pending()
    rows = ImagePrediction.objects.in_bulk(pending)
    for pk, sample in pending.items():
        assert_fate(sample, {"done": Fate.DONE, "failed": Fate.NOT_DONE}[rows[pk].status], rows[pk].error)


def multipart(sample: Sample) -> bytes:
    head = f'--X\r\nContent-Disposition: form-data; name="file"; filename="{sample.name}"\r\n\r\n'.encode()
    return head + sample.content + b"\r\n--X--\r\n"


@contextmanager
def pinged(service: Service) -> Iterator[list[float]]:
    """Ask for /ping all the while; give the seconds that each answer took."""
    seconds: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        with urllib3.PoolManager(retries=False, timeout=30) as http:
            while not ended.wait(0.05):
                start = time.perf_counter()
                assert http.request("GET", f"{service.url}/ping").status == 200
                seconds.append(time.perf_counter() - start)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seconds
    finally:
        ended.set()
        thread.join()


def peaks(service: Service) -> dict[int, int]:
    """Return the most bytes that each process of the service has held in memory."""
    found = {}
    for pid in service.pids():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found[pid] = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return found


@pytest.fixture(params=["0", "1"], ids=["kept as sent", "stripped"])
def live(request: pytest.FixtureRequest, small_bundle: Bundle, tmp_path: Path) -> Iterator[Service]:
    """A service that keeps originals as they are, and one that takes metadata out of them."""
    with Service(tmp_path, small_bundle, STRIP_METADATA=request.param) as service:
        yield service


@pytest.mark.fuzz
def test_the_whole_corpus_on_the_live_service(live: Service, capsys: pytest.CaptureFixture[str]) -> None:
    live.wait_done([live.post()["id"]])
    before, pending, answers = live.pids(), {}, Counter[int]()
    with pinged(live) as seconds:
        for sample in corpus():
            fields = {"file": (sample.name, sample.content, "image/jpeg")}
            response = live.http.request("POST", f"{live.url}/predictions/", fields=fields)
            answers[response.status] += 1
            assert response.status in {201, 400}, sample.name
            if response.status == 201:
                pending[response.json()["id"]] = sample
            elif "private metadata" not in response.json()["detail"]:  # which decoders do not care for
                assert_fate(sample, Fate.REFUSED, response.json()["detail"])
        rows = live.wait_done(list(pending), seconds=600)
    for row in rows:
        fate = {"done": Fate.DONE, "failed": Fate.NOT_DONE}[row["status"]]
        assert_fate(pending[row["id"]], fate, row["error"])
        assert row["attempts"] == 1, pending[row["id"]].name
    assert live.pids() == before
    most = peaks(live)
    statuses, centile = Counter(row["status"] for row in rows), statistics.quantiles(seconds, n=20)[-1]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{sum(answers.values())} files, answers {dict(answers)}, statuses {dict(statuses)}\n"
            f"/ping: {len(seconds)} answers, p95 {centile * 1000:.0f} ms, longest {max(seconds) * 1000:.0f} ms\n"
            f"peak memory: {sorted(round(peak / 1e6) for peak in most.values())} MB\n"
        )
    assert max(most.values()) < MEMORY
    assert centile < PING


def part(name: str, content: bytes, *, filename: str = "", kind: str = "") -> bytes:
    """Return a part of a multipart body whose boundary is X."""
    head = f'--X\r\nContent-Disposition: form-data; name="{name}"'
    head += f'; filename="{filename}"' if filename else ""
    head += f"\r\nContent-Type: {kind}" if kind else ""
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


FORM, END = "multipart/form-data; boundary=X", b"--X--\r\n"
PHOTO = encode(picture(), "JPEG")
FILE = part("file", PHOTO, filename="a.jpg")


@pytest.mark.fuzz
@pytest.mark.parametrize(("kind", "body", "status"), [
    (FORM, part("file", PHOTO, filename="a.jpg", kind="text/html") + END, 201),
    (FORM, part("file", PHOTO, filename="a.jpg", kind="../" * 3000) + END, 400),
    ("", FILE + END, 415),
    ("image/jpeg", PHOTO, 415),
    ("text/html", FILE + END, 415),
    ("application/json", FILE + END, 400),
    ("application/x-www-form-urlencoded", FILE + END, 400),
    ("multipart/form-data", FILE + END, 400),
    ("multipart/form-data; boundary=" + "X" * 1000, FILE + END, 415),
    ("multipart/form-data; boundary=Y", FILE + END, 400),
    (FORM, b"", 400),
    (FORM, END, 400),
    (FORM, part("photo", PHOTO, filename="a.jpg") + END, 400),
    (FORM, part("file", PHOTO) + END, 400),
    (FORM, FILE + FILE + END, 400),
    (FORM, FILE + part("files", PHOTO, filename="b.jpg") + END, 400),
    (FORM, part("file", b"", filename="a.jpg") + END, 400),
    (FORM, part("file\0", PHOTO, filename="a.jpg") + END, 400),
    (FORM, FILE[: len(FILE) // 2], 400),
    (FORM, part("field", b"x") * 20_001 + FILE + END, 400),
    (FORM, FILE * 1001 + END, 400),
])  # fmt: skip
def test_requests_that_are_no_upload_are_answered_over_the_wire(
    service: Service, kind: str, body: bytes, status: int
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    response = service.http.request("POST", f"{service.url}/predictions/", body=body, headers=headers)
    assert response.status == status, response.data[:300]
    if status == 201:
        service.wait_done([response.json()["id"]])
    else:
        assert len(response.json()["detail"]) > 10


@pytest.mark.fuzz
def test_bodies_of_200_mb_are_held_in_no_memory(service: Service) -> None:
    head, tail = b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n', b"\r\n" + END
    headers = {"Content-Type": FORM, "Content-Length": str(len(head) + 200 * 1_000_000 + len(tail))}
    for _ in range(3):
        body = itertools.chain([head], itertools.repeat(bytes(1_000_000), 200), [tail])
        response = service.http.request("POST", f"{service.url}/predictions/", body=body, headers=headers)
        assert response.status == 400
        assert "at most 20 MB" in response.json()["detail"]
    assert max(peaks(service).values()) < MEMORY
