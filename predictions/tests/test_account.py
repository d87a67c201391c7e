"""A person's own page: tokens, and passwords changed and forgotten."""

import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from predictions.tokens import ApiToken

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(client: Client, settings: Any) -> User:
    settings.ACCESS = "login"
    user = User.objects.create_user("ada", "ada@example.org", "countess of lovelace")
    user.groups.add(Group.objects.get(name="labelers"))
    client.force_login(user)
    return user


def make(client: Client, name: str = "backup", days: str = "30") -> str:
    """Make a token on the page; return it, as it is shown there."""
    response = client.post("/account/", {"name": name, "days": days})
    found = re.search(r'<code class="secret">(\w+)</code>', response.content.decode())
    assert found
    assert "no-store" in response["Cache-Control"]
    return found[1]


def use(token: str, path: str = "/predictions/") -> Any:
    return Client().get(path, headers={"Authorization": f"Bearer {token}"})


def test_a_token_is_made_used_seen_and_revoked(client: Client, ada: User) -> None:
    token = make(client)
    page = client.get("/account/").content.decode()
    assert "backup" in page
    assert "never" in page
    assert token not in page
    assert use(token).status_code == 200
    assert "never" not in client.get("/account/").content.decode()
    client.post(f"/account/{ApiToken.objects.get().digest}/revoke")
    assert use(token).status_code == 401


def test_only_its_hash_is_stored(client: Client, ada: User) -> None:
    token = make(client)
    stored = ApiToken.objects.values().get()
    assert token.startswith("ic_")
    assert not any(token in str(value) for value in stored.values())
    assert stored["digest"] != token


def test_a_token_may_what_its_owner_may(client: Client, ada: User) -> None:
    token = make(client)
    assert use(token, "/schema").status_code == 200
    ada.groups.clear()
    assert use(token).status_code == 403
    ada.is_active = False
    ada.save()
    assert use(token).status_code == 401


def test_a_token_changes_rows_without_a_form(client: Client, ada: User, submit: Any) -> None:
    """Sessions need the token of a form; a program that sends this header needs none."""
    pk, header = submit().pk, {"Authorization": f"Bearer {make(client)}"}
    program = Client(enforce_csrf_checks=True)
    body = {"top_prediction": "cat"}
    answer = program.patch(f"/predictions/{pk}/", body, content_type="application/json", headers=header)
    assert answer.status_code == 200
    assert program.delete(f"/predictions/{pk}/", headers=header).status_code == 403  # managers may


def test_an_expired_token_holds_no_more(client: Client, ada: User) -> None:
    token, unlimited = make(client), make(client, "other", days="")
    ApiToken.objects.filter(name="backup").update(expiry=timezone.now() - timedelta(seconds=1))
    assert use(token).status_code == 401
    assert use(unlimited).status_code == 200


@pytest.mark.parametrize("token", ["", "x", "ic_" + "0" * 61, "x y", "\xff\xfe", "ä" * 40, "a" * 10_000])
def test_a_senseless_token_is_refused(client: Client, ada: User, token: str) -> None:
    make(client)
    assert use(token).status_code == 401


def test_using_a_token_writes_once_a_minute(client: Client, ada: User, django_assert_num_queries: Any) -> None:
    token = make(client)
    use(token)
    with django_assert_num_queries(5):  # the token, its owner's others, two of permissions, the rows: no write
        use(token)


@pytest.mark.parametrize("data", [{"name": ""}, {"name": "x" * 101}, {"name": "x", "days": "1000"}, {}])
def test_a_senseless_form_makes_no_token(client: Client, ada: User, data: dict[str, str]) -> None:
    assert client.post("/account/", data).status_code == 400
    assert not ApiToken.objects.exists()


def test_nobody_revokes_anothers_token(client: Client, ada: User) -> None:
    make(client)
    client.force_login(User.objects.create_user("mallory"))
    assert client.post(f"/account/{ApiToken.objects.get().digest}/revoke").status_code == 404
    assert "backup" not in client.get("/account/").content.decode()


def test_a_name_is_text_and_no_markup(client: Client, ada: User) -> None:
    make(client, "<script>alert(1)</script>")
    assert "<script>alert" not in client.get("/account/").content.decode()


