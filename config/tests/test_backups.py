"""A backup made under load, everything destroyed, and all there again: on SQLite and on PostgreSQL.

make test-chaos runs it. CHAOS_UPLOADS sets how many images.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from classifier.bundle import Bundle
from config.tests.chaos import assert_nothing_lost, check_storage
from config.tests.service import PYTHON, Service, photo_variants, wait_until

pytestmark = pytest.mark.chaos

UPLOADS = int(os.environ.get("CHAOS_UPLOADS", "60"))
SERVER = "postgres://postgres@127.0.0.1:5432/postgres"
TABLES = ("imageprediction", "classification", "correction")


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return ""
    try:
        psycopg.connect(SERVER, connect_timeout=3).close()
    except psycopg.OperationalError:
        pytest.skip(f"no PostgreSQL at {SERVER}")
    return SERVER


def content(service: Service, ids: set[int]) -> dict[str, list[Any]]:
    """Return all that the tables say of these images."""
    columns = {"imageprediction": "id", "classification": "prediction_id", "correction": "prediction_id"}
    listed = ",".join(map(str, ids))
    return {
        table: service.query(f"SELECT * FROM predictions_{table} WHERE {columns[table]} IN ({listed}) ORDER BY id")
        for table in TABLES
    }


def wait_settled(service: Service) -> None:
    """Return once every image has its labels and its thumbnail: from then on, no worker changes its row."""
    unsettled = "SELECT count(*) FROM predictions_imageprediction WHERE status <> 'done' OR rendered_at IS NULL"
    wait_until(lambda: service.query(unsettled) == [(0,)], 120)


@contextmanager
def load(service: Service) -> Iterator[tuple[dict[int, bytes], set[int]]]:
    """Upload all the time, from four clients, and delete every third; yield what stays, by id, and what does not."""
    ending, kept, deleted = threading.Event(), dict[int, bytes](), set[int]()

    def client(number: int) -> None:
        for count in range(100_000):
            if ending.is_set():
                return
            image = photo_variants(1)[0] + b"%d %d" % (number, count)
            pk = service.accept(image)
            if count % 3 == 2:
                deleted.add(pk)
                service.http.request("DELETE", f"{service.url}/predictions/{pk}/")
            else:
                kept[pk] = image

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client, number) for number in range(4)]
        try:
            yield kept, deleted
        finally:
            ending.set()
        for done in clients:
            done.result()


def test_a_backup_under_load_restores_everything(tmp_path: Path, small_bundle: Bundle, server: str) -> None:
    var = tmp_path / "var"
    with Service(tmp_path, small_bundle, server) as service:
        settled = {service.accept(image): image for image in photo_variants(UPLOADS)}
        wait_settled(service)
        for pk in list(settled)[::5]:
            service.http.request(
                "PUT", f"{service.url}/predictions/{pk}/", json={"top_prediction": "x", "confidence": 1}
            )
        expected = content(service, set(settled))
        assert len(expected["correction"]) == len(list(settled)[::5])
        with load(service) as (kept, deleted):
            time.sleep(1)
            before, start = dict(kept), time.monotonic()
            made = Path(service.manage("backup", str(tmp_path / "backups")).stdout.strip())
            seconds = time.monotonic() - start
            time.sleep(1)
            for pk in list(settled)[:5]:  # deleted since: the backup has them
                service.http.request("DELETE", f"{service.url}/predictions/{pk}/")
        service.kill()
        service.empty_database()
        for folder in ("media", "models", "uploads"):
            shutil.rmtree(var / folder)
        restored = service.manage("restore", str(made), check=False)
        missing = {int(line.split()[-1]) for line in restored.stdout.splitlines() if line.startswith("missing")}
        assert restored.returncode == bool(missing), (restored.stdout, restored.stderr)
        assert missing <= deleted  # as soon as they were uploaded, while the backup was made
        assert content(service, set(settled)) == expected
        assert check_storage(service, "--mend") == ({"row without a file": len(missing)} if missing else {})
        assert not check_storage(service)
        service.start()
        rows = service.rows()
        assert set(settled) | set(before) <= set(rows)
        figures = assert_nothing_lost(service, settled | before)
        came = f"made in {seconds:.1f} s under load; {len(before)} came before, {len(missing)} were deleted meanwhile"
        print(f"\n{restored.stdout.splitlines()[0]} {came}; {figures}")


def test_a_dump_may_come_from_elsewhere_and_be_restored_there(
    tmp_path: Path, small_bundle: Bundle, server: str
) -> None:
    """From the database's container, say, where PostgreSQL's programs are."""
    if not server:
        pytest.skip("of PostgreSQL only")
    with Service(tmp_path, small_bundle, server) as service:
        settled = {service.accept(image): image for image in photo_variants(10)}
        wait_settled(service)
        expected, url = content(service, set(settled)), service.environment["DATABASE_TEST_URL"]
        command = f"pg_dump --format=custom {url} | {PYTHON} manage.py backup --dump-from-stdin {tmp_path / 'backups'}"
        made = subprocess.run(
            command, shell=True, cwd=service.code, env=service.environment, capture_output=True, text=True, check=True
        ).stdout.strip()
        service.kill()
        service.empty_database()
        for folder in ("media", "models"):
            shutil.rmtree(tmp_path / "var" / folder)
        subprocess.run(["pg_restore", "--exit-on-error", "--dbname", url, f"{made}/database"], check=True)
        service.manage("restore", "--database-restored", made)
        assert content(service, set(settled)) == expected
        assert not check_storage(service)
