"""Bells through Redis and SQS, rows through a pool, photos in S3: real processes, and their sudden ends."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis
import urllib3
from botocore.exceptions import ReadTimeoutError
from django_q.conf import Conf

from classifier.bundle import Bundle
from config.tests.aws import BUCKET, KEYS, QUEUE, REGION, Aws, Way
from config.tests.environment import image_bytes
from config.tests.service import Commands, Service, free_port, photo_variants, wait_until
from predictions.brokers import sqs

REDIS = "redis://127.0.0.1:6379/4"
POSTGRESQL = "postgres://postgres@127.0.0.1:5432/postgres"
UPLOADS = 60
pytestmark = pytest.mark.xdist_group("brokers")


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An emptied database of the machine's Redis."""
    client = redis.Redis.from_url(REDIS, socket_connect_timeout=3)
    try:
        client.flushdb()
    except redis.ConnectionError:
        pytest.skip(f"no Redis at {REDIS}")
    yield REDIS
    client.flushdb()
    client.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A Redis that may be stopped, and its port."""
    if not shutil.which("redis-server"):
        pytest.skip("there is no redis-server")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        yield process, port
        process.kill()


@pytest.fixture
def postgresql() -> str:
    try:
        psycopg.connect(POSTGRESQL, connect_timeout=3).close()
    except psycopg.OperationalError:
        pytest.skip(f"no PostgreSQL at {POSTGRESQL}")
    return POSTGRESQL


def pile_up(service: Service, count: int) -> list[int]:
    """Upload while the workers stand still; return the ids."""
    with service.paused_workers():
        return [service.accept(content) for content in photo_variants(count)]


def kill_every_worker(service: Service) -> int:
    """SIGKILL all workers of the cluster while they have images in their hands; return how many images."""
    lost, deadline = 0, time.monotonic() + 60
    while not lost:
        assert time.monotonic() < deadline, "they had none any more"
        time.sleep(0.02)
        pool = service.parts()["pool"]  # on a slow machine, one that took too long has just been replaced
        send(signal.SIGSTOP, pool)
        lost = in_hand(service)
        send(signal.SIGKILL if lost else signal.SIGCONT, pool)
    return lost


def send(number: int, pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def in_hand(service: Service) -> int:
    [[count]] = service.query("SELECT count(*) FROM predictions_imageprediction WHERE status = 'processing'")
    return int(count)


def answers(service: Service) -> list[int]:
    """Return of how many answers each image was given, those with none left out."""
    rows = service.query("SELECT count(*) FROM predictions_classification GROUP BY prediction_id")
    return [count for [count] in rows]


def test_bells_and_reports_go_through_redis(tmp_path: Path, small_bundle: Bundle, redis_url: str) -> None:
    shared = {"BROKER_URL": redis_url, "CACHE_URL": "rediscache://127.0.0.1:6379/5"}
    with Service(tmp_path, small_bundle, **shared) as service:
        assert service.checks()["worker"] == "ok"  # it reports into the cache, not into the broker
        assert service.wait_done([service.accept(image_bytes())])[0]["status"] == "done"
        assert service.query("SELECT count(*) FROM django_q_ormq") == [(0,)]  # no bell went through the database


def test_a_cache_that_hangs_takes_nothing_along(
    tmp_path: Path, small_bundle: Bundle, own_redis: tuple["subprocess.Popen[bytes]", int]
) -> None:
    redis_server, port = own_redis
    with Service(tmp_path, small_bundle, CACHE_URL=f"rediscache://127.0.0.1:{port}", LEASE_SECONDS="3") as service:
        ids = pile_up(service, UPLOADS)
        redis_server.send_signal(signal.SIGSTOP)
        kill_every_worker(service)
        late = service.post()["id"]
        for path, status in {"/": 200, "/metrics": 200, "/readyz": 503, "/v2/health/ready": 503}.items():
            assert service.http.request("GET", service.url + path).status == status, path
        checks = service.checks()
        assert checks["cache"].startswith("CACHE_URL does not answer: TimeoutError")
        assert checks["worker"] == checks["model"] == "Unknown while the cache does not answer"
        assert b"classification_workers" not in service.http.request("GET", f"{service.url}/metrics").data
        assert service.manage("check_worker").returncode == 0
        waited_for = service.http.request("POST", f"{service.url}/classify?timeout=9", body=image_bytes())
        assert waited_for.status == 200, waited_for.data
        assert {row["status"] for row in service.wait_done([*ids, late], 90)} == {"done"}
        assert answers(service) == [1] * (UPLOADS + 1)
        redis_server.send_signal(signal.SIGCONT)
        wait_until(lambda: set(service.checks().values()) == {"ok"})


def test_web_processes_share_their_rates_through_redis(tmp_path: Path, small_bundle: Bundle, redis_url: str) -> None:
    shared = {"WEB_WORKERS": "2", "LIMITS_URL": redis_url, "RATE_READS": "3/hour"}
    with Service(tmp_path, small_bundle, **shared) as service:
        wait_until(lambda: len(service.parts()["web workers"]) == 2)
        answered = []
        for asleep in service.parts()["web workers"]:  # so the other one answers
            send(signal.SIGSTOP, [asleep])
            answered += [urllib3.PoolManager(retries=False).request("GET", service.url).status for _ in range(3)]
            send(signal.SIGCONT, [asleep])
        assert answered == [200, 200, 200, 429, 429, 429]


def test_reports_go_through_a_table_of_postgresql(tmp_path: Path, small_bundle: Bundle, postgresql: str) -> None:
    with Commands(tmp_path, small_bundle, postgresql, CACHE_URL="dbcache://cache") as service:
        service.manage("createcachetable")
        service.start()  # returns once a worker is seen
        assert set(service.checks().values()) == {"ok"}
        assert service.wait_done([service.accept(image_bytes())])[0]["status"] == "done"


def test_an_upload_waits_once_for_a_queue_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sqs, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", f"http://127.0.0.1:{hanging.getsockname()[1]}")
        monkeypatch.setattr(Conf, "SQS", {"region": REGION, "queue": QUEUE})
        with pytest.raises(ReadTimeoutError):
            sqs.Sqs().enqueue("bell")
        hanging.accept()[0].close()
        hanging.settimeout(0.5)
        with pytest.raises(TimeoutError):
            hanging.accept()


@pytest.mark.chaos
@pytest.mark.parametrize("broker", ["redis", "sqs"])
def test_killed_workers_lose_nothing(
    tmp_path: Path, small_bundle: Bundle, redis_url: str, aws: Aws, broker: str
) -> None:
    """django-q2's Redis loses the bells that they had taken, and rings them never again."""
    urls = {"redis": redis_url, "sqs": f"sqs://{REGION}/{QUEUE}"}
    with Service(tmp_path, small_bundle, BROKER_URL=urls[broker], LEASE_SECONDS="3", **aws.environment()) as service:
        ids = pile_up(service, UPLOADS)
        lost = kill_every_worker(service)
        rows = service.wait_done(ids, 90)
        assert {row["status"] for row in rows} == {"done"}
        assert sum(row["attempts"] > 1 for row in rows) == lost
        assert answers(service) == [1] * UPLOADS


