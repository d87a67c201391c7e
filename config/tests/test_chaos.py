"""What no fault may cost: an accepted upload, a second result, a file without a row, a row without a file.

make test-chaos runs it on the real processes. CHAOS_UPLOADS and CHAOS_KILLS set how much of it.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from itertools import count
from pathlib import Path

import psycopg
import pytest
import urllib3

from classifier import bundle as bundles
from classifier.bundle import MODEL, Bundle
from config.tests.chaos import (
    FINISHED,
    RECOVERY,
    Clock,
    PostgreSQL,
    assert_no_result_twice,
    assert_nothing_lost,
    figures,
    is_red,
    kill,
    recovery,
    supervised,
    upload_while,
)
from config.tests.disks import PLENTY, Disk, FileDisk, TableDisk
from config.tests.environment import image_bytes
from config.tests.service import Service, photo_variants, wait_until

pytestmark = pytest.mark.chaos

UPLOADS = int(os.environ.get("CHAOS_UPLOADS", "60"))
KILLS = int(os.environ.get("CHAOS_KILLS", "6"))
IN_FULL = KILLS >= 50
LEASE = "30" if IN_FULL else "5"
SERVER = "postgres://postgres@127.0.0.1:5432/postgres"
RED = 30  # seconds: so soon /readyz says that no worker is left


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> str:
    """The URL of a database server that others use too; "" for SQLite."""
    if request.param == "sqlite":
        return ""
    try:
        psycopg.connect(SERVER, connect_timeout=3).close()
    except psycopg.OperationalError:
        pytest.skip(f"no PostgreSQL at {SERVER}")
    return SERVER


@pytest.fixture
def own_server() -> Iterator[PostgreSQL]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        pytest.skip("there are no binaries of PostgreSQL in /usr/lib/postgresql")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = PostgreSQL(found[-1], port)
    server.start()
    yield server
    with suppress(subprocess.CalledProcessError):
        server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB at the service's DATA_DIR."""
    disk = tmp_path / "var"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "chaos", disk], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_killed_processes_cost_nothing(tmp_path: Path, small_bundle: Bundle, server: str) -> None:
    contents, probes = photo_variants(UPLOADS), iter([image_bytes(size=(200 + n, 150)) for n in range(KILLS)])
    killed: list[str] = []
    seconds: list[float] = []
    with Service(tmp_path, small_bundle, server, LEASE_SECONDS=LEASE) as service, supervised(service):

        def fault(victim: str) -> None:
            killed.append(kill(service, victim))
            seconds.append(recovery(service, next(probes)))

        victims = [("worker", "cluster", "web")[number % 3] for number in range(KILLS)]
        accepted = upload_while(service, contents, [partial(fault, victim) for victim in victims])
        assert len(accepted) == UPLOADS
        print(f"\n{KILLS} kills: {assert_nothing_lost(service, accepted, KILLS)}; {figures(seconds)}; {killed}")
        assert_no_result_twice(service)


def test_a_restarted_database_costs_nothing(tmp_path: Path, small_bundle: Bundle, own_server: PostgreSQL) -> None:
    restarts, seconds = max(2, KILLS // 10), []
    contents, probes = photo_variants(UPLOADS), iter([image_bytes(size=(200 + n, 150)) for n in range(restarts)])
    with Service(tmp_path, small_bundle, own_server.url, LEASE_SECONDS=LEASE) as service:

        def fault() -> None:
            own_server.restart()
            seconds.append(recovery(service, next(probes)))

        accepted = upload_while(service, contents, [fault] * restarts)
        print(f"\n{restarts} restarts: {assert_nothing_lost(service, accepted, restarts)}; {figures(seconds)}")
        assert_no_result_twice(service)


def test_without_a_database_uploads_are_refused_and_leave_nothing(
    tmp_path: Path, small_bundle: Bundle, own_server: PostgreSQL
) -> None:
    with Service(tmp_path, small_bundle, own_server.url, LEASE_SECONDS=LEASE) as service:
        own_server.stop()
        for _ in range(5):
            assert "database" in service.post()["detail"]
        assert is_red(service, "database")
        own_server.start()
        assert not list((tmp_path / "var" / "media").rglob("*.jpg"))
        recovery(service, image_bytes())


def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path, small_bundle: Bundle, small_disk: Path) -> None:
    """Whichever write the disk refuses: receiving the file, storing it, its row, its labels, its thumbnail."""
    large = image_bytes("BMP", size=(1200, 900))
    ballast = small_disk / "ballast"
    accepted: dict[int, bytes] = {}
    refused = 0
    with Service(tmp_path, small_bundle, "", LEASE_SECONDS=LEASE, MAX_UPLOAD_MB="5") as service:

        def upload(content: bytes) -> bool:
            nonlocal refused
            answer = service.post(content)
            if "id" in answer:
                accepted[answer["id"]] = content
                return True
            assert answer == {"detail": "There is no room for this file on the server"}
            refused += 1
            return False

        assert upload(large)
        # The large file fails when it is received; smaller ones, with ever less room, when they or their rows are kept.
        for left in (2_000_000, 400_000, 150_000, 60_000, 20_000, 8_000, 4_096, 0):
            ballast.unlink(missing_ok=True)
            with suppress(OSError):  # the service writes too
                ballast.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - left)))
            for content in (large, image_bytes("BMP", size=(200, 200)), image_bytes(), image_bytes("PNG")):
                while upload(content) and content is not large and left < 100_000:
                    pass
        assert is_red(service, "storage")
        assert "make room" in service.checks()["storage"]
        assert refused
        ballast.unlink()
        seconds = recovery(service, image_bytes(size=(99, 99)))
        folder = small_disk / "media" / "renditions"
        done = [row for row in service.rows().values() if row["status"] == "done"]
        wait_until(lambda: len(list(folder.rglob("*.thumbnail.webp"))) >= len(done))
        print(f"\n{refused} refused: {assert_nothing_lost(service, accepted)}; {figures([seconds])}")


