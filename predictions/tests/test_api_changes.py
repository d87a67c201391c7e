"""PATCH, conditional requests, reclassifying and the history."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from classifier.models import ModelVersion
from predictions import tasks
from predictions.models import Correction, ImagePrediction, Status

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]
LYNX = {"top_prediction": "lynx", "confidence": 0.9}


def send(client: Client, method: str, pk: int, body: Any = None, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = getattr(client, method)
    return request(f"/predictions/{pk}/", body, content_type="application/json", headers=named)


def test_patching_the_label_alone_is_a_sure_correction(client: Client, submit: Submit) -> None:
    response = send(client, "patch", submit().pk, {"top_prediction": "lynx"})
    assert (response.status_code, response.json()["top_prediction"], response.json()["confidence"]) == (200, "lynx", 1)
    assert Correction.objects.get().source == "api"


def test_patching_the_confidence_alone_keeps_the_label(client: Client, submit: Submit) -> None:
    pk = submit().pk
    send(client, "put", pk, LYNX)
    response = send(client, "patch", pk, {"confidence": 0.25})
    assert (response.json()["top_prediction"], response.json()["confidence"]) == ("lynx", 0.25)


@pytest.mark.parametrize(
    "body",
    [{}, {"confidence": 0.5}, {"top_prediction": ""}, [], "x"]
    + [{"top_prediction": "cat", "confidence": wrong} for wrong in (2, -1, True, False, None, float("nan"), "sure")],
)
def test_a_patch_that_says_nothing_is_refused(client: Client, submit: Submit, body: Any) -> None:
    assert send(client, "patch", submit().pk, body).status_code == 400
    assert not Correction.objects.exists()


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_the_second_of_two_is_told_when_they_asked_to_be(client: Client, submit: Submit, method: str) -> None:
    pk = submit().pk
    seen = client.get(f"/predictions/{pk}/")["ETag"]
    assert send(client, "put", pk, {"top_prediction": "cat", "confidence": 1}, If_Match=seen).status_code == 200
    response = send(client, method, pk, LYNX, If_Match=seen)
    assert response.status_code == 412
    assert "changed" in response.json()["detail"]
    assert ImagePrediction.objects.get().top_prediction == "cat"
    assert Correction.objects.count() == 1


def test_without_the_header_the_last_one_wins_and_both_are_in_the_history(client: Client, submit: Submit) -> None:
    pk = submit().pk
    for label in ("cat", "lynx"):
        send(client, "put", pk, {"top_prediction": label, "confidence": 1})
    assert ImagePrediction.objects.get().top_prediction == "lynx"
    assert [entry["label_after"] for entry in client.get(f"/predictions/{pk}/history/").json()] == ["lynx", "cat"]


def test_any_existing_state_matches_a_star_and_one_of_several_tags(client: Client, submit: Submit) -> None:
    pk = submit().pk
    assert send(client, "put", pk, LYNX, If_Match="*").status_code == 200
    seen = client.get(f"/predictions/{pk}/")["ETag"]
    assert send(client, "put", pk, LYNX, If_Match=f'"other", {seen}').status_code == 200
    assert send(client, "put", pk, LYNX, If_Match=f"W/{seen}").status_code == 412  # weak tags never match strongly


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_tag_to_which_a_proxy_added_its_encoding_is_the_one_sent_out(
    client: Client, submit: Submit, encoding: str
) -> None:
    """As Caddy does; of If-None-Match it takes that away again, of If-Match it does not."""
    pk = submit().pk
    seen = client.get(f"/predictions/{pk}/")["ETag"].removesuffix('"') + f'-{encoding}"'
    assert send(client, "get", pk, None, If_None_Match=f"W/{seen}").status_code == 304
    assert send(client, "put", pk, LYNX, If_Match=seen).status_code == 200
    assert send(client, "put", pk, LYNX, If_Match=seen).status_code == 412
    assert send(client, "put", pk, LYNX, If_Match="no tag").status_code == 412


@pytest.mark.django_db(transaction=True)
def test_of_two_at_the_very_same_time_one_wins(submit: Submit) -> None:
    pk = submit().pk
    seen = Client().get(f"/predictions/{pk}/")["ETag"]
    codes: list[int] = []

    def correct(label: str) -> None:
        body = {"top_prediction": label, "confidence": 1}
        codes.append(send(Client(), "put", pk, body, If_Match=seen).status_code)
        connection.close()

    threads = [threading.Thread(target=correct, args=[label]) for label in ("cat", "dog", "eel", "fox")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 412, 412, 412]
    assert Correction.objects.count() == 1


def test_what_has_not_changed_is_not_sent_again(client: Client, submit: Submit, model: ModelVersion) -> None:
    pk = submit().pk
    seen = client.get(f"/predictions/{pk}/")["ETag"]
    again = send(client, "get", pk, None, If_None_Match=seen)
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", seen)
    tasks.classify_pending()
    assert send(client, "get", pk, None, If_None_Match=seen).status_code == 200


def test_reclassifying_keeps_a_correction_and_records_the_new_answer(
    client: Client, submit: Submit, model: ModelVersion
) -> None:
    pk = submit().pk
    tasks.classify_pending()
    send(client, "put", pk, LYNX)
    response = client.post(f"/predictions/{pk}/reclassify/")
    assert (response.status_code, response.json()["status"]) == (202, Status.PENDING)
    assert client.post(f"/predictions/{pk}/reclassify/").status_code == 202  # it is on its way already
    before = ImagePrediction.objects.get().classified_at
    tasks.classify_pending()
    prediction = ImagePrediction.objects.get()
    assert (prediction.status, prediction.top_prediction) == (Status.DONE, "lynx")
    assert before
    assert prediction.classified_at
    assert prediction.classified_at > before


def test_the_history_tells_who_said_what(client: Client, submit: Submit, model: ModelVersion) -> None:
    pk = submit().pk
    tasks.classify_pending()
    client.force_login(User.objects.create_user("ada"))
    send(client, "put", pk, LYNX)
    newest, oldest = client.get(f"/predictions/{pk}/history/").json()
    assert (newest["type"], newest["corrected_by"], newest["label_after"]) == ("correction", "ada", "lynx")
    assert (oldest["type"], oldest["model_version"]) == ("classification", model.name)
    assert len(oldest["labels"]) == 5
    assert oldest["milliseconds"] > 0


@pytest.mark.parametrize("path", ["reclassify/", "history/"])
def test_an_unknown_id_is_not_found(client: Client, path: str) -> None:
    method = client.post if path == "reclassify/" else client.get
    for pk in ("999", "x", "-1"):
        response = method(f"/predictions/{pk}/{path}")
        assert (response.status_code, response.json()) == (404, {"detail": "Prediction not found"})
