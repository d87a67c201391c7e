"""Clients that stall, in the middle of whatever, stop nobody else and are cut."""

import errno
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from classifier.bundle import Bundle
from config.tests.environment import image_bytes
from config.tests.service import Service, wait_until

STALLED = 20  # of them six used to stop the service
HEAD = (
    b"POST /predictions/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=X\r\n"
    b"Content-Length: 100000\r\n\r\n"
)
PART = b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
SECONDS = 4


@pytest.fixture(scope="module")
def impatient(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("slow"), small_bundle, CLIENT_TIMEOUT=str(SECONDS)) as service:
        yield service


def connect(service: Service, content: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", service.port), timeout=60)
    client.sendall(content)
    return client


def is_cut(client: socket.socket) -> bool:
    """Read until the end; false if the server still waits."""
    try:
        while client.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


pytestmark = pytest.mark.xdist_group("slow")


@pytest.mark.parametrize("sent", [HEAD + PART + image_bytes()[:500], HEAD, HEAD[:50], b""])
def test_stalled_uploads_stop_nobody_and_are_cut(impatient: Service, sent: bytes) -> None:
    clients = [connect(impatient, sent) for _ in range(STALLED)]
    try:
        assert impatient.get("/ping")["ping"] == "pong"
        # All of them still stall: it was not their end that let the others through.
        for client in clients:
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
            client.settimeout(60)
        assert impatient.post()["status"] == "pending"
        if sent:  # a connection without a request is an idle one, for which gunicorn's keepalive is the bound
            assert all(is_cut(client) for client in clients)
    finally:
        for client in clients:
            client.close()
    assert "Traceback" not in impatient.log()


def test_a_stalled_upload_is_told(impatient: Service) -> None:
    with connect(impatient, HEAD + PART) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_byte_now_and_then_is_no_upload(impatient: Service) -> None:
    with connect(impatient, HEAD + PART) as client:
        client.settimeout(0.2)

        def drip() -> bool:
            try:
                client.sendall(b"x")
                return bool(client.recv(65536))
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        wait_until(drip)


def test_who_takes_no_answer_is_cut(impatient: Service) -> None:
    photo = impatient.post(image_bytes("BMP", size=(1500, 1200)))["id"]
    ask = b"GET /gallery/%d/image HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % photo
    clients = [connect(impatient, ask) for _ in range(STALLED)]
    try:
        assert impatient.get("/ping")["ping"] == "pong"
        ports = {port_of(client) for client in clients}
        wait_until(lambda: not ports & open_connections())
    finally:
        for client in clients:
            client.close()


def port_of(client: socket.socket) -> int:
    """Return the local port of a connection, by which the server's end of it is known."""
    return int(client.getsockname()[1])


def open_connections() -> set[int]:
    """Return the client ports that a server on this machine still has an established connection to."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].split(":")[1], 16) for row in rows if row[3] == "01"}


def test_slow_but_steady_is_fine(impatient: Service) -> None:
    body = PART + image_bytes("BMP", size=(200, 100)) + b"\r\n--X--\r\n"
    piece = len(body) // 8 + 1
    with connect(impatient, HEAD.replace(b"100000", str(len(body)).encode())) as client:
        for start in range(0, len(body), piece):
            time.sleep(SECONDS * 1.5 / 8)
            client.sendall(body[start : start + piece])
        assert client.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_told_to_stop_it_finishes_what_it_has_begun_and_refuses_the_rest(tmp_path: Path, small_bundle: Bundle) -> None:
    content = image_bytes()
    body = PART + content + b"\r\n--X--\r\n"
    head = HEAD.replace(b"100000", str(len(body)).encode())
    with Service(tmp_path, small_bundle) as service:
        assert service.process
        with connect(service, head + body[:500]) as uploading:
            time.sleep(1)  # it is being read
            service.process.terminate()
            # While the upload goes on, nobody else may wait for an answer that will not come.
            wait_until(lambda: refuses(service), seconds=15)
            assert service.process.poll() is None
            uploading.sendall(body[500:])
            assert b" 201 " in uploading.recv(65536).split(b"\r\n")[0]
        assert service.process.wait(60) == 0


def refuses(service: Service) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", service.port)) == errno.ECONNREFUSED