def test_a_disk_without_room_from_any_write_on_loses_nothing(tmp_path: Path, small_bundle: Bundle, server: str) -> None:
    """Full from one of the first writes on an upload's way to its labels and thumbnails on, then later, to the last."""
    if not shutil.which("cc"):
        pytest.skip("a disk that can be filled needs a C compiler: apt-get install gcc libc6-dev")
    files = FileDisk(tmp_path / "var", tmp_path)
    photo = image_bytes("BMP", size=(1000, 880))  # so large that it is received on the disk, too
    accepted: dict[int, bytes] = {}
    with (
        Service(tmp_path, small_bundle, server, LEASE_SECONDS=LEASE, **files.environment) as service,
        ThreadPoolExecutor(1) as pool,
    ):

        def has_pictures(pk: int) -> bool:
            original = service.get(f"/predictions/{pk}/")["image_path"]
            return len(list((tmp_path / "var" / "media" / "renditions").glob(f"{original}.*.webp"))) == 2

        def fits(disk: Disk, writes: int) -> bool:
            content = photo + b"%d" % len(accepted)
            disk.leave(writes)
            uploading = pool.submit(service.accept, content)
            wait_until(lambda: disk.is_full() or (uploading.done() and has_pictures(uploading.result())))
            fitted = not disk.is_full()
            time.sleep(random.uniform(0, 0.3))  # so that what comes next is refused, or is not
            disk.leave(PLENTY)
            accepted[uploading.result()] = content
            return fitted

        disks: dict[Disk, int] = {files: 3 if IN_FULL else 24}  # with so many writes more each time
        if server:
            disks[TableDisk(service)] = 1 if IN_FULL else 4
        needed = [
            next(writes for writes in count(random.randrange(step), step) if fits(disk, writes))
            for disk, step in disks.items()
        ]
        seconds = recovery(service, image_bytes())
        wait_until(lambda: {row["status"] for row in service.rows().values()} <= FINISHED, RECOVERY)
        done = [pk for pk in accepted if service.status(pk) == "done"]
        wait_until(lambda: all(map(has_pictures, done)), 120)  # some wait a minute for the worker who had them in hand
        found = assert_nothing_lost(service, accepted)
        print(f"\nall fits into {needed} writes: {found}; {figures([seconds])}")


def test_emptied_queue_tables_cost_nothing_but_time(tmp_path: Path, small_bundle: Bundle, server: str) -> None:
    code = "from django_q.models import OrmQ, Schedule; OrmQ.objects.all().delete(); Schedule.objects.all().delete()"
    with Service(tmp_path, small_bundle, server, LEASE_SECONDS=LEASE) as service:
        faults = [partial(service.manage, "shell", "-c", code)] * 3
        accepted = upload_while(service, photo_variants(UPLOADS), faults)
        print(f"\nemptied 3 times: {assert_nothing_lost(service, accepted)}")


