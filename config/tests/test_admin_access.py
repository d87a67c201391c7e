"""Who may do what in the admin, and with a token: every address, every role, with ACCESS open and with a login."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from django_q.signing import SignedPackage

from classifier.models import ModelVersion
from config.tests.test_access import ADDRESSES, EXPECTED, METHODS, NOBODY, ROLES, address, allowed
from config.tests.test_csrf import UNSAFE, strict
from predictions.labelmap import LabelRule
from predictions.models import Correction, ImagePrediction
from predictions.tokens import ApiToken

pytestmark = pytest.mark.django_db
STAFF = ["staff without a role", "viewers", "labelers", "managers", "superuser"]  # each with "Staff status"
ROOT = "superuser"
# Which of STAFF may, from whom on: see, add, change, delete. NOBODY: not even the superuser.
MODELS: dict[str, tuple[str, str, str, str]] = {
    "predictions_imageprediction": ("viewers", NOBODY, "labelers", "managers"),
    "predictions_correction": ("viewers", NOBODY, NOBODY, NOBODY),
    "predictions_labelrule": ("viewers", "labelers", "labelers", "managers"),
    "classifier_modelversion": ("viewers", NOBODY, NOBODY, NOBODY),
    "auth_group": (ROOT, ROOT, ROOT, ROOT),
    "auth_user": (ROOT, ROOT, ROOT, ROOT),
    "django_q_schedule": ("managers", ROOT, ROOT, ROOT),
    "django_q_ormq": ("managers", NOBODY, ROOT, ROOT),
    "django_q_success": ("managers", NOBODY, ROOT, ROOT),
    "django_q_failure": ("managers", NOBODY, ROOT, ROOT),
}
EVERYBODY, ANY_STAFF = "anonymous", STAFF[0]
# By name: who may GET and who may POST.
PAGES: dict[str, tuple[str, str]] = {
    "login": (EVERYBODY, EVERYBODY),
    "logout": (EVERYBODY, EVERYBODY),  # GET is no way to do it: 405
    **dict.fromkeys(["index", "app_list", "jsi18n", "view_on_site", "password_change_done"], (ANY_STAFF, ANY_STAFF)),
    "autocomplete": (NOBODY, ANY_STAFF),  # no field uses it, and it has no POST: 405
    # Everybody who has logged in: it is the one at /password/change.
    "password_change": ("without a role", "without a role"),
    # Those without a name: what is not there, and the old addresses of rows, which lead to the new ones.
    "(?P<url>.*)$": (ANY_STAFF, ANY_STAFF),
    "<path:object_id>/": (ANY_STAFF, ANY_STAFF),
}
for model, (see, add, change, delete) in MODELS.items():
    PAGES |= {f"{model}_{page}": (see, change) for page in ("changelist", "change")}
    PAGES |= {f"{model}_history": (see, see), f"{model}_add": (add, add), f"{model}_delete": (delete, delete)}
    PAGES[f"{model}_changelist"] = (see, see)  # of actions, each asks for its own: predictions/tests/test_admin.py
PAGES["predictions_labelrule_change"] = ("labelers", "labelers")  # it leads to the form for many
PAGES["auth_user_password_change"] = (ROOT, ROOT)


def admin_names(patterns: Any) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from admin_names(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            yield pattern.name or str(pattern.pattern)


ADMIN_ADDRESSES = {
    name
    for pattern in get_resolver().url_patterns
    if isinstance(pattern, URLResolver) and pattern.namespace == "admin"
    for name in admin_names(pattern.url_patterns)
}


@pytest.fixture
def things(submit: Any) -> dict[str, Any]:
    """Something of every kind that the admin shows."""
    photo = submit()
    times = {"started": timezone.now(), "stopped": timezone.now()}
    for success in (True, False):
        Task.objects.create(id=f"task-{success}", name="x", func="x", success=success, **times)
    made: list[Any] = [
        photo,
        Correction.objects.create(prediction=photo, label_after="cat", confidence=1, source=Correction.Source.ADMIN),
        LabelRule.objects.create(label="tabby", shown_as="cat"),
        ModelVersion.objects.create(name="v1", backbone="x", digest="0"),
        Group.objects.get(name="viewers"),
        User.objects.create_user("somebody", password="x"),
        Schedule.objects.create(func="x"),
        OrmQ.objects.create(
            key="classification",
            payload=SignedPackage.dumps({"id": "x", "name": "x", "func": "x"}),
            lock=timezone.now(),
        ),
        Success.objects.get(),
        Failure.objects.get(),
    ]
    return {f"{thing._meta.app_label}_{thing._meta.model_name}": thing.pk for thing in made}


def admin_address(name: str, things: dict[str, Any]) -> str:
    model, _, page = name.rpartition("_")
    if name == "auth_user_password_change":
        return reverse(f"admin:{name}", args=[things["auth_user"]])
    if model in things:
        return reverse(f"admin:{name}", args=[] if page in {"changelist", "add"} else [things[model]])
    arguments: dict[str, list[Any]] = {"app_list": ["predictions"], "view_on_site": [1, 1]}
    unnamed = {"(?P<url>.*)$": "/admin/nothing/", "<path:object_id>/": "/admin/predictions/imageprediction/1/"}
    return unnamed.get(name) or reverse(f"admin:{name}", args=arguments.get(name))


def somebody(role: str, *, staff: bool) -> User:
    user: User = User.objects.create_user(role, is_staff=staff, is_superuser=role == ROOT)
    user.groups.set(Group.objects.filter(name=role))
    return user


def test_every_address_of_the_admin_has_a_rule() -> None:
    assert set(PAGES) == ADMIN_ADDRESSES


@pytest.mark.parametrize("setting", ["open", "login"])
@pytest.mark.parametrize("role", STAFF)
def test_every_address_of_the_admin_for_every_role_of_staff(
    client: Client, things: dict[str, Any], settings: Any, *, role: str, setting: str
) -> None:
    settings.ACCESS = setting
    user = somebody(role, staff=True)
    for name, rules in PAGES.items():
        for method, least in zip(("GET", "POST"), rules, strict=True):
            client.force_login(user)  # one of them logs out
            expected = least not in STAFF or STAFF.index(role) >= STAFF.index(least)
            assert is_let_in(client, method, admin_address(name, things)) == (expected and least != NOBODY), (
                name,
                method,
            )
    assert ImagePrediction.objects.count() == Correction.objects.count() == LabelRule.objects.count() == 1


@pytest.mark.parametrize("setting", ["open", "login"])
@pytest.mark.parametrize("role", ROLES)
def test_no_address_of_the_admin_for_who_is_no_staff(
    client: Client, things: dict[str, Any], settings: Any, *, role: str, setting: str
) -> None:
    """Whatever their group, and though access is open."""
    settings.ACCESS = setting
    user = somebody(role, staff=False) if role != "anonymous" else None
    for name, rules in PAGES.items():
        for method, least in zip(("GET", "POST"), rules, strict=True):
            if user:
                client.force_login(user)
            expected = least in ROLES[:2] and ROLES.index(role) >= ROLES.index(least)
            assert is_let_in(client, method, admin_address(name, things)) == expected, (name, method)


def is_let_in(client: Client, method: str, url: str) -> bool:
    response = client.generic(method, url)
    assert response.status_code < 500
    to_login = response.status_code == 302 and response["Location"].startswith(("/login?", "/admin/login/?"))
    return not to_login and response.status_code != 403


@pytest.mark.parametrize("setting", ["open", "login"])
@pytest.mark.parametrize("role", ROLES[1:])
def test_every_address_for_every_role_by_token(submit: Any, settings: Any, *, role: str, setting: str) -> None:
    """A token is for the API, and asks for no other one; to pages it is nothing."""
    settings.ACCESS = setting
    header = {"Authorization": f"Bearer {ApiToken.objects.create(somebody(role, staff=True))[1]}"}
    client = Client(enforce_csrf_checks=True, headers=header)
    for name in ADDRESSES:
        is_api = name.startswith(("prediction-", "model-", "label-rule-", "v2", "classify", "schema"))
        for method in METHODS:
            least = EXPECTED[name].get("GET" if method in {"HEAD", "OPTIONS"} else method)
            if least is None or (not is_api and method not in {"GET", "HEAD"}):
                continue  # a form without its own token: test_csrf.py
            who = ROLES.index(role) if is_api else 0
            is_open = setting == "open" and name not in {"password_change", "password_change_done", "account", "revoke"}
            expected = is_open or (least != NOBODY and who >= ROLES.index(least))
            assert allowed(client, method, address(name, submit())) == expected, (method, name)


def test_by_token_nobody_enters_the_admin(things: dict[str, Any]) -> None:
    token = ApiToken.objects.create(somebody(ROOT, staff=True))[1]
    client = Client(headers={"Authorization": f"Bearer {token}"})
    for name, (least, _) in PAGES.items():
        assert is_let_in(client, "GET", admin_address(name, things)) == (least == EVERYBODY), name


def test_no_address_of_the_admin_takes_anything_without_the_token_of_a_form(things: dict[str, Any]) -> None:
    root = somebody(ROOT, staff=True)
    for name in PAGES:
        url = admin_address(name, things)
        assert [strict(root).generic(method, url).status_code for method in UNSAFE] == [403] * len(UNSAFE), name
