"""Passwords cannot be guessed at length: neither many names from one address, nor one name from many."""

from base64 import b64encode
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from config import rates

pytestmark = pytest.mark.django_db
HEADERS = ["RateLimit-Limit", "RateLimit-Remaining"]


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", password="lovelace", is_staff=True)


def log_in(client: Client, path: str, name: str, password: str, address: str = "192.0.2.1") -> Any:
    if path == "/predictions/":
        return client.get(path, headers=basic(name, password), REMOTE_ADDR=address)
    return client.post(path, {"username": name, "password": password}, REMOTE_ADDR=address)


WAYS = pytest.mark.parametrize("path", ["/login", "/admin/login/", "/predictions/"])


@WAYS
def test_many_names_from_one_address_are_slowed_down(client: Client, allow: Any, ada: User, path: str) -> None:
    allow(logins="3/hour")
    assert [log_in(client, path, f"name{n}", "x").status_code == 429 for n in range(5)] == [False] * 3 + [True] * 2
    refused = log_in(client, path, "ada", "lovelace")
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) >= 1
    assert [refused[name] for name in HEADERS] == ["3", "0"]
    assert log_in(client, path, "ada", "lovelace", "192.0.2.2").status_code in {200, 302}


@WAYS
def test_one_name_from_many_addresses_is_slowed_down(client: Client, allow: Any, ada: User, path: str) -> None:
    allow(logins="3/hour")
    refused = [log_in(client, path, "ada", "x", f"192.0.2.{n}").status_code == 429 for n in range(5)]
    assert refused == [False] * 3 + [True] * 2
    assert log_in(client, path, "ada", "lovelace", "192.0.2.9").status_code == 429
    assert log_in(client, path, "bob", "x", "192.0.2.9").status_code != 429


def test_the_ways_in_are_counted_together(client: Client, allow: Any, ada: User) -> None:
    allow(logins="3/hour")
    for path in ("/login", "/admin/login/", "/predictions/"):
        assert log_in(client, path, "ada", "x").status_code != 429
    for path in ("/login", "/admin/login/", "/predictions/"):
        assert log_in(client, path, "ada", "lovelace").status_code == 429


@WAYS
def test_success_is_never_counted(allow: Any, ada: User, path: str) -> None:
    allow(logins="2/hour")
    assert {log_in(Client(), path, "ada", "lovelace").status_code for _ in range(6)} <= {200, 302}


def test_an_open_session_is_not_touched(client: Client, allow: Any, ada: User, settings: Any) -> None:
    settings.ACCESS = "login"
    allow(logins="1/hour")
    log_in(client, "/login", "ada", "lovelace")
    log_in(Client(), "/login", "ada", "x")
    assert log_in(Client(), "/login", "ada", "lovelace").status_code == 429
    assert client.get("/account/").status_code == 200


def test_what_is_refused_is_not_even_hashed(
    client: Client, allow: Any, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(logins="1/hour")
    log_in(client, "/login", "ada", "x")
    monkeypatch.setattr(User, "check_password", lambda *_: pytest.fail("a password was looked at"))
    assert log_in(client, "/login", "ada", "lovelace").status_code == 429


def test_no_name_and_no_token_is_legible_in_the_counts(client: Client, allow: Any, ada: User) -> None:
    allow(logins="9/hour", reads="9/hour")
    log_in(client, "/predictions/", "ada", "secret-of-ada")
    counter: Any = rates.counter("memory://")
    assert len(counter) == 4  # reads and failures, each by two names
    assert not [key for key in counter._counts if "ada" in key or basic("ada", "secret-of-ada")["Authorization"] in key]


def change(client: Client, old: str, address: str = "192.0.2.1", path: str = "/password/change") -> int:
    new = "quite another phrase"
    data = {"old_password": old, "new_password1": new, "new_password2": new}
    return client.post(path, data, REMOTE_ADDR=address).status_code


@pytest.mark.parametrize("path", ["/password/change", "/admin/password_change/"])
def test_whoever_finds_an_open_session_cannot_guess_its_password(
    client: Client, allow: Any, ada: User, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(logins="3/hour")
    client.force_login(ada)
    assert [change(client, f"guess{n}", f"192.0.2.{n}", path) for n in range(5)] == [200, 200, 200, 429, 429]
    assert log_in(Client(), "/login", "ada", "lovelace", "192.0.2.9").status_code == 429
    monkeypatch.setattr(User, "check_password", lambda *_: pytest.fail("a password was looked at"))
    assert change(client, "lovelace", "192.0.2.9", path) == 429


def test_from_one_address_many_passwords_are_not_guessed_by_changing_them(allow: Any) -> None:
    allow(logins="3/hour")
    found = []
    for number in range(4):
        client = Client()
        client.force_login(User.objects.create_user(f"name{number}", password="lovelace"))
        found.append(change(client, "x"))
    assert found == [200, 200, 200, 429]


def test_a_right_old_password_is_never_counted(client: Client, allow: Any, ada: User) -> None:
    allow(logins="1/hour")
    client.force_login(ada)
    assert change(client, "lovelace") == 302
    assert log_in(Client(), "/login", "ada", "quite another phrase").status_code == 302
