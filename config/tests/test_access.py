"""Who may do what: every address, every method, every role, with ACCESS open and with a login."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from config.tests.environment import Unread, image_bytes
from predictions import access, services
from predictions.models import Correction, ImagePrediction

pytestmark = pytest.mark.django_db
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
ROLES = ["anonymous", "without a role", "viewers", "labelers", "managers"]
# By name and method: from which role on, in the order of ROLES. What an address does not do is left out: 405.
NOBODY = "nobody"  # who has a role may not; METRICS_TOKEN, which has none, does: test_metrics.py
FREE, READ = {"GET": "anonymous"}, {"GET": "viewers"}
EXPECTED: dict[str, dict[str, str]] = {
    **dict.fromkeys(["ping", "livez", "readyz", "v2-live", "v2-ready", "favicon"], FREE),
    "metrics": {"GET": NOBODY},
    "login": {"GET": "anonymous", "POST": "anonymous"},
    "logout": {"POST": "anonymous"},
    "password_reset": {"GET": "anonymous", "POST": "anonymous"},
    **dict.fromkeys(["password_reset_done", "password_reset_complete"], FREE),
    "password_reset_confirm": {"GET": "anonymous", "POST": "anonymous"},
    "password_change": {"GET": "without a role", "POST": "without a role"},
    "password_change_done": {"GET": "without a role"},
    "account": {"GET": "without a role", "POST": "without a role"},
    "revoke": {"POST": "without a role"},
    **dict.fromkeys(["schema", "docs", "redoc"], READ),
    "upload": {"GET": "viewers", "POST": "labelers"},
    **dict.fromkeys(["gallery", "dashboard", "labels", "detail", "card"], READ),
    **dict.fromkeys(["image", "view", "thumbnail"], READ),
    "change": {"POST": "labelers"},
    "undo": {"POST": "labelers"},
    "prediction-list": {"GET": "viewers", "POST": "labelers"},
    "prediction-detail": {"GET": "viewers", "PUT": "labelers", "PATCH": "labelers", "DELETE": "managers"},
    "prediction-reclassify": {"POST": "managers"},
    "prediction-history": {"GET": "viewers"},
    **dict.fromkeys(["models", "compare", "model-list", "model-compare"], READ),
    "change_model": {"POST": "managers"},
    "model-detail": {"GET": "viewers", "DELETE": "managers"},
    "model-promote": {"POST": "managers"},
    "model-rollback": {"POST": "managers"},
    "model-shares": {"PUT": "managers"},
    **dict.fromkeys(["v2", "v2-model", "v2-version", "v2-model-ready", "v2-version-ready"], READ),
    **{name: {"POST": "labelers"} for name in ["v2-model-infer", "v2-version-infer", "classify"]},
    "label-rule-list": {"GET": "viewers"},
}
PERSONAL = {"password_change", "password_change_done", "account", "revoke"}


def names(patterns: Any) -> Iterator[str]:
    """Return the name of every address of the project's own; the admin checks its own."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace != "admin":
                yield from names(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            yield pattern.name or str(pattern.pattern)


ADDRESSES = sorted(set(names(get_resolver().url_patterns)))


def log_in(client: Client, role: str) -> None:
    if role == "anonymous":
        return
    user = User.objects.create_user(role)
    if role in {"viewers", "labelers", "managers"}:
        user.groups.add(Group.objects.get(name=role))
    client.force_login(user)


def address(name: str, prediction: ImagePrediction) -> str:
    arguments: dict[str, dict[str, Any]] = {
        "undo": {"batch": "12345678-1234-5678-1234-567812345678"},
        "revoke": {"digest": "x"},
        "password_reset_confirm": {"uidb64": "x", "token": "x"},
        "model-detail": {"name": "x"},
        "model-promote": {"name": "x"},
    }
    if name.startswith(("v2-model", "v2-version")):
        arguments[name] = {"name": "classifier", **({"version": "x"} if name.startswith("v2-version") else {})}
    has_pk = name in {"detail", "card", "image", "view", "thumbnail"} or name.startswith("prediction-")
    has_pk &= name != "prediction-list"
    return reverse(name, kwargs=arguments.get(name) or ({"pk": prediction.pk} if has_pk else {}))


def allowed(client: Client, method: str, url: str) -> bool:
    """Send a request; return whether it was let in, whatever came of it then."""
    response: Any = client.generic(method, url, headers={"Accept": "*/*"})
    if response.streaming:
        list(response.streaming_content)
    assert response.status_code < 500 or url in {"/readyz", "/v2/health/ready"}
    leads_to_login = response.status_code == 302 and response["Location"].startswith("/login")
    return not leads_to_login and response.status_code not in {401, 403}


@pytest.mark.parametrize("name", ADDRESSES)
def test_nothing_that_strangers_send_is_stored(client: Client, submit: Any, settings: Any, name: str) -> None:
    settings.ACCESS = "login"
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = "x" * 32  # for its sake, Django would look for another one in the body
    sent: dict[str, Any] = {"CONTENT_LENGTH": "1000000", "CONTENT_TYPE": "multipart/form-data", "wsgi.input": Unread()}
    assert client.generic("POST", address(name, submit()), **sent).status_code in {302, 401, 413}


OWN = {"Origin": "http://testserver"}
NULL, FOREIGN, NEIGHBOUR = ({"Origin": origin} for origin in ("null", "https://example.org", "http://testserver:3000"))


@pytest.mark.parametrize(("headers", "is_let_in"), [
    ({}, True), (OWN, True), ({"Sec-Fetch-Site": "same-origin", **FOREIGN}, True), ({"Sec-Fetch-Site": "none"}, True),
    ({"Origin": "https://trusted.example.org", "Sec-Fetch-Site": "cross-site"}, True),
    (NULL, False), (FOREIGN, False), (NEIGHBOUR, False), ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),
])  # fmt: skip
def test_pages_of_other_sites_cannot_drive_the_api(
    client: Client, submit: Any, settings: Any, headers: dict[str, str], is_let_in: bool
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example.org"]
    prediction = submit()
    sent: dict[str, Any] = {"headers": headers, "CONTENT_LENGTH": "1000", "wsgi.input": Unread()}
    for name, methods in EXPECTED.items():
        if name.startswith(("prediction-", "model-", "v2-", "classify")):
            url = address(name, prediction)
            assert client.get(url, headers=headers).status_code != 403
            for method in set(methods) - {"GET"}:
                if not is_let_in:
                    assert client.generic(method, url, **sent).status_code == 403, (method, url)
    response = client.post(f"/predictions/{prediction.pk}/reclassify/", headers=headers)
    assert response.status_code == (202 if is_let_in else 403)


def test_every_address_has_a_rule() -> None:
    assert set(ADDRESSES) == set(EXPECTED) == set(access.RULES)


@pytest.mark.parametrize("setting", ["open", "login"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", ADDRESSES)
def test_every_address_for_every_role(
    client: Client, submit: Any, settings: Any, *, name: str, role: str, setting: str
) -> None:
    settings.ACCESS = setting
    log_in(client, role)
    url = address(name, submit())
    for method in METHODS:
        least = EXPECTED[name].get("GET" if method in {"HEAD", "OPTIONS"} else method)
        if least is None:
            # It does not do that; whoever may not read it is turned away before. Every view answers OPTIONS, and
            # Django's own forms are for everybody, in whatever way they are asked for.
            if method != "OPTIONS" and not name.startswith(("login", "logout", "password")):
                assert client.generic(method, url).status_code in {302, 401, 403, 405}, (method, url)
            continue
        is_open = setting == "open" and name not in PERSONAL
        expected = is_open or (least != NOBODY and ROLES.index(role) >= ROLES.index(least))
        assert allowed(client, method, url) == expected, (method, url)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("action", "least"), [("correct", "labelers"), ("reclassify", "managers"), ("delete", "managers")]
)
def test_every_action_on_chosen_photos(
    client: Client, submit: Any, settings: Any, *, role: str, action: str, least: str
) -> None:
    settings.ACCESS = "login"
    log_in(client, role)
    pk = submit().pk
    ImagePrediction.objects.update(status="done")
    client.post("/gallery/change", {"action": action, "ids": [pk], "label": "cat", "confirmed": "yes"})
    done = {
        "correct": Correction.objects.exists(),
        "reclassify": ImagePrediction.objects.filter(status="pending").exists(),
        "delete": not ImagePrediction.objects.exists(),
    }
    assert done[action] == (ROLES.index(role) >= ROLES.index(least))


@pytest.mark.parametrize(("role", "offered"), [
    ("viewers", []), ("labelers", ["correct"]), ("managers", ["correct", "reclassify", "delete"]),
])  # fmt: skip
@pytest.mark.parametrize("page", ["gallery", "detail"])
def test_pages_offer_what_the_role_may(
    client: Client, submit: Any, settings: Any, *, role: str, offered: list[str], page: str
) -> None:
    settings.ACCESS = "login"
    log_in(client, role)
    content = client.get(address(page, submit())).content.decode()
    assert [action for action in ("correct", "reclassify", "delete") if f'value="{action}"' in content] == offered
    assert ("Upload</a>" in content) == (role != "viewers")


def test_a_viewer_comes_to_the_gallery(client: Client, settings: Any) -> None:
    settings.ACCESS = "login"
    log_in(client, "viewers")
    assert client.get("/")["Location"] == "/gallery/"


def test_who_has_no_role_is_told_whom_to_ask(client: Client, settings: Any) -> None:
    settings.ACCESS = "login"
    log_in(client, "without a role")
    response = client.get("/gallery/")
    assert response.status_code == 403
    assert "whoever runs this service can give it a role" in response.content.decode()


def test_pages_lead_to_the_login_and_back(client: Client, settings: Any) -> None:
    settings.ACCESS = "login"
    user = User.objects.create_user("ada", password="lovelace")
    user.groups.add(Group.objects.get(name="labelers"))
    response = client.get("/gallery/?label=cat")
    assert response["Location"] == "/login?next=/gallery/%3Flabel%3Dcat"
    assert b"correct username" in client.post("/login", {"username": "ada", "password": "wrong"}).content
    response = client.post("/login", {"username": "ada", "password": "lovelace", "next": "/gallery/"})
    assert response["Location"] == "/gallery/"
    assert b"Log out ada" in client.get("/gallery/").content
    client.post("/logout")
    assert client.get("/gallery/").status_code == 302


def test_what_is_sent_after_the_session_has_ended_leads_back_to_the_page_that_it_was_on(
    client: Client, settings: Any
) -> None:
    settings.ACCESS = "login"

    def send(back: str, **options: Any) -> Any:
        form = urlencode({"action": "delete", "ids": "1", "back": back})
        return client.post("/gallery/change", form, "application/x-www-form-urlencoded", **options)

    page = send("/gallery/?label=cat", follow=True)
    assert page.redirect_chain == [("/login?next=/gallery/%3Flabel%3Dcat", 302)]
    assert "Nothing was changed: log in, then try again." in page.content.decode()
    for target in ("", "https://example.org/", "/" + "x" * 3000):
        assert send(target)["Location"] == "/login?next=/"


def test_the_login_leads_to_no_other_host(client: Client) -> None:
    User.objects.create_user("ada", password="lovelace")
    for target in ("https://example.org/", "//example.org", "javascript:alert(1)", "/\\example.org"):
        response = client.post("/login", {"username": "ada", "password": "lovelace", "next": target})
        assert response["Location"] == "/"


def test_the_api_asks_for_a_token(client: Client, settings: Any) -> None:
    settings.ACCESS = "login"
    response = client.get("/predictions/")
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")


def test_an_inactive_user_is_nobody(client: Client, settings: Any) -> None:
    settings.ACCESS = "login"
    log_in(client, "managers")
    User.objects.update(is_active=False)
    assert client.get("/gallery/").status_code == 302
    assert client.get("/predictions/").status_code == 401


def test_a_view_without_a_rule_is_for_nobody(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(access.RULES, "gallery")
    monkeypatch.delitem(access.RULES, "prediction-list")
    client.force_login(User.objects.create_superuser("root"))
    assert client.get("/gallery/").status_code == 403
    assert client.get("/predictions/").status_code == 403


def test_uploads_are_kept_in_the_name_of_who_sent_them(client: Client, settings: Any) -> None:
    settings.ACCESS = "login"
    log_in(client, "labelers")
    client.post("/predictions/", {"file": BytesIO(image_bytes())})
    assert ImagePrediction.objects.get().uploaded_by == User.objects.get()
    assert services.remove(ImagePrediction.objects.all()) == 1
