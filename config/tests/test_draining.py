"""Told to stop, the web server says so first, and serves on until the load balancer has looked elsewhere."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import urllib3

from config.tests.environment import ROOT
from config.tests.service import free_port, wait_until

DRAIN = 3


@pytest.fixture
def web(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "DATA_DIR": str(tmp_path), "DRAIN_SECONDS": str(request.param)}
    command = [str(Path(sys.executable).with_name("gunicorn")), "--config", "deploy/gunicorn.conf.py", "config.wsgi"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: status(url + "/livez") == 200)
        yield process, url
        if process.poll() is None:
            process.kill()


def status(url: str) -> int:
    """Return how a request on a new connection is answered; 0 if it is not."""
    with suppress(urllib3.exceptions.HTTPError):
        return urllib3.request("GET", url, retries=False, timeout=5).status
    return 0


@pytest.mark.parametrize("web", [DRAIN], indirect=True)
def test_it_turns_red_and_goes_on_serving_for_a_while(web: tuple["subprocess.Popen[bytes]", str]) -> None:
    process, url = web
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    wait_until(lambda: status(url + "/livez") == 503, DRAIN)
    while time.monotonic() < start + DRAIN - 1:
        assert status(url + "/ping") == 200
        assert status(url + "/livez") == 503
    assert process.wait(30) == 0
    assert time.monotonic() - start >= DRAIN


@pytest.mark.parametrize("web", [20], indirect=True)
def test_a_second_signal_stops_it_at_once(web: tuple["subprocess.Popen[bytes]", str]) -> None:
    process, url = web
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: status(url + "/livez") == 503)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert time.monotonic() - start < 20
