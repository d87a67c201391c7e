"""What the chaos suite does to a service, and what must hold afterwards."""

import hashlib
import json
import os
import random
import re
import signal
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from statistics import median

from config.tests.service import Service, wait_until

RECOVERY = 60  # seconds: whatever happened, by then the service accepts and classifies again
FINISHED = {"done", "failed"}


@contextmanager
def supervised(service: Service) -> Iterator[None]:
    """Start the service again whenever it ends, as systemd or Docker would."""
    ending = threading.Event()

    def supervise() -> None:
        while not ending.is_set():
            assert service.process
            with suppress(subprocess.TimeoutExpired):
                service.process.wait(0.1)
                if not ending.is_set():
                    service.launch()

    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def kill(service: Service, victim: str) -> str:
    """SIGKILL a process of the service; return which it was. The victim is "worker", "cluster" or "web"."""
    kinds = {"worker": ["pool"], "cluster": ["cluster", "sentinel"], "web": ["web", "web workers"]}[victim]
    deadline = time.monotonic() + RECOVERY
    while True:  # until one is there: the service may be starting
        assert time.monotonic() < deadline, f"there is no {victim}"
        parts = service.parts()
        alive = [(kind, pid) for kind in kinds for pid in parts[kind]]
        if alive:
            kind, pid = random.choice(alive)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return kind
        time.sleep(0.05)


def recovery(service: Service, content: bytes) -> float:
    """Return how many seconds it takes until a new upload is classified and /readyz is green: RECOVERY at most."""
    start = time.monotonic()
    pk = service.accept(content)
    wait_until(lambda: service.status(pk) in FINISHED, RECOVERY)
    wait_until(lambda: service.probe()[0] == HTTPStatus.OK, RECOVERY)
    seconds = time.monotonic() - start
    assert seconds <= RECOVERY
    return seconds


def is_red(service: Service, check: str) -> bool:
    """Return whether /readyz answers 503, and that check is why. Without an answer it is not: the web must live on."""
    status, checks = service.probe()
    return status == HTTPStatus.SERVICE_UNAVAILABLE and checks[check] != "ok"


def upload_while(service: Service, contents: Sequence[bytes], faults: Sequence[object]) -> dict[int, bytes]:
    """Upload from eight clients while each of the faults, functions, is run; return what was accepted, by id.

    The uploads are dealt out evenly, so that every fault meets some.
    """
    dealt = threading.Semaphore(0)
    accepted: dict[int, bytes] = {}

    def upload(content: bytes) -> None:
        dealt.acquire()
        accepted[service.accept(content)] = content

    with ThreadPoolExecutor(8) as pool:
        uploads = [pool.submit(upload, content) for content in contents]
        try:
            for fault in faults:
                dealt.release(len(contents) // len(faults))
                time.sleep(random.uniform(0, 0.3))
                fault()  # type: ignore[operator]
        finally:
            dealt.release(len(contents))
        for done in uploads:
            done.result()
    return accepted


def assert_nothing_lost(service: Service, accepted: dict[int, bytes], kills: int = 0) -> str:
    """Assert what must hold after any fault, once all work is done; return the figures.

    Every row has one result or a reason. What was accepted is there, as it was sent, in as many rows as it was accepted
    times: an upload whose answer was lost, and that was sent again, has no second one. No row is without a file, and
    none of the files without a row, which only a kill can leave, survives check_storage --mend.
    """
    wait_until(lambda: {row["status"] for row in service.rows().values()} <= FINISHED, RECOVERY)
    rows = service.rows()
    assert set(accepted) <= set(rows), "an accepted upload was lost"
    sent = Counter(hashlib.sha256(content).hexdigest() for content in accepted.values())
    stored = Counter(row["sha256"] for row in rows.values())
    assert {digest: stored[digest] for digest in sent} == sent, "an upload was accepted twice"
    for row in rows.values():
        assert len(row["all_predictions"] or ()) == 5 if row["status"] == "done" else row["error"], row
    for pk, content in accepted.items():
        assert (service.folder / "var" / "media" / rows[pk]["image_path"]).read_bytes() == content
    assert answers_of(service) == {pk: 1 for pk, row in rows.items() if row["status"] == "done"}
    assert len({row["image_path"] for row in rows.values()}) == len(rows)
    found = check_storage(service)
    # They come last: what a worker has in its hands, or had when it was killed, has none yet.
    found.pop("row without its thumbnail", None)
    assert set(found) <= {"file without a row", "rest of an interrupted upload"}, found
    assert sum(found.values()) <= 8 * kills, found
    check_storage(service, "--mend")
    wait_until(lambda: not check_storage(service))
    statuses = Counter(row["status"] for row in rows.values())
    attempts = Counter(row["attempts"] for row in rows.values())
    return f"{len(accepted)} accepted, 0 lost, 0 double; {dict(statuses)}; attempts {dict(attempts)}; files {found}"


def answers_of(service: Service) -> dict[int, int]:
    """Return how many answers of models each prediction has."""
    return dict(service.query("SELECT prediction_id, count(*) FROM predictions_classification GROUP BY prediction_id"))


def assert_no_result_twice(service: Service) -> None:
    """Assert that no image's result was recorded more than once: each time, the worker's log says so."""
    results = Counter(re.findall(r"prediction=(\d+)\]: (?:Classified by|Failed)", service.log()))
    assert set(results.values()) == {1}, results.most_common(3)


def check_storage(service: Service, *options: str) -> dict[str, int]:
    """Run the command, for files of every age; return what it found."""
    result = service.manage("check_storage", "--json", "--grace", "0", *options, check=False)
    assert result.returncode in {0, 1}, result.stderr
    counts: dict[str, int] = json.loads(result.stdout.splitlines()[-1])["counts"]
    return {kind: count for kind, count in counts.items() if count}


def figures(seconds: Sequence[float]) -> str:
    """Return the median and the longest of some times."""
    return f"recovery median {median(seconds):.1f} s, max {max(seconds):.1f} s"


class Clock:
    """The wall clock of the processes that get its environment."""

    def __init__(self, folder: Path) -> None:
        library, self._offset = folder / "clock.so", folder / "clock"
        self.set_back(hours=0)
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._offset)}

    def set_back(self, hours: int) -> None:
        """Have it differ by so many hours from now on."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(struct.pack("l", -3600 * hours))


class PostgreSQL:
    """A server of our own, which we may restart; for whoever is in the network of its address."""

    def __init__(self, binaries: Path, port: int, address: str = "127.0.0.1") -> None:
        self.binaries, self.port, self.address = binaries, port, address
        self.folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self.url = f"postgres://postgres@{address}:{port}/postgres"
        if os.getuid() == 0:  # it refuses to run as root
            subprocess.run(["chown", "postgres", self.folder], check=True)
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync")
        with (self.folder / "pg_hba.conf").open("a") as file:
            file.write("host all all samenet trust\n")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses={self.address}"
        self._run("pg_ctl", "start", "-w", "-o", options, "-l", str(self.folder / "log"))

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: "immediate" is as a power cut would."""
        self._run("pg_ctl", "stop", "-w", "-m", mode)

    def restart(self) -> None:
        """End it in the middle of what it does, and start it again."""
        self.stop()
        time.sleep(1)
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        become = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        command = [*become, str(self.binaries / program), "-D", str(self.folder), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
