"""A new version, with a change of the database, reaches two web machines and two that classify while people use them.

The old version has a column that the new one lacks, and the other way round: expand, roll, contract. make test-chaos
runs it, behind Debian's caddy.
"""

import itertools
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import urllib3

from classifier.bundle import Bundle
from config.tests.environment import ROOT
from config.tests.machines import CLUSTER, WEB, Machine, Site, site
from config.tests.service import free_port, photo_variants, wait_until

pytestmark = pytest.mark.chaos

DRAIN = 3  # seconds, more than the load balancer takes to notice
FIELDS = "    objects = ImagePredictionQuerySet.as_manager()\n"  # behind the last field
LEGACY = 'migrations.AddField("imageprediction", "legacy", models.TextField(null=True))'
EXPAND = (
    'migrations.AddField("imageprediction", "modern", models.TextField(db_default="new")),'
    'migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("imageprediction", "legacy")])'
)
CONTRACT = 'migrations.RunSQL("ALTER TABLE predictions_imageprediction DROP COLUMN legacy")'
CADDY = """
{{
    admin off
    auto_https off
}}
http://:{port} {{
    reverse_proxy {upstreams} {{
        lb_policy round_robin
        health_uri /livez
        health_interval 500ms
        transport http {{
            keepalive 20s
        }}
    }}
}}
"""


def version(folder: Path, column: str, *migrations: str) -> Path:
    """Return a copy of the code whose photos have another column, and which has these migrations."""
    for name in ("config", "predictions", "classifier", "templates", "static", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    shutil.copy(ROOT / "manage.py", folder)
    models = folder / "predictions" / "models.py"
    models.write_text(models.read_text().replace(FIELDS, f"    {column}\n\n{FIELDS}", 1))
    before = max(path.stem for path in (folder / "predictions" / "migrations").glob("0*.py"))
    for number, operations in enumerate(migrations, start=9001):
        name = f"{number}_synthetic"
        (folder / "predictions" / "migrations" / f"{name}.py").write_text(
            "from django.db import migrations, models\nclass Migration(migrations.Migration):\n"
            f"    dependencies = [('predictions', '{before}')]\n    operations = [{operations}]\n"
        )
        before = name
    return folder


@dataclass
class Traffic:
    """What clients saw."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)


@contextmanager
def traffic(url: str) -> Iterator[Traffic]:
    """Upload and read all the time, without ever trying again."""
    seen, ending, http = Traffic(), threading.Event(), urllib3.PoolManager(maxsize=8, retries=False, timeout=30)

    def client(number: int) -> None:
        for count in itertools.count():
            if ending.is_set():
                return
            try:
                if number % 2:
                    path = ("/predictions/", "/gallery/", "/ping")[count % 3]
                    response = http.request("GET", url + path)
                else:
                    image = photo_variants(1)[0] + b"%d %d" % (number, count)
                    fields = {"file": ("photo.jpg", image, "image/jpeg")}
                    response = http.request("POST", f"{url}/predictions/", fields=fields)
                    if response.status == 201:
                        seen.accepted.append(response.json()["id"])
                seen.answers[f"{response.status}"] += 1
                if response.status >= 400:
                    seen.failures.append(f"{response.status} {response.data[:200]!r}")
            except urllib3.exceptions.HTTPError as error:
                seen.failures.append(repr(error))

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(client, number) for number in range(6)]
        try:
            yield seen
        finally:
            ending.set()
        for done in clients:
            done.result()


@contextmanager
def load_balancer(place: Site, webs: list[Machine]) -> Iterator[str]:
    """Start caddy before the web machines; it asks each for /livez."""
    if not shutil.which("caddy"):
        pytest.skip("needs a load balancer: apt-get install caddy")
    port, config = free_port(), place.folder / "Caddyfile"
    upstreams = " ".join(web.url.removeprefix("http://") for web in webs)
    config.write_text(CADDY.format(port=port, upstreams=upstreams))
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
    with (place.folder / "caddy.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: process.poll() is None and _answers(url))
            time.sleep(1)
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return urllib3.request("GET", f"{url}/ping", retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def columns(place: Site) -> set[str]:
    rows = place.query("SELECT column_name FROM information_schema.columns WHERE table_name LIKE '%imageprediction'")
    return {name for (name,) in rows}


def test_a_rolling_update_with_a_migration_fails_no_request(tmp_path: Path, small_bundle: Bundle) -> None:
    old = version(tmp_path / "old", "legacy = models.TextField(null=True)", LEGACY)
    new = version(tmp_path / "new", 'modern = models.TextField(db_default="new")', LEGACY, EXPAND)
    later = version(tmp_path / "later", 'modern = models.TextField(db_default="new")', LEGACY, EXPAND, CONTRACT)
    with site(tmp_path, small_bundle, code=old, DRAIN_SECONDS=str(DRAIN)) as place:
        webs, clusters = [place.add(f"web{n}", WEB) for n in (1, 2)], [place.add(name, CLUSTER) for name in ("a", "b")]
        for machine in [*webs, *clusters]:
            machine.start()
        with load_balancer(place, webs) as url, traffic(url) as seen:
            time.sleep(2)
            migrate(place, new)
            assert {"legacy", "modern"} <= columns(place)
            time.sleep(2)  # the old version on the new database
            for machine in [*webs, *clusters]:
                assert machine.stop() == 0
                machine.code = new
                machine.start()
                time.sleep(2)  # both versions; and the load balancer sees that the machine is back
            migrate(place, later)
            time.sleep(2)
        assert "legacy" not in columns(place)
        place.wait_idle()
        print(f"\n{dict(seen.answers)}, {len(seen.failures)} failed; {len(seen.accepted)} accepted, {place.statuses()}")
        assert seen.failures == []
        assert place.statuses() == {"done": len(seen.accepted)}
        assert len(seen.accepted) > 50


def migrate(place: Site, code: Path) -> None:
    """Apply a version's migrations, as the documentation says: give up rather than make everybody wait for a lock."""
    place.code = code
    place.environment["PGOPTIONS"] = "-c lock_timeout=5s"
    place.manage("migrate", "--verbosity", "0")
