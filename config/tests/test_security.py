"""What every answer carries, so that a browser runs nothing of a stranger's."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import rest_framework
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db
PAGES = ["/", "/gallery/", "/dashboard/", "/login", "/account/", "/password/forgotten", "/admin/", "/nothing"]
FRAMEWORK = ["/docs", "/redoc", "/predictions/"]
HTML = {"Accept": "text/html"}


def policy(response: Any) -> dict[str, set[str]]:
    """Return the directives of an answer's Content-Security-Policy."""
    parts = [part.split() for part in response["Content-Security-Policy"].split(";")]
    return {name: set(values) for name, *values in parts}


def hash_of(style: str) -> str:
    """Return how a policy names an inline style (CSP level 3, 2.3.1)."""
    return f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"


@pytest.fixture
def person(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.parametrize("path", PAGES)
def test_pages_run_nothing_inline_and_nothing_foreign(person: Client, path: str) -> None:
    directives = policy(person.get(path, headers=HTML))
    assert directives["default-src"] == {"'none'"}
    assert directives["script-src"] == directives["style-src"] == {"'self'"}
    assert directives["frame-ancestors"] == directives["base-uri"] == {"'none'"}
    assert directives["form-action"] == {"'self'"}


@pytest.mark.parametrize("path", FRAMEWORK)
def test_nothing_inline_is_on_pages_of_the_framework_but_what_their_policy_names(person: Client, path: str) -> None:
    response = person.get(path, headers=HTML)
    styles = policy(response)["style-src"]
    assert policy(response)["script-src"] == {"'self'"}
    assert "'unsafe-inline'" not in styles
    page = response.content.decode()
    assert "<script>" not in page
    assert "<style" not in page
    assert {hash_of(style) for style in re.findall('style="(.*?)"', page)} <= styles


def test_every_attribute_in_templates_of_the_browsable_api_is_named_in_its_policy(settings: Any) -> None:
    root = Path(rest_framework.__file__).parent / "templates/rest_framework"
    others = {"admin.html", "login_base.html", "login.html"}  # which are not shown here
    texts = [path.read_text() for path in root.rglob("*.html") if path.name not in others]
    styles = {style for text in texts for style in re.findall('style="(.*?)"', text)}
    assert {hash_of(style) for style in styles} == set(settings.BROWSABLE_API_CSP["style-src"]) - {"'unsafe-hashes'"}


def test_redoc_may_write_styles_with_a_nonce_that_is_new_each_time(person: Client, settings: Any) -> None:
    seen = set()
    for _ in range(2):
        response = person.get("/redoc", headers=HTML)
        [nonce] = re.findall('nonce="(.+?)"', response.content.decode())
        assert policy(response)["style-src"] == {"'self'", f"'nonce-{nonce}'", hash_of(""), settings.SCROLLBAR}
        seen.add(nonce)
    assert len(seen) == 2


@pytest.mark.parametrize("path", [*PAGES, *FRAMEWORK, "/ping", "/schema"])
def test_every_answer_forbids_frames_sniffing_and_referrers(person: Client, path: str) -> None:
    response = person.get(path, headers=HTML)
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"


def test_files_of_strangers_run_nothing_at_all(client: Client, submit: Any) -> None:
    response: Any = client.get(f"/gallery/{submit().pk}/image")
    list(response.streaming_content)
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(client: Client) -> None:
    User.objects.create_user("ada", password="lovelace")
    cookie = client.post("/login", {"username": "ada", "password": "lovelace"}).cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize(
    "form", ["/", "/gallery/change", "/login", "/account/", "/password/change", "/password/forgotten"]
)
def test_every_form_wants_its_token(form: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    assert client.post(form, {"action": "delete", "ids": "1"}).status_code == 403
