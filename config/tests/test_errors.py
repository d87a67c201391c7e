"""Errors answer people with a page and the way back, API clients with a sentence, and nobody with details."""

import re
from html import unescape
from typing import Any

import pytest
from django.core.exceptions import BadRequest, PermissionDenied, TooManyFilesSent
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import include, path, resolve, reverse
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from config import errors, health
from config.tests.environment import ROOT, Unread
from config.tests.test_house import run
from config.urls import handler400, handler403, handler404, handler500  # noqa: F401  (this module is a URLconf, too)
from predictions import access, services

SECRET = "detail-that-nobody-may-see"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PROGRAM = {"Accept": "application/json"}
ERRORS: dict[str, Exception] = {
    "400": BadRequest(SECRET),
    "403": PermissionDenied(SECRET),
    "404": Http404(SECRET),
    "500": RuntimeError(SECRET),
}


def fail(request: HttpRequest, name: str) -> HttpResponse:
    raise ERRORS[name]


def fail_of_many_files(request: HttpRequest) -> HttpResponse:
    raise TooManyFilesSent(SECRET)


def answer(request: HttpRequest, status: int) -> HttpResponse:
    return errors.respond(request, status)


@api_view(["GET", "HEAD"])
def fail_in_drf(request: Request) -> Response:
    raise RuntimeError(SECRET)


def form(request: HttpRequest) -> HttpResponse:
    raise AssertionError("a form without a token got through")


urlpatterns = [
    path("fail/<str:name>", fail, name="failing"),
    path("many", fail_of_many_files, name="failing"),
    path("answer/<int:status>", answer, name="failing"),
    path("predictions/fail", fail_in_drf, name="failing"),
    path("predictions/fail/<str:name>", fail, name="failing"),
    path("form", form, name="failing"),
    path("", include("config.urls")),
]
here = pytest.mark.urls(__name__)