def test_a_clock_set_back_an_hour_costs_nothing(tmp_path: Path, small_bundle: Bundle, server: str) -> None:
    """With claims, bells and reports that were dated before, and are now from the future."""
    if not shutil.which("cc"):
        pytest.skip("a clock that can be set needs a C compiler: apt-get install gcc libc6-dev")
    clock = Clock(tmp_path)
    with (
        Service(tmp_path, small_bundle, server, LEASE_SECONDS=LEASE, **clock.environment) as service,
        supervised(service),
    ):

        def fault() -> None:
            for pid in service.parts()["pool"]:  # with claims in their hands
                os.kill(pid, signal.SIGKILL)
            clock.set_back(hours=1)

        accepted = upload_while(service, photo_variants(UPLOADS), [fault])
        seconds = [recovery(service, image_bytes())]
        print(f"\nset back: {assert_nothing_lost(service, accepted, 1)}; {figures(seconds)}")
        assert_no_result_twice(service)
        clock.set_back(hours=2)
        assert_turns_red_and_green(service)


def test_a_damaged_model_is_refused_and_the_previous_one_serves_until_it_is_repaired(
    tmp_path: Path, small_bundle: Bundle, server: str
) -> None:
    models, photos = tmp_path / "var" / "models", count()
    accepted: dict[int, bytes] = {}
    with Service(tmp_path, small_bundle, server, LEASE_SECONDS=LEASE) as service:

        def version_of_a_new_upload() -> str:
            [content] = photo_variants(1, next(photos))
            pk = service.accept(content)
            accepted[pk] = content
            return str(service.wait_done([pk], 60)[0]["model_version"])

        assert version_of_a_new_upload() == small_bundle.name
        (models / "newer").mkdir()
        content = (small_bundle.path / MODEL).read_bytes()
        labels = [label.upper() for label in small_bundle.labels()]
        bundles.write(models / "newer", content, labels, small_bundle.preprocessing, {"backbone": "newer"})
        service.manage(
            "shell", "-c", "from classifier.models import ModelVersion, Bundle, settings;"
            "ModelVersion.objects.install(Bundle.read(settings.MODELS_DIR / 'newer'))"
        )  # fmt: skip
        assert version_of_a_new_upload() == "newer"
        (models / "newer" / MODEL).write_bytes(content[:-1] + b"?")
        wait_until(lambda: is_red(service, "model"), RED)
        assert service.checks()["model"].endswith(f"{small_bundle.name} classifies until then")
        for pid in service.parts()["pool"]:  # those who have it in memory would go on using it
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: version_of_a_new_upload() == small_bundle.name)
        assert "newer is refused" in service.log()
        (models / "newer" / MODEL).write_bytes(content)
        wait_until(lambda: service.probe()[0] == HTTPStatus.OK, RED)
        assert version_of_a_new_upload() == "newer"
        print(f"\ndamaged: {assert_nothing_lost(service, accepted, 1)}")


def test_readyz_turns_red_when_the_last_worker_dies_and_green_again(
    tmp_path: Path, small_bundle: Bundle, server: str
) -> None:
    with Service(tmp_path, small_bundle, server, LEASE_SECONDS=LEASE) as service, supervised(service):
        assert_turns_red_and_green(service)


def assert_turns_red_and_green(service: Service) -> None:
    """Kill the whole cluster while run.sh is held, so that the web lives on and can be asked."""
    assert service.process
    held = service.process.pid
    os.kill(held, signal.SIGSTOP)
    parts = service.parts()
    for pid in parts["cluster"] + parts["sentinel"] + parts["pool"]:
        os.kill(pid, signal.SIGKILL)
    start = time.monotonic()
    wait_until(lambda: is_red(service, "worker"), RED)
    red = time.monotonic() - start
    os.kill(held, signal.SIGCONT)
    print(f"\nred after {red:.1f} s; {figures([recovery(service, image_bytes())])}")


def test_readyz_turns_red_while_a_cluster_is_stopped(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, small_bundle, LEASE_SECONDS=LEASE) as service:
        recovery(service, image_bytes())
        with service.paused_workers():
            wait_until(lambda: is_red(service, "worker"), RED)
            waiting = service.accept(image_bytes())
        wait_until(lambda: service.checks().get("worker") == "ok")
        assert service.wait_done([waiting], 60)[0]["status"] == "done"


def test_killed_workers_are_replaced(tmp_path: Path, small_bundle: Bundle) -> None:
    """All of them at once, idle: each holds, or waits for, what they share."""
    with Service(tmp_path, small_bundle, LEASE_SECONDS=LEASE) as service:
        for _ in range(3):
            before = set(service.parts()["pool"])
            for pid in random.sample(sorted(before), len(before)):
                os.kill(pid, signal.SIGKILL)
            recovery(service, image_bytes())
            wait_until(lambda: len(service.parts()["pool"]) == len(before), 60)  # noqa: B023
            assert not before & set(service.parts()["pool"])
        with suppress(urllib3.exceptions.HTTPError):
            assert service.checks().get("worker") == "ok"
