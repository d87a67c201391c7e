"""What a container starts with: settings from files, and a database that may come later than it."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from config.tests.environment import ROOT

NOBODY = "postgres://postgres@127.0.0.1:1/none"  # nothing listens there


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True)


def setting(name: str, **environment: str) -> str:
    return python("-c", f"import config.settings as s; print(s.{name})", **environment).stdout.strip()


def test_settings_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")
    assert setting("SECRET_KEY", SECRET_KEY_FILE=str(tmp_path / "key"), SECRET_KEY="elsewhere") == "from a file"
    (tmp_path / "url").write_text("postgres://a:b@c/d\n")
    given = {"DATABASE_TEST_URL_FILE": str(tmp_path / "url"), "DATABASE_TEST_URL": ""}
    assert setting("DATABASES['default']['NAME']", **given) == "d"


def test_a_secret_whose_file_is_missing_ends_the_start() -> None:
    result = python("-c", "import config.settings", SECRET_KEY_FILE="/nowhere/key")
    assert result.returncode
    assert "/nowhere/key" in result.stderr


def test_an_image_brings_model_and_static_files_of_its_own(tmp_path: Path) -> None:
    given = {"MODELS_DIR": str(tmp_path / "models"), "STATIC_ROOT": str(tmp_path / "static")}
    assert setting("MODELS_DIR", **given) == given["MODELS_DIR"]
    assert setting("STATIC_ROOT", **given) == given["STATIC_ROOT"]


def test_pictures_are_sent_as_pictures_where_the_system_knows_no_types() -> None:
    code = (
        "import mimetypes; mimetypes.knownfiles = [];"
        "import django; django.setup();"
        "from classifier.images import EXTENSIONS;"
        "print({mimetypes.guess_type('a.' + name)[0].split('/')[0] for name in EXTENSIONS.values()})"
    )
    assert python("-c", code, DJANGO_SETTINGS_MODULE="config.settings").stdout.strip() == "{'image'}"


@pytest.mark.django_db
def test_waiting_for_a_database_that_answers_takes_no_time() -> None:
    call_command("wait_for_database", "--seconds", "0")


def test_waiting_for_a_database_that_never_answers_ends() -> None:
    result = python("manage.py", "wait_for_database", "--seconds", "0", DATABASE_TEST_URL=NOBODY)
    assert result.returncode == 1
    assert "refused" in result.stderr


class LateServer:
    """A port where PostgreSQL's own server begins to answer after a while: until then, connections are refused."""

    def __init__(self, seconds: float) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Timer(seconds, self.serve).start()

    def serve(self) -> None:
        self.listener.listen()
        while True:
            client, _ = self.listener.accept()
            upstream = socket.create_connection(("127.0.0.1", 5432))
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def pump(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            sink.sendall(data)


def server_is_there() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 5432)) == 0


def entrypoint(url: str) -> "subprocess.Popen[str]":
    bin_first = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [str(ROOT / "deploy" / "entrypoint.sh"), "echo", "the command runs"]
    environment = {**os.environ, "PATH": bin_first, "DATABASE_TEST_URL": url}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=ROOT, **pipes)


def test_the_entrypoint_waits_for_the_database_and_becomes_the_command() -> None:
    if not server_is_there():
        pytest.skip("there is no PostgreSQL at 127.0.0.1:5432")
    server = LateServer(seconds=4)
    container = entrypoint(f"postgres://postgres@127.0.0.1:{server.port}/postgres")
    out, err = container.communicate(timeout=60)
    assert "Waiting for the database" in err
    assert out == "the command runs\n"


def test_the_entrypoint_can_be_stopped_while_it_waits() -> None:
    container = entrypoint(NOBODY)
    assert container.stderr
    assert "Waiting for the database" in container.stderr.readline()
    container.terminate()
    out, _ = container.communicate(timeout=10)
    assert (container.returncode, out) == (143, "")