def test_a_password_is_changed(client: Client, ada: User) -> None:
    new = "quite another phrase"
    data = {"old_password": "countess of lovelace", "new_password1": new, "new_password2": new}
    response = client.post("/password/change", data, follow=True)
    assert "Password changed" in response.content.decode()
    assert client.login(username="ada", password=new)


def test_a_forgotten_password_is_replaced_by_letter(ada: User) -> None:
    person, new = Client(), "quite another phrase"
    assert "on its way" in person.post("/password/forgotten", {"email": ada.email}, follow=True).content.decode()
    [letter] = mail.outbox
    link = re.search(r"http://testserver(/password/\S+)", str(letter.body))
    assert link
    form: Any = person.get(link[1], follow=True)
    response = person.post(form.redirect_chain[-1][0], {"new_password1": new, "new_password2": new}, follow=True)
    assert "Password changed" in response.content.decode()
    assert person.login(username="ada", password=new)
    assert "holds no more" in Client().get(link[1], follow=True).content.decode()


OLD, NEW = "countess of lovelace", "quite another phrase"
NEW_TWICE = {"new_password1": NEW, "new_password2": NEW}


def change_it(ada: User, client: Client) -> Any:
    return client.post("/password/change", {"old_password": OLD, **NEW_TWICE}, follow=True)


def forget_it(ada: User, client: Client) -> Any:
    client.post("/password/forgotten", {"email": ada.email})
    path = str(mail.outbox[-1].body).partition("http://testserver")[2].split()[0]
    form: Any = client.get(path, follow=True)
    return client.post(form.redirect_chain[-1][0], NEW_TWICE, follow=True)


def have_it_set(ada: User, client: Client) -> Any:
    root = Client()
    root.force_login(User.objects.create_superuser("root"))
    data = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    return root.post(f"/admin/auth/user/{ada.pk}/password/", data, follow=True)


@pytest.mark.parametrize("way", [change_it, forget_it, have_it_set])
def test_with_the_password_end_all_tokens_and_other_sessions(client: Client, ada: User, way: Any) -> None:
    """Somebody who knew the old one may have made tokens, and nobody can tell which."""
    tokens = [make(client), make(client, "for ever", days="")]
    other, _ = Client(), ApiToken.objects.create(User.objects.create_user("bob"), name="bob's")
    other.force_login(ada)
    assert way(ada, client).status_code == 200
    assert Client().login(username="ada", password=NEW)
    assert [use(token).status_code for token in tokens] == [401, 401]
    assert other.get("/account/").status_code == 302
    assert ApiToken.objects.get().name == "bob's"


@pytest.mark.parametrize("typed", [NEW, "", "x"])
def test_manage_changepassword_ends_them_too(
    client: Client, ada: User, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    token = make(client)
    monkeypatch.setattr("getpass.getpass", lambda prompt: typed)
    out = StringIO()
    if typed == NEW:
        call_command("changepassword", "ada", stdout=out)
        assert "tokens revoked: 1" in out.getvalue()
    else:
        with pytest.raises(CommandError):
            call_command("changepassword", "ada", stdout=out)
    assert use(token).status_code == (401 if typed == NEW else 200)
    assert Client().login(username="ada", password=typed or OLD) == (typed != "x")


@pytest.mark.parametrize("wrong", [{"old_password": "x"}, {"new_password2": "x"}, {"new_password1": ""}])
def test_a_password_that_is_not_changed_ends_no_token(client: Client, ada: User, wrong: dict[str, str]) -> None:
    token = make(client)
    assert client.post("/password/change", {"old_password": OLD, **NEW_TWICE, **wrong}).status_code == 200
    assert use(token).status_code == 200


def test_the_pages_say_so_before_and_after(client: Client, ada: User) -> None:
    assert "your tokens are revoked" in client.get("/password/change").content.decode()
    assert "make new ones" in change_it(ada, client).content.decode()


def test_the_admin_has_the_same_page(client: Client, ada: User) -> None:
    ada.is_staff = True
    ada.save()
    token = make(client)
    assert "your tokens are revoked" in client.get("/admin/password_change/").content.decode()
    client.post("/admin/password_change/", {"old_password": OLD, **NEW_TWICE})
    assert use(token).status_code == 401


def test_an_unknown_address_gets_no_letter_and_the_same_answer(ada: User) -> None:
    response = Client().post("/password/forgotten", {"email": "nobody@example.org"}, follow=True)
    assert "on its way" in response.content.decode()
    assert not mail.outbox
