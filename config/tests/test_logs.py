"""Lines of the log: whose they are, in both formats, and what is never in them."""

import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from logging.config import dictConfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as project
from django.contrib.auth.models import User
from django.test import Client

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from config.accesslog import Logger
from config.tests.environment import image_bytes
from config.tests.service import Commands, Service
from predictions import logs, tasks
from predictions.models import ImagePrediction

HEXADECIMAL = re.compile(r"[0-9a-f]{32}")


@pytest.fixture
def written(request: pytest.FixtureRequest) -> Iterator[StringIO]:
    """Configure the log as the settings do, in the test's format, and return what is written."""
    logs.request_id.set("")  # of another test's request
    stream, format = StringIO(), getattr(request, "param", "json")
    configured: dict[str, Any] = project.LOGGING
    console = {**configured["handlers"]["console"], "formatter": format, "stream": stream}
    dictConfig({**configured, "handlers": {"console": console}})
    yield stream
    dictConfig(configured)


def lines(written: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


@pytest.mark.django_db
@pytest.mark.parametrize("sent", ["cat-1", "Root=1-67891233-abcdef012345678912345678", "f" * 64])
def test_a_request_keeps_the_id_that_it_brings(client: Client, sent: str) -> None:
    assert client.get("/ping", headers={"X-Request-ID": sent})["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "f" * 65, "a b", "a\tb", "<script>", "käse", '"', "a\u2028b"])
def test_a_request_gets_an_id_in_place_of_a_strange_one(client: Client, sent: str) -> None:
    answers = [client.get("/ping", headers={"X-Request-ID": sent})["X-Request-ID"] for _ in range(2)]
    assert all(HEXADECIMAL.fullmatch(answer) for answer in answers)
    assert answers[0] != answers[1]


@pytest.mark.django_db
def test_errors_have_an_id_too(client: Client, written: StringIO) -> None:
    names = [client.get("/nowhere")["X-Request-ID"], client.get("/", headers={"Host": "example.org"})["X-Request-ID"]]
    assert [line["request_id"] for line in lines(written) if line["level"] != "INFO"] == names


@pytest.mark.django_db
def test_an_image_is_followed_from_the_request_to_its_labels(
    client: Client, model: ModelVersion, written: StringIO
) -> None:
    content = image_bytes()
    with_id = {"X-Request-ID": "cat-1"}
    pk = client.post("/predictions/", {"file": upload(content)}, headers=with_id).json()["id"]
    other = client.post("/predictions/", {"file": upload(content)}).json()["id"]
    tasks.classify_pending()
    of_it = [line for line in lines(written) if line.get("request_id") == "cat-1"]
    assert {line["prediction_id"] for line in of_it} == {pk}
    assert [line["message"].split()[0] for line in of_it] == ["Accepted:", "Classified"]
    assert {line["logger"] for line in of_it} == {"predictions.idempotency", "predictions.tasks"}
    assert len({line["request_id"] for line in lines(written) if line.get("prediction_id") == other}) == 1


@pytest.mark.django_db
def test_what_goes_wrong_says_with_which_image(client: Client, model: ModelVersion, written: StringIO) -> None:
    content = image_bytes(size=(400, 300))
    client.post("/predictions/", {"file": upload(content[: len(content) // 2])}, headers={"X-Request-ID": "broken"})
    tasks.classify_pending()
    pk = ImagePrediction.objects.get().pk
    failed = [line for line in lines(written) if line["message"].startswith("Failed")]
    assert [(line["request_id"], line["prediction_id"]) for line in failed] == [("broken", pk)]


def upload(content: bytes) -> Any:
    from django.core.files.uploadedfile import SimpleUploadedFile

    return SimpleUploadedFile("a secret name.jpg", content)


@pytest.mark.django_db
@pytest.mark.parametrize("written", ["text", "json"], indirect=True)
def test_a_traceback_belongs_to_its_request(written: StringIO, request: pytest.FixtureRequest) -> None:
    with logs.about(ImagePrediction(pk=7, request_id="cat-1")):
        logging.getLogger("predictions.tasks").error("attempt %d failed", 1, exc_info=RuntimeError("inside"))
    logging.getLogger("predictions.tasks").info("afterwards")
    text = written.getvalue()
    assert "RuntimeError: inside" in text
    if request.node.callspec.params["written"] == "text":
        assert " ERROR predictions.tasks [request=cat-1 prediction=7]: attempt 1 failed\n" in text
        assert text.endswith(" INFO predictions.tasks: afterwards\n")
    else:
        first, last = lines(written)
        assert (first["request_id"], first["prediction_id"], first["level"]) == ("cat-1", 7, "ERROR")
        assert "request_id" not in last
        assert set(last) == {"time", "level", "logger", "message"}


@pytest.mark.django_db
@pytest.mark.parametrize("written", ["text", "json"], indirect=True)
def test_secrets_are_in_no_line(client: Client, written: StringIO) -> None:
    user = User.objects.create_user("ada", password="old")
    headers = {"Authorization": "Bearer ic_hunter2", "Cookie": "sessionid=hunter2"}
    client.put("/password/MQ/c0ffee-hunter2", headers=headers)
    client.post("/password/MQ/set-hunter2-password", {"new_password1": "hunter2"}, headers=headers)
    Client(enforce_csrf_checks=True).post("/password/MQ/hunter2", {"new_password1": "hunter2"})
    client.post("/login", {"username": user.username, "password": "hunter2"})
    client.get("/predictions/999/", headers=headers)
    client.post("/predictions/?hunter2", {"file": upload(b"hunter2")})
    client.post("/predictions/?hunter2", {"file": upload(image_bytes())})
    text = written.getvalue()
    assert "/password/***" in text
    assert "Accepted" in text
    assert "hunter2" not in text
    assert "a secret name" not in text


def test_a_request_is_one_line_without_its_query(written: StringIO, settings: Any) -> None:
    settings.TRUST_PROXY = True
    cfg: Any = SimpleNamespace(**dict.fromkeys(
        ["errorlog", "accesslog"], "-"), loglevel="info", capture_output=False, syslog=False, logconfig_dict={},
        logconfig_json=None, logconfig=None,
    )  # fmt: skip
    log = Logger(cfg)
    log.access_log.handlers = logging.getLogger("gunicorn.error").handlers
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/password/MQ/x-y", "QUERY_STRING": "q=x"}
    response: Any = SimpleNamespace(status="200 OK", sent=12)
    log.access_log.setLevel(logging.INFO)
    with logs.about(ImagePrediction(request_id="cat-1")):
        proxied = {"REMOTE_ADDR": "::1", "HTTP_X_FORWARDED_FOR": "made up, 2001:db8::7"}
        log.access(response, None, environ | proxied, timedelta(seconds=0.25))
    log.access_log.setLevel(logging.WARNING)
    log.access(response, None, environ, timedelta())
    [line] = lines(written)
    assert line.pop("time")
    assert line == {
        "level": "INFO",
        "logger": "gunicorn.access",
        "message": "GET /password/*** 200",
        "request_id": "cat-1",
        "method": "GET",
        "path": "/password/***",
        "status": 200,
        "bytes": 12,
        "seconds": 0.25,
        "client": "2001:db8::7",
    }


def test_all_processes_write_json(tmp_path: Path, small_bundle: Bundle) -> None:
    with Service(tmp_path, small_bundle, LOG_FORMAT="json") as service:
        fields = {"file": ("photo.jpg", image_bytes(), "image/jpeg")}
        url = f"{service.url}/predictions/?q=hidden"
        answer = service.http.request("POST", url, fields=fields, headers={"X-Request-ID": "from-outside"})
        pk = answer.json()["id"]
        service.wait_done([pk])
    written = service.log().splitlines()
    # The runtime's native code says this by itself.
    found = [json.loads(line) for line in written if not line.startswith("INFO: Created TensorFlow Lite")]
    assert answer.headers["X-Request-ID"] == "from-outside"
    of_it = [line for line in found if line.get("request_id") == "from-outside"]
    assert {line["logger"] for line in of_it} == {"gunicorn.access", "predictions.idempotency", "predictions.tasks"}
    assert {line["prediction_id"] for line in of_it if "prediction_id" in line} == {pk}
    [access] = [line for line in of_it if line["logger"] == "gunicorn.access"]
    assert (access["method"], access["path"], access["status"]) == ("POST", "/predictions/", 201)
    assert 0 < access["seconds"] < 30
    assert "hidden" not in service.log()


def test_commands_write_no_line_for_each_image(tmp_path: Path, small_bundle: Bundle) -> None:
    (tmp_path / "cat.jpg").write_bytes(image_bytes())
    with Commands(tmp_path, small_bundle) as commands:
        imported = commands.manage("import_images", str(tmp_path / "cat.jpg"))
        classified = commands.manage("reclassify", "--status", "pending")
        assert commands.query("SELECT status FROM predictions_imageprediction") == [("done",)]
    assert "INFO predictions" not in imported.stderr + classified.stderr