def test_s3_and_sqs_from_upload_to_picture(tmp_path: Path, small_bundle: Bundle, aws: Aws) -> None:
    way = Way(aws.port)
    environment = {"BROKER_URL": f"sqs://{REGION}/{QUEUE}", "MEDIA": f"s3://{BUCKET}/here", "LEASE_SECONDS": "3"}
    with Service(tmp_path, small_bundle, **environment, **aws.environment(way.url)) as service:
        ids = [service.accept(content) for content in photo_variants(5)]
        assert {row["status"] for row in service.wait_done(ids)} == {"done"}
        assert answers(service) == [1] * 5
        assert not list((tmp_path / "var" / "media").rglob("*.jpg"))
        address = service.http.request("GET", f"{service.url}/gallery/{ids[0]}/image").headers["Location"]
        answer = service.http.request("GET", address)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
        way.close()  # of both
        assert "storage" in service.post(image_bytes(size=(50, 50)))["detail"]
        assert "does not answer" in service.checks()["storage"]
        way.reopen()
        late = service.accept(image_bytes(size=(51, 50)))
        assert service.wait_done([late], 60)[0]["status"] == "done"


def test_no_two_processes_share_a_connection(tmp_path: Path, small_bundle: Bundle, postgresql: str) -> None:
    """A pool, or a connection, that was opened before a fork would be written to from both sides."""
    with Service(tmp_path, small_bundle, postgresql, WEB_WORKERS="2") as service:
        for _ in range(8):
            service.post()
        connected = {pid: sockets_to(5432, pid) for pid in service.pids()}
        everyone = [inode for inodes in connected.values() for inode in inodes]
        assert len(everyone) == len(set(everyone))
        parts = service.parts()
        assert not connected[parts["web"][0]]  # the process that forks the others
        assert any(connected[pid] for pid in parts["web workers"])
        assert all(len(connected[pid]) <= 1 for pid in parts["pool"])  # workers have no pool


def sockets_to(port: int, pid: int) -> set[str]:
    """Return the connections of a process to a port, by what the kernel calls them."""
    remote = f":{port:04X}"
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    ours = {line.split()[9] for line in lines if line.split()[2].endswith(remote)}
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return ours & {link.removeprefix("socket:[").removesuffix("]") for link in links}
