"""Who may use it: everybody, or with ACCESS=login whoever has logged in."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db
PAGES = ["/", "/gallery/", "/dashboard/", "/labels", "/gallery/{pk}/", "/gallery/{pk}/card"]
FILES = ["/gallery/{pk}/image", "/gallery/{pk}/view", "/gallery/{pk}/thumbnail"]
API = ["/predictions/", "/predictions/{pk}/", "/schema"]
FREE = ["/ping", "/livez", "/login"]


def get(client: Client, address: str, **options: Any) -> Any:
    """Read an answer to its end: a file's would stay open."""
    response: Any = client.get(address, **options)
    if response.streaming:
        list(response.streaming_content)
    return response


@pytest.fixture
def person(client: Client) -> Client:
    client.force_login(User.objects.create_user("ada", password="lovelace"))
    return client


@pytest.mark.parametrize("path", PAGES + FILES)
def test_pages_and_files_lead_to_the_login(client: Client, submit: Any, settings: Any, path: str) -> None:
    address = path.format(pk=submit().pk)
    assert get(client, address).status_code in {200, 302}
    settings.ACCESS = "login"
    response = client.get(address)
    assert (response.status_code, response["Location"]) == (302, f"/login?next={address}")


@pytest.mark.parametrize("path", API)
def test_the_api_says_that_it_wants_a_login(client: Client, submit: Any, settings: Any, path: str) -> None:
    address = path.format(pk=submit().pk)
    assert client.get(address).status_code == 200
    settings.ACCESS = "login"
    response = client.get(address, headers={"Accept": "application/json"})
    assert response.status_code == 403
    assert b"credentials were not provided" in response.content


@pytest.mark.parametrize("path", ["/gallery/change", "/gallery/undo/12345678-1234-5678-1234-567812345678", "/"])
def test_nothing_is_changed_without_a_login(client: Client, settings: Any, path: str) -> None:
    settings.ACCESS = "login"
    assert client.post(path)["Location"].startswith("/login")


@pytest.mark.parametrize("path", FREE)
def test_health_and_login_need_none(client: Client, settings: Any, path: str) -> None:
    settings.ACCESS = "login"
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", PAGES + FILES + API)
def test_who_has_logged_in_may_use_everything(person: Client, submit: Any, settings: Any, path: str) -> None:
    settings.ACCESS = "login"
    response = get(person, path.format(pk=submit().pk), follow=True)
    assert response.status_code == 200
    assert not any("/login" in address for address, _ in response.redirect_chain)


def test_logging_in_and_out(client: Client, settings: Any) -> None:
    settings.ACCESS = "login"
    User.objects.create_user("ada", password="lovelace")
    assert b"correct username" in client.post("/login", {"username": "ada", "password": "wrong"}).content
    response = client.post("/login", {"username": "ada", "password": "lovelace", "next": "/gallery/"})
    assert response["Location"] == "/gallery/"
    assert b"Log out ada" in client.get("/gallery/").content
    client.post("/logout")
    assert client.get("/gallery/").status_code == 302
