"""More slow clients than there are threads: the slowest are cut, and everybody else is served."""

import socket
import time
from collections.abc import Iterator

import pytest

from classifier.bundle import Bundle
from config.tests.environment import image_bytes
from config.tests.service import Service, wait_until
from config.tests.test_slow_clients import HEAD, PART, STALLED, connect, is_cut, open_connections, port_of

CROWD = 100  # of them two processes of 24 threads used to be stopped
pytestmark = pytest.mark.xdist_group("slow")


@pytest.fixture(scope="module")
def patient(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One whose own bound on how long a client may stall helps nobody in time."""
    with Service(tmp_path_factory.mktemp("crowd"), small_bundle, CLIENT_TIMEOUT="600") as service:
        yield service


@pytest.mark.parametrize("sent", [HEAD + PART + image_bytes()[:500], HEAD[:50], b""], ids=["body", "head", "silence"])
def test_more_slow_clients_than_threads_stop_nobody(patient: Service, sent: bytes) -> None:
    clients = [connect(patient, sent) for _ in range(CROWD)]
    try:
        for _ in range(3):
            assert patient.get("/ping")["ping"] == "pong"
        assert patient.post()["status"] == "pending"
        for client in clients:
            client.settimeout(0.1)
        cut = sum(map(is_cut, clients))
        assert cut < CROWD, "only as many are cut as others need threads"
        assert (cut > 0) == bool(sent), "who has not begun to speak holds nobody up"
    finally:
        for client in clients:
            client.close()
    assert "Traceback" not in patient.log()


def test_of_a_crowd_the_slowest_are_cut(patient: Service) -> None:
    body = PART + image_bytes("BMP", size=(400, 300)) + b"\r\n--X--\r\n"
    piece = len(body) // 10 + 1
    with connect(patient, HEAD.replace(b"100000", str(len(body)).encode())) as steady:
        clients: list[socket.socket] = []
        for start in range(0, len(body), piece):
            steady.sendall(body[start : start + piece])
            clients += [connect(patient, HEAD + PART) for _ in range(CROWD // 10)]
            time.sleep(0.3)
        assert steady.recv(65536).startswith(b"HTTP/1.1 201 ")
        for client in clients:
            client.settimeout(0.1)
        assert any(map(is_cut, clients))
        for client in clients:
            client.close()


def test_who_was_answered_and_does_not_hang_up_holds_nobody_up(patient: Service) -> None:
    last = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    clients = [connect(patient, last) for _ in range(STALLED)]
    try:
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        ports = {port_of(client) for client in clients}
        wait_until(lambda: not ports & open_connections())
    finally:
        for client in clients:
            client.close()
