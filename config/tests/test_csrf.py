"""Other sites' pages can send nothing in somebody's name: no address takes it without the token, unless listed here."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from config.tests.test_access import ADDRESSES, EXPECTED, address
from predictions.models import ImagePrediction

pytestmark = pytest.mark.django_db
UNSAFE = ["POST", "PUT", "PATCH", "DELETE"]
SECRET = "a" * 32
# Whoever is known by a session has to send the token here, too: DRF asks for it, once it knows by what one is known.
API = {name for name in EXPECTED if name.startswith(("prediction-", "model-", "v2", "classify", "label-rule-"))}
NO_FORMS = {"ping", "livez", "readyz", "metrics", "schema"}  # they can only be read
FOR_EVERYBODY = {"login", "logout", "password_reset", "password_reset_confirm"}


def exempt(patterns: Any) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from exempt(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and getattr(pattern.callback, "csrf_exempt", False):
            yield pattern.name or str(pattern.pattern)


def strict(user: User | None, **options: Any) -> Client:
    client = Client(enforce_csrf_checks=True, **options)
    if user:
        client.force_login(user)
    return client


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root", password="toor")


def test_only_programs_addresses_are_exempt() -> None:
    assert set(exempt(get_resolver().url_patterns)) == API | NO_FORMS


@pytest.mark.parametrize("setting", ["open", "login"])
@pytest.mark.parametrize("name", ADDRESSES)
def test_no_address_takes_anything_of_a_session_without_the_token(
    root: User, submit: Any, settings: Any, name: str, setting: str
) -> None:
    settings.ACCESS = setting
    url = address(name, submit())
    for method in UNSAFE:
        takes_it = method in EXPECTED[name]
        status = strict(root).generic(method, url).status_code
        assert status == 403 or (status in {401, 405} and not takes_it), (method, url)
        if name in FOR_EVERYBODY:
            assert strict(None).generic(method, url).status_code == 403
    assert ImagePrediction.objects.count() == 1


@pytest.mark.parametrize("name", [name for name in ADDRESSES if set(UNSAFE) & set(EXPECTED[name])])
def test_with_the_token_it_does(root: User, submit: Any, name: str) -> None:
    url = address(name, submit())
    for method in set(UNSAFE) & set(EXPECTED[name]):
        for token, is_refused in ((SECRET, False), ("b" * 32, True)):
            client = strict(root, headers={"X-CSRFToken": token})
            client.cookies["csrftoken"] = SECRET
            assert (client.generic(method, url).status_code == 403) == is_refused, (method, url)
