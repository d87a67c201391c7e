"""An upload that is sent again after a lost answer is accepted once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from config.tests.environment import image_bytes
from predictions import services, uploads
from predictions.models import KEY_LENGTH, IdempotencyKey, ImagePrediction

pytestmark = pytest.mark.django_db
KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


def files(settings: Any) -> list[Path]:
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def post(client: Client, file: Any, key: str = KEY, path: str = "/predictions/", field: str = "file") -> Any:
    return client.post(path, {field: file}, headers={"Idempotency-Key": key})


def test_the_same_again_is_answered_as_before_and_stores_nothing(client: Client, upload: Any, settings: Any) -> None:
    first, second = post(client, upload()), post(client, upload())
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert (first["Location"], first["ETag"]) == (second["Location"], second["ETag"])
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert (len(files(settings)), ImagePrediction.objects.count()) == (1, 1)


def test_without_a_key_or_with_another_it_is_another_upload(client: Client, upload: Any) -> None:
    answers = [
        post(client, upload()),
        post(client, upload(), "another"),
        client.post("/predictions/", {"file": upload()}),
    ]
    assert len({answer.json()["id"] for answer in answers}) == 3


def test_what_has_become_of_it_since_is_told(client: Client, upload: Any) -> None:
    pk = post(client, upload()).json()["id"]
    ImagePrediction.objects.filter(pk=pk).update(status="failed", error="It was too dark")
    assert post(client, upload()).json()["error"] == "It was too dark"


@pytest.mark.parametrize("other", [("photo.jpg", image_bytes(size=(60, 60))), ("other.jpg", None)])
def test_a_key_is_for_one_file(client: Client, upload: Any, settings: Any, other: Any) -> None:
    post(client, upload())
    response = post(client, upload(*other))
    assert response.status_code == 422
    assert "take a new key for each upload" in response.json()["detail"]
    assert (len(files(settings)), ImagePrediction.objects.count()) == (1, 1)


def test_what_was_deleted_since_does_not_come_back(client: Client, upload: Any) -> None:
    pk = post(client, upload()).json()["id"]
    assert client.delete(f"/predictions/{pk}/").status_code == 200
    response = post(client, upload())
    assert (response.status_code, "deleted since" in response.json()["detail"]) == (410, True)
    assert not ImagePrediction.objects.exists()


def test_a_refused_upload_leaves_its_key_free(client: Client, upload: Any) -> None:
    assert post(client, SimpleUploadedFile("a.jpg", b"no image")).status_code == 400
    assert post(client, upload()).status_code == 201


def test_every_user_has_keys_of_their_own(client: Client, upload: Any) -> None:
    ada = Client()
    ada.force_login(User.objects.create_user("ada"))
    ids = {post(visitor, upload()).json()["id"] for visitor in (client, ada, client, ada)}
    assert len(ids) == 2


def test_a_full_queue_keeps_its_word(client: Client, upload: Any, settings: Any) -> None:
    settings.QUEUE_LIMIT = 1
    post(client, upload())
    assert post(client, upload()).status_code == 201
    assert post(client, upload(), "another").status_code == 503


def test_quoted_as_the_draft_has_it_and_bare_it_is_one_key(client: Client, upload: Any) -> None:
    assert post(client, upload(), f'"{KEY}"').json()["id"] == post(client, upload(), f" {KEY} ").json()["id"]


@pytest.mark.parametrize("key", ["", '""', '"', "a b", "ключ", "a\x7f", "x" * (KEY_LENGTH + 1), 'a"b'])
def test_a_key_that_cannot_be_kept_is_refused(client: Client, upload: Any, key: str) -> None:
    response = post(client, upload(), key)
    assert (response.status_code, "Idempotency-Key" in response.json()["detail"]) == (400, True)
    assert not ImagePrediction.objects.exists()


def test_the_longest_key_is_kept(client: Client, upload: Any) -> None:
    assert len({post(client, upload(), "~" * KEY_LENGTH).json()["id"] for _ in range(2)}) == 1


def test_of_several_files_each_is_accepted_once(client: Client, upload: Any, settings: Any) -> None:
    """Sent again, a request completes what it began: the refused ones are tried anew, the others answered."""
    settings.QUEUE_LIMIT = 2
    first = post(client, [upload("a.jpg"), upload("a.jpg"), upload("c.jpg")], field="files")
    assert [result["status"] for result in first.json()] == [201, 201, 503]
    settings.QUEUE_LIMIT = 9
    second = post(client, [upload("a.jpg"), upload("a.jpg"), upload("c.jpg")], field="files")
    assert [result["status"] for result in second.json()] == [201] * 3
    assert second.json()[:2] == first.json()[:2]
    assert second["Idempotency-Replayed"] == "true"
    assert ImagePrediction.objects.count() == 3
    third = post(client, [upload("b.jpg"), upload("a.jpg")], field="files")
    assert [result["status"] for result in third.json()] == [422, 201]


def test_the_page_honours_it_too(client: Client, upload: Any) -> None:
    first, second = (post(client, upload(), path="/") for _ in range(2))
    assert first["Location"] == second["Location"]
    response = post(client, upload("other.jpg"), path="/")
    assert response.status_code == 422
    assert "take a new key for each upload" in response.content.decode()


def test_row_and_key_are_written_together(upload: Any, settings: Any) -> None:
    def broken(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith('INSERT INTO "predictions_idempotencykey"'):
            raise OperationalError("away")
        return execute(sql, *arguments)

    with connection.execute_wrapper(broken), pytest.raises(OperationalError):
        services.submit_once(upload(), None, KEY)
    assert not files(settings)
    assert not ImagePrediction.objects.exists()


def test_keys_are_kept_for_a_day(upload: Any) -> None:
    prediction, _ = services.submit_once(upload(), None, KEY)
    for age, kept in ((timedelta(hours=23), True), (timedelta(hours=25), False)):
        IdempotencyKey.objects.update(created_at=timezone.now() - age)
        services.recover_stale()
        assert IdempotencyKey.objects.exists() is kept
    again, replayed = services.submit_once(upload(), None, KEY)
    assert (again.pk != prediction.pk, replayed) == (True, False)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known", [True, False])
def test_of_two_at_the_same_moment_one_is_accepted(
    settings: Any, upload: Any, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = User.objects.create_user("ada") if known else None
    together = Barrier(4)
    inspect = uploads.inspect

    def inspect_together(file: Any) -> Any:
        together.wait(20)  # all have looked for the key by now, and found none
        return inspect(file)

    def send(_: int) -> tuple[int, bool]:
        try:
            prediction, replayed = services.submit_once(upload(), user, KEY)
            return prediction.pk, replayed
        finally:
            connection.close()

    monkeypatch.setattr(uploads, "inspect", inspect_together)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, range(4)))
    assert len({pk for pk, _ in answers}) == 1
    assert sorted(replayed for _, replayed in answers) == [False, True, True, True]
    assert (len(files(settings)), ImagePrediction.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_requests_at_the_same_moment_are_answered_alike(settings: Any, upload: Any) -> None:
    def send(_: int) -> Any:
        try:
            return post(Client(), upload())
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(12)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(files(settings)) == 1


def test_the_schema_tells_of_it(client: Client) -> None:
    paths = client.get("/schema", headers={"Accept": "application/json"}).json()["paths"]
    assert all("429" in operation["responses"] for operations in paths.values() for operation in operations.values())
    operation = paths["/predictions/"]["post"]
    assert "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]]
    assert {"410", "422", "429", "503", "507"} <= set(operation["responses"])
