"""Several machines on this one: each has a network namespace, a host name, a process tree and a disk of its own.

What machines share is as in production: PostgreSQL, Redis, and a disk with the media, mounted by all.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from classifier.bundle import Bundle
from config.tests.chaos import PostgreSQL
from config.tests.environment import ROOT
from config.tests.service import PYTHON, Commands, Service, free_port, session, wait_until

WEB = (str(Path(PYTHON).with_name("gunicorn")), "--config", "deploy/gunicorn.conf.py", "config.wsgi")
CLUSTER = (PYTHON, "manage.py", "qcluster")
PORT = 8000  # every machine has its own
# Who claimed and who answered which image, as the database saw it.
WITNESS = """
CREATE TABLE witness (what text, prediction bigint, machine text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION testify() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO witness (what, prediction, machine)
    VALUES (TG_ARGV[0], (to_jsonb(NEW) ->> TG_ARGV[1])::bigint, host(inet_client_addr()));
    RETURN NEW;
END $$;
CREATE TRIGGER claimed AFTER UPDATE ON predictions_imageprediction FOR EACH ROW
    WHEN (OLD.status = 'pending' AND NEW.status = 'processing') EXECUTE FUNCTION testify('claim', 'id');
CREATE TRIGGER answered AFTER INSERT OR UPDATE ON predictions_classification FOR EACH ROW
    EXECUTE FUNCTION testify('answer', 'prediction_id');
"""


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


class Network:
    """A bridge, on which this machine has the first address, and namespaces on it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._tag = stack, f"{random.randrange(16**6):06x}"
        self._subnet = f"10.{random.randrange(128, 192)}.{random.randrange(256)}"
        self._addresses = iter(range(2, 255))
        self._bridge, self.address = f"br{self._tag}", f"{self._subnet}.1"
        run("ip", "link", "add", self._bridge, "type", "bridge")
        stack.callback(run, "ip", "link", "delete", self._bridge)
        run("ip", "address", "add", f"{self.address}/24", "dev", self._bridge)
        run("ip", "link", "set", self._bridge, "up")

    def join(self) -> tuple[str, str]:
        """Return the name of a new namespace, and its address."""
        number = next(self._addresses)
        name, cable, address = f"m{self._tag}-{number}", f"v{self._tag}-{number}", f"{self._subnet}.{number}"
        run("ip", "netns", "add", name)
        self._stack.callback(run, "ip", "netns", "delete", name)
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", cable, "master", self._bridge, "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        return name, address


class Machine(Service):
    """One machine of a site, which runs one command: WEB or CLUSTER."""

    def __init__(self, site: "Site", name: str, command: tuple[str, ...], **environment: str) -> None:
        folder = site.folder / name
        folder.mkdir()
        super().__init__(folder, None, site.server, **environment)
        self.code, self.database, self.name, self.part = site.code, site.database, name, command
        namespace, self.address = site.network.join()
        self.url = f"http://{self.address}:{PORT}"
        own = {"DATA_DIR": str(folder / "var"), "HOST": "0.0.0.0", "PORT": str(PORT), "WORKERS": "1"}
        self.environment = site.environment | own | environment
        rename = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name)
        self.command = ("ip", "netns", "exec", namespace, *rename, *command)

    def start(self) -> None:
        """Start it; return when it is there."""
        self.launch()
        assert self.process
        if self.part == WEB:
            wait_until(self.answers)
        else:  # the command, the sentinel, and its worker, monitor and pusher
            wait_until(lambda: len(session(self.process.pid)) >= 5)  # type: ignore[union-attr]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it stand still, all its processes, for a moment: much shorter than a lease."""
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def answers(self) -> bool:
        """Return whether the web server is there."""
        try:
            return self.http.request("GET", f"{self.url}/ping").status == 200
        except urllib3.exceptions.HTTPError:
            return False


class Site(Commands):
    """What the machines share, and the machines. Its own folder holds the shared disk."""

    def __init__(self, folder: Path, bundle: Bundle, network: Network, server: str, **environment: str) -> None:
        redis = f"{network.address}:{free_port()}"
        shared = {"CACHE_URL": f"rediscache://{redis}/0", "LIMITS_URL": f"redis://{redis}/1", "ALLOWED_HOSTS": "*"}
        super().__init__(folder, bundle, server, SECRET_KEY="shared" * 10, **shared, **environment)
        self.network, self.redis = network, redis
        self.machines: list[Machine] = []

    def set_up(self) -> None:
        """Make database, model, Redis, and who watches."""
        super().set_up()
        self.query(WITNESS)
        (self.folder / "var" / "media").mkdir(exist_ok=True)
        address, port = self.redis.split(":")
        options = ["--save", "", "--protected-mode", "no", "--dir", str(self.folder)]
        command = ["redis-server", "--bind", address, "--port", port, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            if machine.process and machine.process.poll() is None:
                machine.kill()
        super().__exit__()

    def add(self, name: str, command: tuple[str, ...], **environment: str) -> Machine:
        """Return a new machine, not started yet."""
        machine = Machine(self, name, command, **environment)
        self.machines.append(machine)
        (machine.folder / "var").mkdir()
        (machine.folder / "var" / "media").symlink_to(self.folder / "var" / "media")
        self.copy_model(machine)
        if command == WEB:
            self.url = machine.url
        return machine

    def copy_model(self, machine: Machine) -> None:
        """Bring the bundle to a machine's disk."""
        shutil.copytree(self.folder / "var" / "models", machine.folder / "var" / "models")

    def witnessed(self, what: str) -> Counter[int]:
        """Return how often which image was subject of a "claim" or an "answer"."""
        return Counter(dict(self.query(f"SELECT prediction, count(*) FROM witness WHERE what = '{what}' GROUP BY 1")))

    def shares(self) -> dict[str, int]:
        """Return how many answers came from which machine."""
        rows = self.query("SELECT machine, count(*) FROM witness WHERE what = 'answer' GROUP BY 1")
        names = {machine.address: machine.name for machine in self.machines}
        return {names[address]: count for address, count in sorted(rows)}

    def statuses(self) -> dict[str, int]:
        """Return how many images have which status."""
        return dict(self.query("SELECT status, count(*) FROM predictions_imageprediction GROUP BY 1"))

    def wait_idle(self, seconds: float = 120) -> None:
        """Return once no image waits any more."""
        wait_until(lambda: not {"pending", "processing"} & set(self.statuses()), seconds)


@contextmanager
def site(folder: Path, bundle: Bundle, *, code: Path = ROOT, **environment: str) -> Iterator[Site]:
    """Make a site without machines, of that version of the code; skip the test where that cannot be."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not binaries or not shutil.which("redis-server") or not shutil.which("ip"):
        pytest.skip("needs the binaries of PostgreSQL, redis-server and ip: apt-get install postgresql redis iproute2")
    with ExitStack() as stack:
        try:
            network = Network(stack)
        except subprocess.CalledProcessError:
            pytest.skip("network namespaces need root")
        server = PostgreSQL(binaries[-1], free_port(), network.address)
        stack.callback(shutil.rmtree, server.folder)
        server.start()
        stack.callback(server.stop)
        place = Site(folder, bundle, network, server.url, **environment)
        place.code = code
        yield stack.enter_context(place)


def timed(condition: Any, seconds: float) -> float:
    """Return how many seconds it took until the condition held."""
    start = time.monotonic()
    wait_until(condition, seconds)
    return time.monotonic() - start