@pytest.fixture(autouse=True)
def _for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address without a rule is for nobody; these have one."""
    monkeypatch.setitem(access.RULES, "failing", access.PUBLIC)


@pytest.fixture
def visitor() -> Client:
    """A client that gets the answer to a failure instead of the exception, and whose forms must be genuine."""
    return Client(raise_request_exception=False, enforce_csrf_checks=True)


def assert_page(response: Any, status: int, sentence: str = "") -> str:
    """Check a page: its sentence, its links, no details, nothing that a strict CSP would block. Return its body."""
    body = unescape(response.content.decode())
    assert (response.status_code, response["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert sentence in body
    assert re.search(r"<title>[A-Z][A-Za-z ]+</title>", body)
    links = re.findall(r'href="([^"]+)"', body[body.index("<main") :])
    assert [resolve(link).url_name for link in links] == ["upload", "gallery"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", body)
    assert_discreet(body)
    return body


def assert_sentence(response: Any, status: int, sentence: str = "") -> None:
    assert (response.status_code, response["Content-Type"]) == (status, "application/json")
    assert list(response.json()) == ["detail"]
    assert response.json()["detail"] == (sentence or errors.SENTENCES[status])
    assert_discreet(response.content.decode())


def assert_discreet(body: str) -> None:
    for detail in (SECRET, "Traceback", "Error", "Exception", str(ROOT), ".py", "urlpatterns", "DEBUG"):
        assert detail not in body


@here
@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_an_exception_is_a_page_to_a_browser_and_a_sentence_to_a_program(visitor: Client, status: int) -> None:
    page = visitor.get(f"/fail/{status}", headers=BROWSER)
    assert_page(page, status, "logged" if status == 500 else errors.SENTENCES[status])
    assert "Accept" in page["Vary"]
    assert_sentence(visitor.get(f"/fail/{status}", headers=PROGRAM), status)
    for headers in ({}, BROWSER, PROGRAM):
        assert_sentence(visitor.get(f"/predictions/fail/{status}", headers=headers), status)


@here
@pytest.mark.parametrize("status", list(errors.SENTENCES))
def test_any_code_can_answer_with_any_of_them(visitor: Client, status: int) -> None:
    body = assert_page(visitor.get(f"/answer/{status}", headers=BROWSER), status)
    assert (ROOT / "templates" / f"{status}.html").exists()
    assert body.count("<main") == body.count("<h1>") == 1
    assert_sentence(visitor.get(f"/answer/{status}", headers=PROGRAM), status)


@here
@pytest.mark.parametrize("where", ["/fail/500", "/fail/404", "/predictions/fail", "/predictions/fail/404"])
def test_head_gets_the_status_alone(visitor: Client, where: str) -> None:
    response = visitor.head(where)
    assert response.status_code == (404 if "404" in where else 500)
    assert response.content == b""


@here
@pytest.mark.parametrize("headers", [{}, BROWSER, PROGRAM])
def test_a_failure_in_drf_is_a_sentence(visitor: Client, headers: dict[str, str]) -> None:
    assert_sentence(visitor.get("/predictions/fail", headers=headers), 500, "Something went wrong; it was logged")


def test_failures_of_the_real_addresses_are_sentences(visitor: Client, monkeypatch: Any, upload: Any) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(health, "CHECKS", {"database": broken})
    monkeypatch.setattr(services, "submit", broken)
    assert_sentence(visitor.get("/readyz"), 500)
    assert_sentence(visitor.post("/predictions/", {"file": upload()}), 500)


@here
def test_the_page_of_a_failure_needs_no_database_and_no_session(visitor: Client) -> None:
    # Without the database mark, pytest-django refuses every query; the session behind this cookie would be one.
    visitor.cookies["sessionid"] = "x" * 32
    assert_page(visitor.get("/fail/500", headers=BROWSER), 500)


@pytest.mark.django_db
def test_the_page_of_a_failure_survives_a_broken_database(visitor: Client) -> None:
    def away(*_: Any) -> None:
        raise RuntimeError(SECRET)

    with connection.execute_wrapper(away):
        assert_page(visitor.get("/gallery/", headers=BROWSER), 500)


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch"])
@pytest.mark.parametrize(
    "where", ["/predictions/1/nonsense/", "/predictions/1/nonsense", "/schema/x", "/ping/", "/livez/"]
)
def test_unknown_api_addresses_are_sentences(visitor: Client, where: str, method: str) -> None:
    for headers in ({"Accept": "*/*"}, BROWSER):
        assert_sentence(getattr(visitor, method)(where, headers=headers), 404)


@pytest.mark.django_db
@pytest.mark.parametrize("where", ["/nonsense", "/gallery/99/", "/pings", "/predictionsx/", "/admin/nonsense/"])
def test_unknown_pages_are_pages(visitor: Client, admin_client: Client, where: str) -> None:
    client = admin_client if "admin" in where else visitor
    for headers in ({}, {"Accept": "*/*"}, BROWSER):
        assert_page(client.get(where, headers=headers), 404, errors.SENTENCES[404])


@pytest.mark.django_db
def test_drf_keeps_its_own_answers(visitor: Client) -> None:
    assert_sentence(visitor.get("/predictions/99/"), 404, "Prediction not found")
    assert_sentence(visitor.patch("/predictions/"), 405, 'Method "PATCH" not allowed.')
    assert "Django REST framework" in visitor.get("/predictions/99/", headers=BROWSER).content.decode()


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("image/avif,*/*;q=0.8", False),
        ("text/html;q=0.9,application/json;q=0.8", False),
        ("text/html,application/json", False),
        ("application/json,text/html", True),
        ("application/json, */*;q=0.1", True),
        ("application/*", True),
        ("text/html;q=0.1,application/json", True),
        ("application/json;q=0", False),
        ("text/html;q=nan", False),
        ("text/html;a*=made-up''%ff", False),
        ("text/html;a*='''''", False),
        (";,/;=,;q=", False),
        ("text/html;" + "a=b;" * 10_000, False),
    ],
)
def test_what_a_client_accepts_decides(accept: str, expected: bool) -> None:
    assert errors.wants_json(RequestFactory().get("/", headers={"Accept": accept})) is expected


@here
def test_a_form_that_is_not_ours_is_refused_in_words(visitor: Client) -> None:
    assert_page(visitor.post("/form", headers=BROWSER), 403, errors.CSRF_FAILED)
    assert_sentence(visitor.post("/form", headers=PROGRAM), 403, errors.CSRF_FAILED)
    assert_page(visitor.post(reverse("upload"), headers=BROWSER), 403, errors.CSRF_FAILED)


@pytest.mark.parametrize("where", ["/ping", "/livez", "/readyz"])
def test_a_post_to_what_is_only_read_is_refused_for_its_method(visitor: Client, where: str) -> None:
    response = visitor.post(where)
    assert_sentence(response, 405, "This address is not to be opened, or not in this way")
    assert response["Allow"] == "GET, HEAD"


def test_what_only_takes_forms_is_a_page_to_whoever_opens_it(visitor: Client) -> None:
    response = visitor.get(reverse("change"), headers=BROWSER)
    assert_page(response, 405, "This address is not to be opened, or not in this way.")
    assert response["Allow"] == "POST"


@here
def test_too_many_parts_are_named(visitor: Client) -> None:
    assert_page(visitor.get("/many", headers=BROWSER), 400, errors.TOO_MANY_PARTS)


def test_a_foreign_host_gets_a_page_too(visitor: Client) -> None:
    assert_page(visitor.get("/nonsense", headers={"Host": "evil.example", **BROWSER}), 400)
    assert_sentence(visitor.get("/predictions", headers={"Host": "evil.example"}), 400)


@pytest.mark.parametrize(("where", "largest"), [
    ("/", "1"), ("/predictions/", "1"), ("/predictions/1/", "0.25"), ("/login", "0.25"), ("/admin/login/", "0.25"),
    ("/ping", "0.25"),
])  # fmt: skip
def test_too_large_a_request_is_refused_before_it_is_read(settings: Any, where: str, largest: str) -> None:
    settings.MAX_REQUEST_MB = 1
    client = Client(enforce_csrf_checks=True)
    length = str(int(float(largest) * 1_000_000) + 1)
    sent: dict[str, Any] = {"CONTENT_LENGTH": length, "wsgi.input": Unread(), "CONTENT_TYPE": "multipart/form-data"}
    sentence = f"The request is too large: at most {largest} MB are accepted at a time"
    assert_sentence(client.generic("POST", where, headers=PROGRAM, **sent), 413, sentence)
    if not where.startswith(errors.API_PATHS) and where != "/ping":
        assert_page(client.generic("POST", where, headers=BROWSER, **sent), 413, sentence)


@pytest.mark.parametrize(("length", "status"), [("250000", 405), ("", 405), ("many", 405), ("-5", 405)])
def test_what_is_not_above_the_limit_passes(visitor: Client, length: str, status: int) -> None:
    assert visitor.generic("POST", "/ping", CONTENT_LENGTH=length).status_code == status


def test_a_status_without_a_page_of_its_own_has_one(visitor: Client) -> None:
    response = visitor.post("/", headers={"Transfer-Encoding": "chunked", **BROWSER})
    assert "<h1>Length Required</h1>" in assert_page(response, 411, "chunked bodies are not accepted")


def test_a_request_must_have_room_for_its_file() -> None:
    result = run("import config.settings", MAX_UPLOAD_MB="300", MAX_REQUEST_MB="300")
    assert "MAX_REQUEST_MB must exceed MAX_UPLOAD_MB" in result.stderr
    assert run("import config.settings", MAX_UPLOAD_MB="300", MAX_REQUEST_MB="301").returncode == 0
