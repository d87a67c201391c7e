"""Who asks too much is told to wait, and for how long; everybody else notices nothing."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client, RequestFactory

from config import limits, rates
from config.tests.environment import Unread, image_bytes
from predictions.tokens import ApiToken

pytestmark = pytest.mark.django_db
BROWSER = {"Accept": "text/html"}
HEADERS = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]


def statuses(client: Client, path: str, times: int, **options: Any) -> list[int]:
    return [client.get(path, **options).status_code for _ in range(times)]


def test_the_answer_counts_down_and_then_says_when_to_come_back(client: Client, allow: Any) -> None:
    allow(reads="2/hour")
    first, second, refused = (client.get("/predictions/") for _ in range(3))
    assert [first[name] for name in HEADERS[:2]] == ["2", "1"]
    assert [second[name] for name in HEADERS[:2]] == ["2", "0"]
    assert (first.status_code, second.status_code, refused.status_code) == (200, 200, 429)
    assert refused.json() == {"detail": "There were too many requests from you; try again in a moment"}
    assert refused["RateLimit-Remaining"] == "0"
    assert 1 <= int(refused["Retry-After"]) == int(refused["RateLimit-Reset"]) <= 3600


def test_people_get_a_page(client: Client, allow: Any) -> None:
    allow(reads="1/hour")
    client.get("/gallery/")
    response = client.get("/gallery/", headers=BROWSER)
    assert response.status_code == 429
    assert b"<h1>Too many requests</h1>" in response.content


def test_after_the_window_it_begins_anew(client: Client, allow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(reads="1/hour")
    client.get("/predictions/")
    wait = int(client.get("/predictions/")["Retry-After"])
    monkeypatch.setattr("config.rates.time", lambda: 1_800_000_000.0 + wait - 2)
    assert client.get("/predictions/").status_code == 429
    monkeypatch.setattr("config.rates.time", lambda: 1_800_000_000.0 + wait)
    assert client.get("/predictions/").status_code == 200


def test_of_several_rates_the_tightest_is_told(client: Client, allow: Any) -> None:
    allow(reads="3/minute;2/hour")
    told = [client.get("/predictions/") for _ in range(3)]
    assert [response["RateLimit-Limit"] for response in told] == ["2", "2", "2"]
    assert told[2].status_code == 429
    assert int(told[2]["Retry-After"]) > 60 or int(told[2]["RateLimit-Reset"]) == int(told[2]["Retry-After"])


def test_each_kind_of_request_has_rates_of_its_own(client: Client, submit: Any, upload: Any, allow: Any) -> None:
    pk = submit().pk
    allow(reads="1/hour", uploads="1/hour", writes="1/hour", parts="1/hour")
    requests: list[Callable[[], Any]] = [
        lambda: client.get("/predictions/"),
        lambda: client.post("/predictions/", {"file": upload()}),
        lambda: client.put(f"/predictions/{pk}/", {"top_prediction": "cat", "confidence": 1}, "application/json"),
        lambda: client.get(f"/gallery/{pk}/card"),
    ]
    assert [request().status_code for request in requests] == [200, 201, 200, 200]
    assert [request().status_code for request in requests] == [429] * 4
    assert client.post("/", {"file": upload()}).status_code == 429  # page and API upload alike


@pytest.mark.parametrize("path", ["/ping", "/livez", "/readyz", "/static/css/site.css"])
def test_health_and_static_files_are_free(client: Client, allow: Any, path: str) -> None:
    allow(reads="1/hour")
    answers: list[Any] = [client.get(path) for _ in range(3)]
    for response in answers:
        if response.streaming:
            list(response.streaming_content)
    assert {response.status_code for response in answers} <= {200, 503}
    assert not any("RateLimit-Limit" in response for response in answers)
    assert client.get("/predictions/").status_code == 200


def test_a_gallery_full_of_thumbnails_takes_nothing_of_its_readers_rate(
    client: Client, submit: Any, allow: Any
) -> None:
    pk = submit().pk
    allow(reads="1/hour", parts="1000/hour")
    assert set(statuses(client, f"/gallery/{pk}/thumbnail", 60)) == {302}
    assert client.get("/gallery/").status_code == 200


def test_without_rates_nothing_is_counted_and_nothing_said(client: Client, allow: Any) -> None:
    allow()
    response = client.get("/predictions/")
    assert not any(name in response for name in HEADERS)


def test_every_file_counts_though_they_come_in_one_request(client: Client, upload: Any, allow: Any) -> None:
    allow(uploads="5/hour")
    for path, field in (("/predictions/", "files"), ("/", "file")):
        rates.counter.cache_clear()
        response = client.post(path, {field: [upload() for _ in range(4)]})
        assert response["RateLimit-Remaining"] == "1"
        assert client.post(path, {field: [upload() for _ in range(4)]})["RateLimit-Remaining"] == "0"
        assert client.post(path, {field: [upload()]}).status_code == 429


def test_a_refused_upload_is_not_read(client: Client, upload: Any, allow: Any) -> None:
    allow(uploads="1/hour")
    client.post("/predictions/", {"file": upload()})
    sent: dict[str, Any] = {"CONTENT_LENGTH": "1000", "wsgi.input": Unread(), "CONTENT_TYPE": "multipart/form-data"}
    assert client.generic("POST", "/predictions/", **sent).status_code == 429
    assert Client(enforce_csrf_checks=True).generic("POST", "/", **sent).status_code == 429


# --- Who is who


def test_users_at_one_address_do_not_share_a_rate(allow: Any) -> None:
    allow(reads="1/hour")
    ada, bob = Client(), Client()
    for client, name in ((ada, "ada"), (bob, "bob")):
        client.force_login(User.objects.create_user(name))
    assert [statuses(client, "/predictions/", 2) for client in (ada, bob, Client())] == [[200, 429]] * 3


def test_a_user_has_one_rate_at_all_addresses(allow: Any) -> None:
    allow(reads="1/hour")
    client = Client()
    client.force_login(User.objects.create_user("ada"))
    assert client.get("/predictions/", REMOTE_ADDR="192.0.2.1").status_code == 200
    assert client.get("/predictions/", REMOTE_ADDR="192.0.2.2").status_code == 429


def test_a_token_has_one_rate_at_all_addresses(client: Client, allow: Any) -> None:
    allow(reads="1/hour")
    token = {"Authorization": f"Bearer {ApiToken.objects.create(User.objects.create_user('ada'))[1]}"}
    assert client.get("/predictions/", headers=token, REMOTE_ADDR="192.0.2.1").status_code == 200
    assert client.get("/predictions/", headers=token, REMOTE_ADDR="192.0.2.2").status_code == 429


def test_tokens_passwords_and_sessions_of_a_user_share_a_rate(allow: Any, upload: Any) -> None:
    allow(reads="3/hour", uploads="3/hour")
    user = User.objects.create_user("ada", password="lovelace")
    browser = Client()
    browser.force_login(user)
    password = f"Basic {b64encode(b'ada:lovelace').decode()}"
    keys = [f"Bearer {ApiToken.objects.create(user)[1]}", f"Bearer {ApiToken.objects.create(user)[1]}", password]
    told = [
        Client(headers={"Authorization": key}).get("/predictions/", REMOTE_ADDR=f"192.0.2.{number}")
        for number, key in enumerate(keys)
    ]
    assert [(answer.status_code, answer["RateLimit-Remaining"]) for answer in told] == [(200, left) for left in "210"]
    assert browser.get("/predictions/").status_code == 429
    fresh = Client(headers={"Authorization": f"Bearer {ApiToken.objects.create(user)[1]}"}, REMOTE_ADDR="192.0.2.9")
    refused = fresh.get("/predictions/")
    assert (refused.status_code, refused["RateLimit-Remaining"], "Retry-After" in refused) == (429, "0", True)
    assert fresh.post("/predictions/", {"files": [upload() for _ in range(3)]})["RateLimit-Remaining"] == "0"
    assert browser.post("/predictions/", {"file": upload()}).status_code == 429


def test_letters_about_forgotten_passwords_are_few(allow: Any, mailoutbox: list[Any]) -> None:
    allow(logins="2/hour")
    User.objects.create_user("ada", "ada@example.org", "lovelace")

    def ask(email: str, remote: str) -> int:
        return Client().post("/password/forgotten", {"email": email}, REMOTE_ADDR=remote).status_code

    assert [ask("ada@example.org", f"192.0.2.{number}") for number in range(3)] == [302, 302, 429]
    assert ask("ADA@example.org", "192.0.2.9") == 429
    assert len(mailoutbox) == 2
    assert [ask(f"{number}@example.org", "192.0.2.8") for number in range(3)] == [302, 302, 429]


def test_made_up_tokens_and_sessions_do_not_help_to_escape(allow: Any) -> None:
    allow(reads="2/hour")
    found = []
    for number in range(4):
        client = Client()
        client.cookies["sessionid"] = f"{number}" * 32
        found.append(client.get("/predictions/", headers={"Authorization": f"Bearer {number}"}).status_code)
    assert found == [401, 401, 429, 429]


def test_who_has_no_session_costs_no_query_and_may_be_cached_alike(client: Client, allow: Any, submit: Any) -> None:
    pk = submit().pk
    allow(reads="9/hour", parts="9/hour")
    with CaptureQueries() as queries:
        response = client.get(f"/gallery/{pk}/thumbnail")
    assert len(queries) == 1
    assert "Cookie" not in response.get("Vary", "")


class CaptureQueries(list[str]):
    def __enter__(self) -> "CaptureQueries":
        self.wrapper = connection.execute_wrapper(self._note)
        self.wrapper.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.wrapper.__exit__(*error)

    def _note(self, execute: Any, sql: str, *arguments: Any) -> Any:
        self.append(sql)
        return execute(sql, *arguments)


@pytest.mark.parametrize(
    ("trust", "remote", "forwarded", "expected"),
    [
        (False, "192.0.2.1", "", "192.0.2.1"),
        (False, "192.0.2.1", "198.51.100.9", "192.0.2.1"),
        (True, "127.0.0.1", "198.51.100.9", "198.51.100.9"),
        (True, "127.0.0.1", "203.0.113.5, 198.51.100.9", "198.51.100.9"),
        (True, "127.0.0.1", "", "127.0.0.1"),
        (True, "127.0.0.1", "nonsense", "unknown"),
        (True, "127.0.0.1", "198.51.100.9, ", "127.0.0.1"),
        (False, "", "", "unknown"),
        (False, "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        (False, "2001:db8:1:2:ffff::1", "", "2001:db8:1:2::/64"),
        (False, "::ffff:192.0.2.1", "", "192.0.2.1"),
    ],
)
def test_the_address_is_what_cannot_be_made_up(
    settings: Any, trust: bool, remote: str, forwarded: str, expected: str
) -> None:
    settings.TRUST_PROXY = trust
    meta = {"REMOTE_ADDR": remote, **({"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {})}
    assert limits.address(RequestFactory().get("/", **meta).META) == expected  # type: ignore[arg-type]


def test_an_upload_within_its_rate_is_an_upload(client: Client, allow: Any) -> None:
    allow(uploads="9/hour")
    response = client.post("/predictions/", {"file": SimpleUploadedFile("a.jpg", image_bytes())})
    assert (response.status_code, response["RateLimit-Remaining"]) == (201, "8")
