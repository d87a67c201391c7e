"""The whole service as a user runs it, for tests from outside."""

import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import psycopg
import urllib3
from filelock import FileLock

from classifier.bundle import Bundle
from config.tests.environment import ROOT, image_bytes

PYTHON = sys.executable
COMMAND_SECONDS = 180  # only ends a test that would hang
PEAK = (
    "import resource, subprocess, sys;"
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL);"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
    "print(used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)"
)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Return once the condition holds; the bound only ends a test that would hang."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def scaled(count: int) -> int:
    """Return how many of something `make test-scale` makes: fewer for a try, by SCALE_PERCENT."""
    return max(1, count * int(os.environ.get("SCALE_PERCENT", "100")) // 100)


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def session(pid: int) -> list[int]:
    """Return the live processes of the session that a process leads."""
    found = subprocess.run(["ps", "-s", str(pid), "-o", "pid=,stat="], capture_output=True, text=True)
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "Z" not in line.split()[1]]


class Service:
    """deploy/run.sh on a free port, with a DATA_DIR and a database of its own.

    The database is on `server`, a PostgreSQL URL or "" for SQLite, by default on the one that the tests use.
    """

    code = ROOT
    command: Sequence[str] = ("deploy/run.sh",)

    def __init__(self, folder: Path, bundle: Bundle | None, server: str | None = None, **environment: str) -> None:
        self.folder, self.bundle = folder, bundle
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = os.environ.get("DATABASE_TEST_URL", "") if server is None else server
        self.database = f"test_service_{uuid.uuid4().hex[:12]}" if self.server else ""
        self.environment = {
            **os.environ,
            "DATA_DIR": str(folder / "var"),
            "PORT": str(self.port),
            "HOST": "127.0.0.1",
            "DATABASE_TEST_URL": self._database_url(),
            "VIRTUAL_ENV": str(Path(PYTHON).parent.parent),
            **environment,
        }
        self.http = urllib3.PoolManager(maxsize=10, retries=False, timeout=30)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.set_up()
        self.start()
        return self

    def set_up(self) -> None:
        """Make database and model."""
        if self.server:
            self._on_server(f"CREATE DATABASE {self.database}")
            self._fill()
        else:
            self._copy_filled()

    def _fill(self) -> None:
        self.manage("migrate", "--verbosity", "0")
        if self.bundle:
            self.install(self.bundle)

    def _copy_filled(self) -> None:
        """Fill SQLite as _fill() does, for the first service of a test session; give the others a copy of that."""
        var = self.folder / "var"
        filled = Path(os.environ["DATA_DIR"]) / f"filled-{self.bundle.name if self.bundle else 'empty'}"
        with FileLock(f"{filled}.lock"):
            if not filled.exists():
                self._fill()
                shutil.copytree(var, filled)
                return
        shutil.copytree(filled, var, dirs_exist_ok=True)  # a test may have mounted a disk there

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.stop()
        if self.server:
            self._on_server(f"DROP DATABASE {self.database} WITH (FORCE)")

    def empty_database(self) -> None:
        """Lose all that the database holds, tables too."""
        if self.server:
            self._on_server(f"DROP DATABASE {self.database} WITH (FORCE)")
            self._on_server(f"CREATE DATABASE {self.database}")
        for path in (self.folder / "var").glob("db.sqlite3*"):
            path.unlink()

    def start(self) -> None:
        """Start web and worker; return when both are there."""
        self.launch()
        wait_until(lambda: self.checks().get("worker") == "ok")

    def launch(self) -> None:
        """Start web and worker; wait for neither."""
        with (self.folder / "log").open("ab") as log:
            # Its own session: every process of it can be found, and killed, by it.
            self.process = subprocess.Popen(
                self.command, cwd=self.code, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> int:
        """Stop as `kill` or Ctrl-C would; return the exit status."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """End every process at once, as a power cut would."""
        assert self.process
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        wait_until(lambda: not self.pids())

    def pids(self) -> list[int]:
        """Return the live processes of the service."""
        assert self.process
        return session(self.process.pid)

    @contextlib.contextmanager
    def paused_workers(self) -> Iterator[None]:
        """Let the workers stand still, so that what is uploaded waits."""
        assert self.process
        found = subprocess.run(["ps", "-s", str(self.process.pid), "-o", "pid=,args="], capture_output=True, text=True)
        pids = [int(line.split()[0]) for line in found.stdout.splitlines() if "qcluster" in line]
        assert pids

        def signal_all(number: int) -> None:
            for pid in pids:
                os.kill(pid, number)

        def stopped_between_transactions() -> bool:
            signal_all(signal.SIGSTOP)
            if self._is_writable():
                return True
            signal_all(signal.SIGCONT)
            return False

        wait_until(stopped_between_transactions)
        try:
            yield
        finally:
            signal_all(signal.SIGCONT)

    def _is_writable(self) -> bool:
        """Return whether nobody holds SQLite's lock, of which there is one for all."""
        if self.server:
            return True
        with contextlib.closing(sqlite3.connect(self.folder / "var" / "db.sqlite3", timeout=0.5)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
                database.rollback()
            except sqlite3.OperationalError:
                return False
        return True

    def parts(self) -> dict[str, list[int]]:
        """Return the live processes by what they are: web, web workers, cluster, sentinel, pool."""
        assert self.process
        listing = subprocess.run(["ps", "-eww", "-o", "pid=,ppid=,args="], capture_output=True, text=True).stdout
        rows = [(*line.split(None, 2), "")[:3] for line in listing.splitlines()]
        children: dict[int, list[int]] = {}
        for pid, parent, _ in rows:
            children.setdefault(int(parent), []).append(int(pid))
        own = {int(pid): arguments for pid, _, arguments in rows if int(pid) in children.get(self.process.pid, [])}
        parts: dict[str, list[int]] = {
            "web": [pid for pid, arguments in own.items() if "gunicorn" in arguments],
            "cluster": [pid for pid, arguments in own.items() if "qcluster" in arguments],
        }
        for part, parent in (("web workers", "web"), ("sentinel", "cluster"), ("pool", "sentinel")):
            parts[part] = [pid for pid in parts[parent] for pid in children.get(pid, [])]
        return parts

    def memory(self) -> dict[str, int]:
        """Return the MiB that web and workers take; of what several processes share, each has its part."""

        def taken(pid: int) -> int:
            with contextlib.suppress(OSError):  # it has just ended
                return int(re.findall(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[0])
            return 0

        parts, sums = self.parts(), {"web": 0, "worker": 0}
        for part, pids in parts.items():
            sums["web" if part.startswith("web") else "worker"] += sum(map(taken, pids))
        return {part: kilobytes // 1024 for part, kilobytes in sums.items()}

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a management command on the service's data."""
        command = [PYTHON, str(self.code / "manage.py"), *arguments]
        ran = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=COMMAND_SECONDS)
        assert not check or ran.returncode == 0, ran.stderr
        return ran

    def usage(self, *arguments: str) -> tuple[float, float]:
        """Run a management command; return the most MiB that one of its processes held, and the seconds of all CPUs."""
        command = [sys.executable, "-c", PEAK, PYTHON, str(self.code / "manage.py"), *arguments]
        ran = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        megabytes, seconds = map(float, ran.stdout.split())
        return megabytes, seconds

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a management command, in a session of its own, and do not wait for its end."""
        command = [PYTHON, str(ROOT / "manage.py"), *arguments]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=self.environment, start_new_session=True, **pipes)

    def query(self, statement: str) -> list[Any]:
        """Run SQL on the service's database; return the rows."""
        if self.server:
            with psycopg.connect(self._database_url(), autocommit=True) as connection:
                cursor = connection.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []
        with contextlib.closing(sqlite3.connect(self.folder / "var" / "db.sqlite3", timeout=20)) as database, database:
            return database.execute(statement).fetchall()

    def install(self, bundle: Bundle) -> None:
        """Put a bundle where the service finds it, and register it."""
        shutil.copytree(bundle.path, self.folder / "var" / "models" / bundle.name)
        self.manage("install_model", "--check")

    def get(self, path: str) -> Any:
        """Return the JSON at a path."""
        return self.http.request("GET", self.url + path).json()

    def checks(self) -> dict[str, str]:
        """Return what /readyz says, nothing while the service is down."""
        return self.probe()[1]

    def probe(self) -> tuple[int, dict[str, str]]:
        """Return the status of /readyz and what it says; 0 and nothing while the service is down."""
        try:
            response = self.http.request("GET", f"{self.url}/readyz")
            return response.status, response.json()["checks"]
        except (urllib3.exceptions.HTTPError, OSError):
            return 0, {}

    def post(self, content: bytes | None = None, name: str = "photo.jpg") -> Any:
        """Upload an image; return the answer's JSON."""
        fields = {"file": (name, content or image_bytes(), "image/jpeg")}
        return self.http.request("POST", f"{self.url}/predictions/", fields=fields).json()

    def accept(self, content: bytes) -> int:
        """Upload an image as a patient client does, with one key, until it is accepted; return its id."""
        deadline = time.monotonic() + 60
        fields, key = {"file": ("photo.jpg", content, "image/jpeg")}, {"Idempotency-Key": uuid.uuid4().hex}
        while True:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                response = self.http.request("POST", f"{self.url}/predictions/", fields=fields, headers=key)
                if response.status == 201:
                    return int(response.json()["id"])
                assert response.status in {503, 507}, (response.status, response.data)
            assert time.monotonic() < deadline, "nothing is accepted"
            time.sleep(0.1)

    def status(self, pk: int) -> str:
        """Return a prediction's status, "" while the service is down."""
        try:
            return str(self.get(f"/predictions/{pk}/").get("status", ""))
        except (urllib3.exceptions.HTTPError, ValueError):
            return ""

    def rows(self) -> dict[int, Any]:
        """Return all predictions by their ids."""
        rows: dict[int, Any] = {}
        path = "/predictions/?page_size=500"
        while path:
            response = self.http.request("GET", self.url + path)
            rows |= {row["id"]: row for row in response.json()}
            following = re.search(r'<([^>]*)>; rel="next"', response.headers.get("Link", ""))
            path = following[1].removeprefix(self.url) if following else ""
        return rows

    def wait_done(self, ids: Sequence[int], seconds: float = 120) -> list[Any]:
        """Return the predictions once all are done or failed."""
        wait_until(lambda: all(self.get(f"/predictions/{pk}/")["status"] in {"done", "failed"} for pk in ids), seconds)
        return [self.get(f"/predictions/{pk}/") for pk in ids]

    def log(self) -> str:
        """Return what the processes have written."""
        return (self.folder / "log").read_text()

    def _database_url(self) -> str:
        return f"{self.server.rsplit('/', 1)[0]}/{self.database}" if self.server else ""

    def _on_server(self, statement: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement.encode())


class Commands(Service):
    """The same without web and worker: for commands, in processes that can be killed."""

    def __enter__(self) -> Self:
        self.set_up()
        return self


def photo_variants(count: int, start: int = 0) -> list[bytes]:
    """Return images that differ in their bytes, numbered from `start`."""
    first = BytesIO(image_bytes(size=(320, 240))).getvalue()
    return [first + b"%d" % number for number in range(start, start + count)]
