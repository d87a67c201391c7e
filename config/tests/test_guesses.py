"""Ids and addresses are not guessed at length: what is not there counts as read, in whatever way it is asked for."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from config.tests.test_limits import statuses

pytestmark = pytest.mark.django_db
GALLERY = ["", "image", "thumbnail", "card", "view"]
GUESSED = ["/nothing", "/nothing.php", "/static/nothing.css", "/predictions/{}/", "/admin/nothing/{}/"]


@pytest.mark.parametrize("path", [*GUESSED, *(f"/gallery/{{}}/{part}" for part in GALLERY)])
def test_who_guesses_what_there_is_has_no_more_guesses_than_reads(client: Client, allow: Any, path: str) -> None:
    allow(reads="3/hour", parts="1000/hour", writes="1000/hour")
    client.force_login(User.objects.create_superuser("root"))
    assert statuses(client, path.format(999), 5) == [404] * 3 + [429] * 2
    refused = client.get(path.format(998))
    assert (refused.status_code, refused["RateLimit-Remaining"], "Retry-After" in refused) == (429, "0", True)
    assert client.get("/gallery/").status_code == 429


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/nothing"),
        ("options", "/nothing"),
        ("delete", "/predictions/9/"),
        ("post", "/predictions/9/reclassify/"),
    ],
)
def test_a_guess_is_a_guess_by_whatever_method(client: Client, allow: Any, method: str, path: str) -> None:
    allow(reads="2/hour")
    assert [getattr(client, method)(path).status_code for _ in range(3)] == [404, 404, 429]


def test_whoever_has_guessed_too_often_is_not_told_what_is_there_either(
    client: Client, allow: Any, submit: Any
) -> None:
    pk = submit().pk
    allow(reads="2/hour", parts="1000/hour")
    assert statuses(client, f"/gallery/{pk}/card", 3) == [200] * 3
    assert statuses(client, f"/gallery/{pk + 1}/card", 3) == [404, 404, 429]
    assert statuses(client, f"/gallery/{pk}/card", 1) == [429]
    assert client.get(f"/gallery/{pk}/card", REMOTE_ADDR="192.0.2.9").status_code == 200


def test_what_is_not_there_counts_once(client: Client, allow: Any) -> None:
    allow(reads="9/hour")
    for number, path in enumerate(("/predictions/999/", "/nothing", "/gallery/999/", "/gallery/999/image")):
        assert client.get(path)["RateLimit-Remaining"] == str(8 - number)
