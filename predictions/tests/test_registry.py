"""Who classifies: promoted, rolled back, shared and removed by code, page and API, and what is refused."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.utils import timezone

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from classifier.traffic import TrafficError
from predictions import registry
from predictions.models import Answer, Classification, ImagePrediction, Status
from predictions.registry import Doubtful, Refused

pytestmark = pytest.mark.django_db
PAGE, CHANGE = "/dashboard/models/", "/dashboard/models/change"
Judge = Callable[[int, int], None]


@pytest.fixture
def pair(model: ModelVersion, small_bundle: Bundle, settings: Any) -> tuple[ModelVersion, ModelVersion]:
    """Return the serving version and another one, both with real files."""
    target = Path(settings.MODELS_DIR) / "rival-1"
    shutil.copytree(small_bundle.path, target)
    (target / "README.md").write_text("# Rival\n<b>Trained</b> on okapis.")
    return model, ModelVersion.objects.install(Bundle.read(target), serve=False)


@pytest.fixture
def judge(pair: tuple[ModelVersion, ModelVersion]) -> Judge:
    """Have people correct photos, of which the one or the other version is right about so many, alone."""

    def judge(serving: int, rival: int) -> None:
        for version, count in zip(pair, (serving, rival), strict=True):
            for _ in range(count):
                photo = image(corrected_at=timezone.now(), top_prediction="cat", confidence=1)
                for each in pair:
                    say(each, photo, "cat" if each == version else "dog")

    return judge


def image(**fields: Any) -> ImagePrediction:
    given = {"filename": "cat.jpg", "sha256": "0" * 64, "width": 1, "height": 1, "size": 1, "status": Status.DONE}
    return ImagePrediction.objects.create(**given, **fields)


def say(version: ModelVersion, photo: ImagePrediction, label: str) -> None:
    answer = Answer([{"label": label, "confidence": 0.5}])
    Classification.objects.record([(photo, answer)], version, timezone.now())


def serving() -> str:
    return str(ModelVersion.objects.get(serving=True))


def test_a_worse_version_is_refused_with_the_reason_unless_forced(pair: Any, judge: Judge) -> None:
    old, new = pair
    judge(8, 1)
    with pytest.raises(Doubtful) as refused:
        registry.promote(new)
    sentence = str(refused.value)
    assert "of 9 corrected photos that both have answered it is right about 1 (11.1%)" in sentence
    assert f"{old} about 8 (88.9%)" in sentence
    assert "by McNemar's test, p = 0.0391." in sentence
    assert serving() == old.name
    registry.promote(new, force=True)
    assert serving() == new.name


def test_a_difference_that_may_be_chance_is_called_so(pair: Any, judge: Judge) -> None:
    judge(5, 0)
    with pytest.raises(Doubtful, match=r"p = 0.0625, so chance may explain it\.$"):
        registry.promote(pair[1])


def test_a_version_that_has_answered_no_corrected_photo_is_unknown(pair: Any, judge: Judge) -> None:
    _, new = pair
    judge(1, 1)
    Classification.objects.filter(model_version=new).delete()
    say(new, image(), "cat")
    with pytest.raises(Doubtful, match="Run manage.py models evaluate rival-1 --corrected"):
        registry.promote(new)
    registry.promote(new, force=True)
    assert serving() == new.name


@pytest.mark.parametrize(("serves", "rival"), [(0, 0), (2, 2), (2, 3)])
def test_a_version_that_is_no_worse_is_promoted(pair: Any, judge: Judge, serves: int, rival: int) -> None:
    judge(serves, rival)
    registry.promote(pair[1])
    assert serving() == "rival-1"
    registry.promote(pair[1])  # twice is as once


def test_rolling_back_returns_to_the_version_before_whatever_its_accuracy(pair: Any, judge: Judge) -> None:
    old, new = pair
    with pytest.raises(Refused, match="No version has served before"):
        registry.rollback()
    judge(0, 5)
    registry.promote(new)
    assert registry.rollback() == old
    assert serving() == old.name


def test_rolling_back_again_goes_back_further_and_never_to_what_was_left(pair: Any, small_bundle: Bundle) -> None:
    first, second = pair
    target = first.path.with_name("newest-1")
    shutil.copytree(small_bundle.path, target)
    registry.promote(second)
    newest = ModelVersion.objects.install(Bundle.read(target))
    assert [registry.rollback(), registry.rollback()] == [second, first]
    with pytest.raises(Refused, match="No version has served before"):
        registry.rollback()
    registry.promote(newest)
    assert registry.rollback() == first


def test_a_named_rollback_leads_there_or_nowhere(pair: Any) -> None:
    old, new = pair
    registry.promote(new)
    with pytest.raises(Refused, match=f"leads to {old} by now, not to other-1"):
        registry.rollback("other-1")
    assert [registry.rollback(old.name), registry.rollback(old.name)] == [old, old]
    assert serving() == old.name


@pytest.mark.parametrize("change", ["promote", "rollback", "share", "shadow"])
def test_a_version_without_its_files_is_given_nothing(pair: Any, change: str) -> None:
    old, new = pair
    if change == "rollback":
        registry.promote(new)
        registry.promote(old)
    (new.path / "model.tflite").unlink()
    actions: dict[str, Callable[[], object]] = {
        "promote": lambda: registry.promote(new, force=True),
        "rollback": registry.rollback,
        "share": lambda: registry.set_shares({new.name: 10}),
        "shadow": lambda: registry.set_shares({}, [new.name]),
    }
    with pytest.raises(Refused, match=r"The files of rival-1 are missing or damaged"):
        actions[change]()
    assert serving() == old.name


def test_a_machine_without_models_can_still_promote(pair: Any, settings: Any, tmp_path: Path) -> None:
    settings.MODELS_DIR = tmp_path / "none"
    registry.promote(pair[1])
    assert serving() == "rival-1"


def test_removing_keeps_what_was_said(pair: Any) -> None:
    _, new = pair
    photo = image()
    say(new, photo, "cat")
    stale = ModelVersion.objects.get(pk=new.pk)
    registry.remove(new)
    new.refresh_from_db()
    assert new.removed_at
    assert [entry.label for entry in photo.history() if isinstance(entry, Classification)] == ["cat"]
    for refused in (registry.remove, registry.promote):
        with pytest.raises(Refused, match="removed"):
            refused(new)
    with pytest.raises(TrafficError, match="removed"):
        ModelVersion.objects.promote(stale)  # by whoever looked before
    with pytest.raises(TrafficError):
        registry.set_shares({new.name: 10})


def test_removing_deletes_files_and_lists_nothing_more_of_who_never_answered(pair: Any, settings: Any) -> None:
    old, new = pair
    registry.remove(new)
    assert [path.name for path in Path(settings.MODELS_DIR).iterdir()] == [old.name]
    assert list(registry.versions()) == [old]
    say(new, image(), "cat")  # by a worker that had it in hand
    assert list(registry.versions()) == [old, new]


def test_removing_once_more_deletes_files_that_are_left(pair: Any) -> None:
    """Another machine has its own."""
    _, new = pair
    ModelVersion.objects.filter(pk=new.pk).update(removed_at=timezone.now())
    registry.remove(new)
    assert not new.path.exists()


@pytest.mark.django_db(transaction=True)
def test_changes_that_meet_are_made_one_by_one(pair: Any) -> None:
    old, new = pair
    changes: list[Callable[[], object]] = [
        lambda: registry.promote(old, force=True),
        lambda: registry.promote(new, force=True),
        lambda: registry.set_shares({new.name: 10}),
        lambda: registry.set_shares({}, [old.name]),
    ]
    start = Barrier(len(changes))

    def repeat(change: Callable[[], object]) -> None:
        start.wait()
        for _ in range(10):
            with suppress(TrafficError):  # a share of who has come to serve meanwhile
                change()
        connection.close()

    with ThreadPoolExecutor(len(changes)) as pool:
        for changing in [pool.submit(repeat, change) for change in changes]:
            changing.result()
    found = ModelVersion.objects.get(serving=True)
    assert (found.share, found.shadow) == (0, False)


@pytest.mark.django_db(transaction=True)
def test_a_removed_version_can_be_installed_again(pair: Any, small_bundle: Bundle) -> None:
    _, new = pair
    say(new, image(), "cat")
    registry.remove(new)
    shutil.copytree(small_bundle.path, new.path)
    ModelVersion.objects.install(Bundle.read(new.path), serve=False)
    registry.promote(ModelVersion.objects.get(name="rival-1"))
    assert serving() == "rival-1"


@pytest.mark.parametrize("state", [{"share": 5}, {"shadow": True}, {}])
def test_who_classifies_is_not_removed(pair: Any, state: dict[str, Any]) -> None:
    version = pair[1] if state else pair[0]
    ModelVersion.objects.filter(pk=version.pk).update(**state)
    with pytest.raises(Refused, match="classifies"):
        registry.remove(version)
    assert not version.is_damaged()


def test_the_list_counts_no_further_than_its_bound(
    pair: Any, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(registry, "BOUND", 3)
    for _ in range(6):
        say(pair[0], image(), "cat")
    say(pair[1], image(), "cat")
    registry.set_shares({"rival-1": 30})
    with django_assert_num_queries(1):
        found = [(row.name, row.answers, row.percent) for row in registry.versions()]
    assert found == [(pair[0].name, 4, 70), ("rival-1", 1, 30)]


def test_who_changed_what_is_in_the_log_and_in_the_admin(
    pair: Any, judge: Judge, admin_client: Client, admin_user: User, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = pair
    judge(1, 0)
    caplog.set_level("INFO", "predictions.registry")
    admin_client.post(CHANGE, {"action": "promote", "name": new.name, "confirmed": "yes"})
    admin_client.post("/models/rollback/")
    admin_client.put("/models/shares/", {"shares": {new.name: 10}}, content_type="application/json")
    registry.set_shares({})
    admin_client.delete(f"/models/{new.name}/")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith(f"rival-1: Promoted by force. rival-1 is worse than {old}: of 1 corrected photos")
    assert lines[0].endswith("By admin")
    assert lines[1:] == [
        f"{old}, rival-1: Rolled back to {old}. By admin",
        f"{old}, rival-1: Traffic: {old} answers 90 %, rival-1 answers 10 %. By admin",
        f"{old}, rival-1: Traffic: {old} answers 100 %. By somebody unknown",
        "rival-1: Removed. By admin",
    ]
    page = admin_client.get(f"/admin/classifier/modelversion/{new.pk}/history/").content.decode()
    kept = ("Promoted by force.", f"Rolled back to {old}.", "rival-1 answers 10 %.", "Removed.")
    assert [page.count(what) for what in kept] == [1] * 4
    assert "100 %" not in page  # nobody known said that


def test_labels_are_known_again_once_the_files_are_back(model: ModelVersion) -> None:
    aside = model.path.rename(model.path.with_name("aside"))
    assert model.labels() == []
    aside.rename(model.path)
    assert len(model.labels()) == 7


class TestPage:
    def test_it_shows_every_version_with_its_card(self, client: Client, pair: Any) -> None:
        page = client.get(PAGE).content.decode()
        assert page.index(pair[0].name) < page.index("rival-1")
        assert "&lt;b&gt;Trained&lt;/b&gt; on okapis." in page
        assert "Roll back" not in page

    def test_it_tells_origin_and_preprocessing_whatever_the_card_says(self, client: Client, pair: Any) -> None:
        (pair[0].path / "bundle.json").unlink()
        page = client.get(PAGE).content.decode()
        assert page.count("<dt>Origin</dt><dd>seeded</dd>") == 1
        assert page.count("<dt>Input</dt><dd>96 x 96 pixels, RGB, scaled to -1 to 1</dd>") == 1
        assert "unknown: its files are not at hand" in page

    def test_many_versions_are_in_pages(
        self, client: Client, pair: Any, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("predictions.model_views.PAGE_SIZE", 1)
        for query, shown in (("", pair[0]), ("?page=2", pair[1]), ("?page=99", pair[1]), ("?page=x", pair[0])):
            page = client.get(PAGE + query).content.decode()
            assert [f'id="version-{version.pk}"' in page for version in pair] == [shown == version for version in pair]
            assert ('rel="next"' in page, 'rel="prev"' in page) == (shown == pair[0], shown == pair[1])

    def test_an_empty_service_has_the_page(self, client: Client) -> None:
        assert b"No model is installed" in client.get(PAGE).content

    def test_promoting_and_rolling_back(self, client: Client, pair: Any) -> None:
        page = client.post(CHANGE, {"action": "promote", "name": "rival-1"}, follow=True).content.decode()
        assert "rival-1 serves." in page
        assert f"Roll back to {pair[0]}" in page
        for _click in range(2):
            form = {"action": "rollback", "name": pair[0].name}
            page = client.post(CHANGE, form, follow=True).content.decode()
            assert f"{pair[0]} serves again." in page
        assert "Roll back to" not in page

    def test_a_worse_version_is_asked_about_with_the_reason(self, client: Client, pair: Any, judge: Judge) -> None:
        judge(3, 0)
        form = {"action": "promote", "name": "rival-1"}
        response = client.post(CHANGE, form)
        assert response.status_code == 409
        assert b"rival-1 is worse than" in response.content
        client.post(CHANGE, {**form, "confirmed": "yes"})
        assert serving() == "rival-1"

    def test_removing_asks_first(self, client: Client, pair: Any) -> None:
        form = {"action": "remove", "name": "rival-1"}
        page = client.post(CHANGE, form).content
        assert b"Remove rival-1?" in page
        assert b"rolling back leads to" not in page
        assert not pair[1].is_damaged()
        client.post(CHANGE, {**form, "confirmed": "yes"})
        assert b"rival-1" not in client.get(PAGE).content.partition(b"<h2>Versions")[2]

    def test_removing_what_rolling_back_leads_to_says_so(self, client: Client, pair: Any) -> None:
        registry.promote(pair[1])
        page = client.post(CHANGE, {"action": "remove", "name": pair[0].name}).content
        assert b"It is the version that rolling back leads to." in page

    def test_traffic_is_divided(self, client: Client, pair: Any) -> None:
        key = pair[1].pk
        page = client.post(CHANGE, {"action": "shares", f"share-{key}": "25"}, follow=True).content.decode()
        assert f"{pair[0]} answers 75 %, rival-1 answers 25 %" in page
        client.post(CHANGE, {"action": "shares", f"share-{key}": "0", "shadow": [key, "999"]})
        pair[1].refresh_from_db()
        assert (pair[1].share, pair[1].shadow) == (0, True)

    @pytest.mark.parametrize("share", ["101", "-1", "x", "1e9", "9" * 5000])
    def test_shares_that_cannot_be_are_refused_in_words(self, client: Client, pair: Any, share: str) -> None:
        page = client.post(CHANGE, {"action": "shares", f"share-{pair[1].pk}": share}, follow=True).content.decode()
        assert "Shares are whole percentages" in page
        assert not ModelVersion.objects.exclude(share=0).exists()

    @pytest.mark.parametrize(
        ("form", "sentence"),
        [
            ({}, "Choose what is to be done."),
            ({"action": "dance"}, "Choose what is to be done."),
            ({"action": "promote"}, "There is no version ."),
            ({"action": "promote", "name": "a\0b"}, "There is no version"),
            ({"action": "remove", "name": "x", "confirmed": "yes"}, "There is no version x."),
            ({"action": "rollback"}, "No version has served before"),
        ],
    )
    def test_nonsense_is_answered_in_words(self, client: Client, pair: Any, form: Any, sentence: str) -> None:
        assert sentence in client.post(CHANGE, form, follow=True).content.decode()

    def test_the_comparison_pages_through_what_differs(
        self, client: Client, pair: Any, judge: Judge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("predictions.model_views.PAGE_SIZE", 2)
        judge(2, 1)
        address = f"{PAGE}compare/?a={pair[0]}&b=rival-1"
        page = client.get(address).content.decode()
        assert "2 of 3" in page
        assert "p = 1.0000 (exact)" in page
        newest, second, oldest = ImagePrediction.objects.values_list("pk", flat=True)
        assert f"/gallery/{newest}/" in page
        assert f"/gallery/{oldest}/" not in page
        page = client.get(f"{address}&before={second}").content.decode()
        assert f"/gallery/{oldest}/" in page
        assert f"/gallery/{newest}/" not in page

    @pytest.mark.parametrize("query", ["", "?a=x&b=y", "?a=rival-1", "?a=%00&b=%00"])
    def test_an_unknown_version_is_not_found(self, client: Client, pair: Any, query: str) -> None:
        assert client.get(f"{PAGE}compare/{query}").status_code == 404

    @pytest.mark.parametrize("before", ["x", "-1", "9" * 40, "²"])
    def test_a_made_up_place_is_the_first_page(self, client: Client, pair: Any, judge: Judge, before: str) -> None:
        judge(1, 0)
        page = client.get(f"{PAGE}compare/", {"a": pair[0].name, "b": "rival-1", "before": before})
        assert page.status_code == 200
        assert b"/gallery/" in page.content.partition(b"differing")[2]

    def test_only_managers_are_offered_changes(self, client: Client, pair: Any, settings: Any) -> None:
        settings.ACCESS = "login"
        user = User.objects.create_user("one")
        client.force_login(user)
        offers = [b'value="promote"', b'value="remove"', b'value="shares"']
        for group, offered in (("viewers", False), ("labelers", False), ("managers", True)):
            user.groups.set([Group.objects.get(name=group)])
            page = client.get(PAGE).content
            assert [offer in page for offer in offers] == [offered] * 3

    def test_removing_takes_a_permission_of_its_own(self, client: Client, pair: Any, settings: Any) -> None:
        settings.ACCESS = "login"
        user = User.objects.create_user("one")
        group = Group.objects.get(name="managers")
        group.permissions.remove(group.permissions.get(codename="delete_modelversion"))
        user.groups.add(group)
        client.force_login(user)
        form = {"action": "remove", "name": "rival-1", "confirmed": "yes"}
        assert client.post(CHANGE, form).status_code == 403
        assert client.post(CHANGE, {"action": "promote", "name": "rival-1"}).status_code == 302


class TestApi:
    def test_versions_are_listed_and_read(self, client: Client, pair: Any) -> None:
        say(pair[1], image(), "cat")
        listed = client.get("/models/").json()
        assert [(row["name"], row["serving"], row["share"]) for row in listed] == [
            (pair[0].name, True, 100),
            ("rival-1", False, 0),
        ]
        one = client.get("/models/rival-1/").json()
        assert one == listed[1]
        assert (one["labels"], one["answers"], one["card"]) == (7, 1, "# Rival\n<b>Trained</b> on okapis.")
        assert (one["origin"], one["preprocessing"]) == (
            "seeded",
            {"size": 96, "crop": 0.875, "scaling": "symmetric"},
        )

    def test_many_versions_are_in_pages(self, client: Client, pair: Any) -> None:
        first = client.get("/models/?page_size=1")
        assert [row["name"] for row in first.json()] == [pair[0].name]
        second = client.get(first.headers["Link"].partition(">")[0].removeprefix("<"))
        assert [row["name"] for row in second.json()] == ["rival-1"]
        assert 'rel="next"' not in second.headers["Link"]

    def test_promoting_and_rolling_back(self, client: Client, pair: Any) -> None:
        answer = client.post("/models/rival-1/promote/").json()
        assert (answer["serving"], answer["share"]) == (True, 100)
        assert client.post("/models/rollback/", {"name": "nobody"}).status_code == 409
        for _sent in range(2):
            assert client.post("/models/rollback/", {"name": pair[0].name}).json()["name"] == pair[0].name
        assert serving() == pair[0].name
        assert client.post("/models/rollback/").status_code == 409

    def test_what_is_refused_is_a_conflict(self, client: Client, pair: Any, judge: Judge) -> None:
        judge(3, 0)
        response = client.post("/models/rival-1/promote/")
        assert response.status_code == 409
        assert "rival-1 is worse than" in response.json()["detail"]
        forced = client.post("/models/rival-1/promote/", {"force": True}, content_type="application/json")
        assert forced.status_code == 200
        assert client.delete("/models/rival-1/").status_code == 409

    def test_shares(self, client: Client, pair: Any) -> None:
        def put(**body: Any) -> Any:
            return client.put("/models/shares/", body, content_type="application/json")

        assert [row["share"] for row in put(shares={"rival-1": 30}).json()] == [70, 30]
        assert [row["shadow"] for row in put(shadows=["rival-1"]).json()] == [False, True]
        assert put(shares={"rival-1": 101}).status_code == 400
        assert put(shares=7).status_code == 400
        assert put(shares={"nobody": 1}).status_code == 404
        assert put(shares={"rival-1": 30}, shadows=["rival-1"]).status_code == 409
        assert (
            client.put("/models/shares/", "shares=x", content_type="application/x-www-form-urlencoded").status_code
            == 415
        )
        assert client.options("/models/shares/").status_code == 200

    def test_removing(self, client: Client, pair: Any) -> None:
        assert client.delete("/models/rival-1/").status_code == 204
        assert client.delete("/models/rival-1/").status_code == 409
        assert [row["name"] for row in client.get("/models/").json()] == [pair[0].name]

    def test_comparing(self, client: Client, pair: Any, judge: Judge) -> None:
        judge(2, 1)
        found = client.get("/models/compare/", {"a": pair[0].name, "b": "rival-1"}).json()
        assert (found["images"], found["agreeing"], found["corrected"]) == (3, 0, 3)
        assert found["a"]["accuracy"]["right"] == 2
        assert found["a"]["accuracy"]["interval"] == pytest.approx([0.2077, 0.9385], abs=1e-4)
        assert found["mcnemar"] == {"only_a": 2, "only_b": 1, "p": 1.0, "is_exact": True}
        assert [(row["a"], row["b"]) for row in found["differing"]] == [("dog", "cat"), ("cat", "dog"), ("cat", "dog")]
        assert client.get("/models/compare/").json() == {"a": ["Name a version."], "b": ["Name a version."]}
        assert client.get("/models/compare/?a=x&b=y").status_code == 404

    @pytest.mark.parametrize("name", ["x", "a%00b", "x.y", "%F0%9F%90%88"])
    def test_no_such_version(self, client: Client, name: str) -> None:
        for response in (client.get(f"/models/{name}/"), client.post(f"/models/{name}/promote/")):
            assert response.status_code == 404
            assert "There is no version" in response.json()["detail"]
