"""The admin: fast lists, corrections through the services, and who may do what."""

import csv
import importlib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from html import unescape
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext

from classifier.models import ModelVersion
from predictions import services
from predictions.admin import actions, lists
from predictions.admin.lists import PER_PAGE
from predictions.datasets.records import COLUMNS
from predictions.models import Answer, Correction, ImagePrediction, Status

pytestmark = pytest.mark.django_db
PHOTOS = "/admin/predictions/imageprediction/"
CORRECTIONS = "/admin/predictions/correction/"


@pytest.fixture
def version() -> ModelVersion:
    return ModelVersion.objects.create(name="v1", backbone="MobileNetV2", digest="0", serving=True)


@pytest.fixture
def many(version: ModelVersion) -> Callable[..., list[int]]:
    """Make classified rows, whose files nobody asks for: many(3), many(3, status="failed")."""

    def many(count: int, **fields: Any) -> list[int]:
        answers = [{"label": "tabby", "confidence": 0.5}, {"label": "lynx", "confidence": 0.2}]
        classified = {"top_prediction": "tabby", "confidence": 0.5, "all_predictions": answers, "status": Status.DONE}
        given = {"width": 1, "height": 1, "size": 1, "model_version": version, **classified, **fields}
        rows = [
            ImagePrediction(image_path=f"{number}.jpg", **{"filename": f"photo-{number}.jpg", **given})
            for number in range(count)
        ]
        return [row.pk for row in ImagePrediction.objects.bulk_create(rows)]

    return many


@pytest.fixture
def member(client: Client) -> Callable[[str], Client]:
    """Log somebody of a group in."""

    def member(group: str) -> Client:
        user = User.objects.create_user(f"one of the {group}", is_staff=True)
        user.groups.add(Group.objects.get(name=group))
        client.force_login(user)
        return client

    return member


def act(client: Client, action: str, ids: Iterable[int], query: str = "", **more: Any) -> Any:
    """Choose rows of a list and an action, as its form does."""
    data = {"action": action, "_selected_action": list(ids), "select_across": "0", "index": "0", **more}
    return client.post(f"{PHOTOS}{query}", data)


def confirm(client: Client, action: str, ids: Iterable[int], query: str = "", **more: Any) -> Any:
    """Send what the page sends that asks before an action."""
    asked = act(client, action, ids, query, **{name: value for name, value in more.items() if name == "select_across"})
    assert asked.status_code == 200
    data = {"action": action, "_selected_action": list(ids), "newest": asked.context["newest"], "confirmed": "yes"}
    return client.post(f"{PHOTOS}{query}", {"select_across": "0", **data, **more})


def edit(client: Client, rows: list[tuple[int, str, str, str, str]], query: str = "") -> Any:
    """Save a list: id, shown label, shown confidence, and what they were edited to."""
    data = {"form-TOTAL_FORMS": len(rows), "form-INITIAL_FORMS": len(rows), "_save": "Save"}
    for number, (pk, label, confidence, new_label, new_confidence) in enumerate(rows):
        data |= {
            f"form-{number}-id": pk,
            f"initial-form-{number}-top_prediction": label,
            f"initial-form-{number}-confidence": confidence,
            f"form-{number}-top_prediction": new_label,
            f"form-{number}-confidence": new_confidence,
        }
    return client.post(f"{PHOTOS}{query}", data)


def messages(response: Any) -> str:
    return unescape(" ".join(str(message) for message in response.wsgi_request._messages))


def truth(pk: int) -> tuple[str | None, float | None]:
    row = ImagePrediction.objects.get(pk=pk)
    return row.top_prediction, row.confidence


class TestList:
    @pytest.mark.parametrize("query", ["", "?status=done&band=2", "?o=3", "?q=photo", "?created_at__year=2025"])
    def test_a_hundred_rows_take_at_most_fifteen_queries(self, member: Any, many: Any, query: str) -> None:
        ids = many(120, created_at=datetime(2025, 3, 9, tzinfo=UTC))
        services.correct(
            ImagePrediction.objects.filter(pk__in=ids[:60]), "tabby", 0.5, by=None, source=Correction.Source.API
        )
        client = member("labelers")
        with CaptureQueriesContext(connection) as captured:
            response = client.get(f"{PHOTOS}{query}")
        assert len(response.context["cl"].result_list) == 100
        assert len(captured) <= 15

    def test_no_query_counts_or_reads_everything(self, admin_client: Client, many: Any) -> None:
        many(3)
        with CaptureQueriesContext(connection) as captured:
            for where in (PHOTOS, CORRECTIONS):
                admin_client.get(where)
                admin_client.get(where, {"_facets": "True"})
        statements = [query["sql"] for query in captured]
        assert not [sql for sql in statements if "COUNT(" in sql.upper() or "DISTINCT" in sql.upper()]
        if connection.vendor == "sqlite":
            ours = [sql for sql in statements if re.search('FROM "predictions_(?!labelrule)', sql)]  # rules are few
            with connection.cursor() as cursor:
                plans = [str(cursor.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()) for sql in ours]
            assert plans
            assert not [plan for plan in plans if "TEMP B-TREE" in plan]

    def test_a_list_says_that_there_is_more_than_it_counts(
        self, admin_client: Client, many: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lists, "COUNTED", 120)
        many(130)
        response = admin_client.get(PHOTOS, {"p": 2})
        assert len(response.context["cl"].result_list) == 20
        assert b"The first 120 of more photos" in response.content
        assert b"Select all, more than 120" in response.content
        assert admin_client.get(PHOTOS, {"p": 3}).status_code == 302
        assert b"11 photos" in admin_client.get(PHOTOS, {"q": "photo-12"}).content

    def test_it_shows_thumbnail_version_and_who_corrected(
        self, admin_client: Client, many: Any, admin_user: User
    ) -> None:
        mine, undone, anonymous = many(3)
        for pk, by in ((mine, admin_user), (undone, admin_user), (anonymous, None)):
            rows = ImagePrediction.objects.filter(pk=pk)
            batch = services.correct(rows, "lynx", 1, by=by, source=Correction.Source.API)
            if pk == undone:
                services.undo(batch)
        response = admin_client.get(PHOTOS)
        assert f'src="/gallery/{mine}/thumbnail?'.encode() in response.content
        model_admin = response.context["cl"].model_admin
        shown = {row.pk: model_admin.corrected_by(row) for row in response.context["cl"].result_list}
        assert shown == {mine: "admin", undone: None, anonymous: "somebody"}

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("label=lynx", ["b"]),
            ("status=failed", ["c"]),
            ("status=done", ["a", "b"]),
            ("band=0", ["a"]),
            ("band=4", ["b"]),
            ("corrected=yes", ["b"]),
            ("corrected=no", ["a", "c"]),
            ("model_version__id__exact=0", []),
            ("q=A.JP", ["a"]),
            ("q=LYN", ["b"]),
            ("created_at__year=2025&created_at__month=3", ["a"]),
            ("o=-4", ["b", "a"]),
            ("o=3", ["b", "a"]),
        ],
    )
    def test_filters_search_and_order(self, admin_client: Client, many: Any, query: str, expected: list[str]) -> None:
        old, now = datetime(2025, 3, 9, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
        [a], [b], [c] = (
            many(1, confidence=0.1, created_at=old),
            many(1, confidence=1, top_prediction="lynx", created_at=now, corrected_at=now),
            many(1, status="failed", top_prediction=None, confidence=None, created_at=now),
        )
        names = {a: "a", b: "b", c: "c"}
        for pk, name in names.items():
            ImagePrediction.objects.filter(pk=pk).update(filename=f"{name}.jpg")
        found = [names[row.pk] for row in admin_client.get(f"{PHOTOS}?{query}").context["cl"].result_list]
        assert (found if "o=" in query else sorted(found)) == expected

    def test_dates_lead_to_what_is_there(self, admin_client: Client, many: Any) -> None:
        for moment in ((2024, 12, 31, 23), (2026, 1, 5), (2026, 1, 31, 23), (2026, 3, 1)):
            many(1, created_at=datetime(*moment, tzinfo=UTC))  # type: ignore[misc]

        def titles(query: str) -> list[str]:
            return [choice["title"] for choice in admin_client.get(f"{PHOTOS}?{query}").context["cl"].calendar.choices]

        assert titles("") == ["2024", "2025", "2026"]
        assert titles("created_at__year=2026") == ["January 2026", "March 2026"]
        assert titles("created_at__year=2026&created_at__month=1") == ["January 5", "January 31"]
        assert titles("created_at__year=2026&created_at__month=1&created_at__day=5") == ["January 5"]
        assert titles("created_at__year=2024&created_at__month=12") == ["December 31"]
        assert admin_client.get(f"{PHOTOS}?created_at__year=abc").status_code == 302

    def test_an_empty_list_is_a_page(self, admin_client: Client) -> None:
        assert admin_client.get(PHOTOS).status_code == admin_client.get(CORRECTIONS).status_code == 200


class TestEditing:
    def test_only_edited_rows_are_corrected_in_one_batch(
        self, admin_client: Client, many: Any, admin_user: User
    ) -> None:
        a, b, c = many(3)
        [waiting] = many(1, status="pending", top_prediction=None, confidence=None)
        shown = ("tabby", "0.5")
        response = edit(
            admin_client,
            [(a, *shown, "lynx", "0.5"), (b, *shown, "tabby", "0.9"), (c, *shown, *shown), (waiting, "", "", "", "")],
            "?status=done",
        )
        assert response.status_code == 302
        assert response.url.endswith("?status=done")
        assert (truth(a), truth(b), truth(c)) == (("lynx", 1.0), ("tabby", 0.9), ("tabby", 0.5))
        corrections = Correction.objects.order_by("pk")
        assert [correction.prediction_id for correction in corrections] == [a, b]
        assert len({correction.batch for correction in corrections}) == 1
        assert {(each.source, each.corrected_by) for each in corrections} == {("admin", admin_user)}

    def test_what_others_corrected_meanwhile_is_not_touched_by_saving_the_rest(
        self, admin_client: Client, many: Any
    ) -> None:
        a, b = many(2)
        rows = ImagePrediction.objects.filter(pk=b)
        services.correct(rows, "puma", 1, by=None, source=Correction.Source.API)
        edit(admin_client, [(a, "tabby", "0.5", "lynx", "1"), (b, "tabby", "0.5", "tabby", "0.5")])
        assert (truth(a), truth(b)) == (("lynx", 1.0), ("puma", 1.0))

    def test_overtaking_another_persons_word_is_told_and_leaves_both_in_the_history(
        self, admin_client: Client, many: Any
    ) -> None:
        [pk] = many(1)
        rows = ImagePrediction.objects.filter(pk=pk)
        services.correct(rows, "puma", 1, by=None, source=Correction.Source.API)
        response = edit(admin_client, [(pk, "tabby", "0.5", "lynx", "1")])
        assert "had got another label while you edited" in messages(response)
        assert list(Correction.objects.values_list("label_before", "label_after")) == [
            ("puma", "lynx"),
            ("tabby", "puma"),
        ]

    @pytest.mark.parametrize("confidence", ["2", "-1", "nan", "much"])
    def test_what_is_wrong_is_shown_beside_its_own_photo(
        self, admin_client: Client, many: Any, confidence: str
    ) -> None:
        [pk] = many(1)
        many(1)  # came since
        response = edit(admin_client, [(pk, "tabby", "0.5", "lynx", confidence)])
        assert response.status_code == 200
        assert [row.pk for row in response.context["cl"].result_list] == [pk]
        assert response.context["cl"].formset.errors[0]["confidence"]
        assert not Correction.objects.exists()

    def test_a_label_is_required_of_a_row_that_is_edited(self, admin_client: Client, many: Any) -> None:
        [pk] = many(1)
        assert b"required" in edit(admin_client, [(pk, "tabby", "0.5", "", "0.5")]).content

    def test_rows_deleted_meanwhile_do_not_keep_the_others_from_being_saved(
        self, admin_client: Client, many: Any
    ) -> None:
        gone, stays, untouched = many(3)
        ImagePrediction.objects.filter(pk__in=[gone, untouched]).delete()
        shown = ("tabby", "0.5")
        rows = [(gone, *shown, "lynx", "1"), (stays, *shown, "lynx", "1"), (untouched, *shown, *shown)]
        response = edit(admin_client, rows)
        assert "2 photos had been deleted" in messages(response)
        assert truth(stays) == ("lynx", 1.0)
        wrong = [*rows[:1], (stays, "lynx", "1", "lynx", "2")]
        assert "nothing was saved" in messages(edit(admin_client, wrong))

    def test_labels_are_suggested_whatever_the_field_is_called(self, admin_client: Client, many: Any) -> None:
        rows = ImagePrediction.objects.filter(pk__in=many(1))
        services.correct(rows, "snow_leopard", 1, by=None, source=Correction.Source.API)
        assert b"snow_leopard" in admin_client.get("/labels", {"form-7-top_prediction": "leo"}).content

    def test_the_list_sends_back_what_it_showed(self, admin_client: Client, many: Any) -> None:
        [pk] = many(1, confidence=0.123456789)
        form = admin_client.get(PHOTOS).context["cl"].formset.forms[0]
        assert 'name="initial-form-0-confidence" value="0.1235"' in str(form["confidence"])
        assert 'hx-get="/labels"' in str(form["top_prediction"])
        edit(admin_client, [(pk, "tabby", "0.1235", "tabby", "0.1235")])
        assert not Correction.objects.exists()


class TestActions:
    def test_correcting_asks_for_the_label_once(self, admin_client: Client, many: Any, admin_user: User) -> None:
        *ids, other = many(4)
        assert act(admin_client, "correct", ids).context["count"] == "3 photos"
        assert confirm(admin_client, "correct", ids, label="", confidence="1").context["form"].errors
        assert not Correction.objects.exists()
        response = confirm(admin_client, "correct", ids, "?status=done", label="lynx", confidence="0.8")
        assert response.status_code == 302
        assert "3 photos corrected to “lynx”." in messages(response)
        assert {truth(pk) for pk in ids} == {("lynx", 0.8)}
        assert truth(other) == ("tabby", 0.5)
        assert set(Correction.objects.values_list("corrected_by", "source")) == {(admin_user.pk, "admin")}

    def test_all_on_all_pages_are_those_shown(self, admin_client: Client, many: Any) -> None:
        many(130)
        [other] = many(1, status="failed")
        asked = act(admin_client, "correct", [1], "?status=done", select_across="1")
        assert asked.context["count"] == "130 photos"
        [later] = many(1)
        data = {"action": "correct", "_selected_action": [1], "select_across": "1", "confirmed": "yes"}
        admin_client.post(
            f"{PHOTOS}?status=done", {**data, "newest": asked.context["newest"], "label": "lynx", "confidence": "1"}
        )
        assert ImagePrediction.objects.filter(top_prediction="lynx").count() == 130
        assert truth(later)[0] == truth(other)[0] == "tabby"

    def test_a_thousand_rows_take_a_bounded_number_of_queries(self, admin_client: Client, many: Any) -> None:
        ids = many(1000)
        with CaptureQueriesContext(connection) as captured:
            confirm(admin_client, "correct", ids[:1], select_across="1", label="lynx", confidence="1")
        assert Correction.objects.count() == 1000
        inserts = [query for query in captured if query["sql"].startswith('INSERT INTO "predictions_correction"')]
        # SQLite takes at most 999 parameters in one statement.
        assert len(captured) - len(inserts) <= 40
        assert len(inserts) <= 12

    @pytest.mark.parametrize("pk", ["9" * 19, "9" * 5000, "x", "-1", "²"])
    @pytest.mark.parametrize("where", [PHOTOS, CORRECTIONS, "/admin/predictions/labelrule/"])
    def test_made_up_ids_name_nothing(self, admin_client: Client, many: Any, where: str, pk: str) -> None:
        [photo] = many(1)
        for action in ("correct", "accept", "undo", "map_together"):
            data = {"action": action, "_selected_action": [pk], "select_across": "0", "index": "0"}
            assert admin_client.post(where, {**data, "newest": pk, "confirmed": "yes"}).status_code == 302
        row = {"form-0-id": pk, "form-0-top_prediction": "lynx", "form-0-confidence": "2"}
        edited = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "_save": "Save", **row}
        assert admin_client.post(where, edited).status_code in {200, 302}
        assert truth(photo) == ("tabby", 0.5)

    def test_too_many_at_once_are_refused(
        self, admin_client: Client, many: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("predictions.admin.actions.MOST", 2)
        ids = many(3)
        for action in ("correct", "accept", "reclassify", "delete_selected"):
            assert "too many" in messages(act(admin_client, action, ids[:1], select_across="1"))
        assert not Correction.objects.exists()

    def test_accepting_makes_the_models_word_a_persons(self, admin_client: Client, many: Any) -> None:
        ids = [*many(2), *many(1, all_predictions=None, top_prediction=None, confidence=None, status="pending")]
        response = act(admin_client, "accept", ids)
        assert "2 photos: the model's label accepted. 1 photo without an answer passed over." in messages(response)
        assert Correction.objects.count() == 2
        assert "no label to accept" in messages(act(admin_client, "accept", ids[2:]))

    def test_reclassifying_returns_what_is_finished_to_the_queue(self, admin_client: Client, many: Any) -> None:
        ids = [*many(2), *many(1, status="processing")]
        response = act(admin_client, "reclassify", ids)
        assert "2 photos will be classified again. 1 photo already waiting." in messages(response)
        assert ImagePrediction.objects.pending().count() == 2

    def test_deleting_takes_the_files_along_and_is_logged(
        self, admin_client: Client, submit: Any, settings: Any, django_capture_on_commit_callbacks: Any
    ) -> None:
        ids = [submit().pk for _ in range(3)]
        services.correct(ImagePrediction.objects.all(), "lynx", 1, by=None, source=Correction.Source.API)
        with django_capture_on_commit_callbacks(execute=True):
            assert admin_client.post(f"{PHOTOS}{ids[0]}/delete/", {"post": "yes"}).status_code == 302
            assert "2 photos deleted." in messages(confirm(admin_client, "delete_selected", ids[1:]))
        assert not ImagePrediction.objects.exists()
        assert not [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]
        assert b"photo.jpg" in admin_client.get("/admin/").content

    def test_asking_before_deleting_many_reads_few(self, admin_client: Client, many: Any) -> None:
        many(300)
        services.correct(ImagePrediction.objects.all(), "lynx", 1, by=None, source=Correction.Source.API)
        with CaptureQueriesContext(connection) as captured:
            response = act(admin_client, "delete_selected", [1], select_across="1")
        assert b"300 photos will be deleted" in response.content
        assert b"and 288 more" in response.content
        assert len(captured) <= 12
        assert ImagePrediction.objects.count() == 300

    def test_the_export_is_a_table_without_formulas(self, admin_client: Client, many: Any, admin_user: User) -> None:
        [pk] = many(1)
        ImagePrediction.objects.filter(pk=pk).update(filename="=1+1", sha256="00")
        rows = ImagePrediction.objects.filter(pk=pk)
        services.correct(rows, "lynx, or so", 0.75, by=admin_user, source=Correction.Source.API)
        many(1, status="failed")
        response = act(admin_client, "export", [pk], "?q=1%2B1", select_across="1")
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        [row] = csv.DictReader(StringIO(response.getvalue().decode("utf-8-sig")))
        assert (row["id"], row["filename"], row["label"], row["confidence"]) == (
            str(pk),
            "'=1+1",
            "lynx, or so",
            "0.75",
        )
        assert (row["model_label"], row["model_version"], row["person"]) == ("tabby", "v1", "admin")
        # The same that export_dataset writes, so that import_corrections reads it.
        assert tuple(row) == COLUMNS

    def test_a_correction_tells_what_it_changed(
        self, admin_client: Client, many: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = [*many(2), *many(1, top_prediction="lynx")]
        response = confirm(admin_client, "correct", ids, label="lynx", confidence="1")
        assert "3 photos corrected to “lynx”. 1 of them had that label before" in messages(response)
        assert "deleted" not in messages(response)
        chosen = actions._chosen

        def delete_one_meanwhile(*args: Any) -> list[int]:
            found = chosen(*args)
            ImagePrediction.objects.filter(pk=ids[0]).delete()
            return found

        monkeypatch.setattr(actions, "_chosen", delete_one_meanwhile)
        response = act(admin_client, "correct", ids, label="puma", confidence="1", confirmed="yes")
        assert "2 photos corrected to “puma”. 1 photo had been deleted." in messages(response)


def test_who_hears_the_lists_hears_of_which_photo_each_control_is(admin_client: Client, many: Any) -> None:
    [pk] = many(1, filename='a "quoted" <cat>.jpg')
    page = admin_client.get(PHOTOS).content.decode()
    name = "a &quot;quoted&quot; &lt;cat&gt;.jpg"
    for said in (f"Choose {name}", f"Label of {name}", f"Confidence in the label of {name}"):
        assert page.count(f'aria-label="{said}"') == 1
    assert f'alt="{name}" loading="lazy" width="160" height="120"' in page
    services.correct(ImagePrediction.objects.filter(pk=pk), "lynx", 1, by=None, source=Correction.Source.API)
    page = admin_client.get(CORRECTIONS).content.decode()
    assert f'aria-label="Choose the correction tabby -&gt; lynx of {name}"' in page
    assert f'tabby -&gt; lynx<span class="visually-hidden"> of {name}</span></a>' in page


class TestPhoto:
    def test_it_shows_photo_answers_history_and_links(self, admin_client: Client, submit: Any, version: Any) -> None:
        prediction = submit()
        [claimed] = ImagePrediction.objects.claim()
        ImagePrediction.objects.finish(
            [(claimed, Answer([{"label": "tabby", "confidence": 0.5}, {"label": "lynx", "confidence": 0.2}], 5))],
            version,
        )
        services.correct(ImagePrediction.objects.all(), "puma", 1, by=None, source=Correction.Source.API)
        following = submit()
        page = admin_client.get(f"{PHOTOS}{prediction.pk}/change/").content.decode()
        for part in (
            f'src="/gallery/{prediction.pk}/view?{prediction.sha256[:8]}"',
            'aria-label="Confidence in lynx"',
            "corrected <q>tabby</q> to <q>puma</q>",
            "v1 said <q>tabby</q>",
            f'href="/gallery/{prediction.pk}/"',
            f'href="/predictions/{prediction.pk}/?format=json"',
            f'rel="prev" href="{PHOTOS}{following.pk}/change/"',
        ):
            assert part in page

    def test_it_corrects_through_the_service(self, admin_client: Client, submit: Any, admin_user: User) -> None:
        pk = submit().pk
        url = f"{PHOTOS}{pk}/change/"
        shown = {"initial-top_prediction": "", "initial-confidence": ""}
        response = admin_client.post(url, {**shown, "top_prediction": "lynx", "confidence": "0.8"})
        assert response.status_code == 302, response.content
        correction = Correction.objects.get()
        assert (correction.label_after, correction.source, correction.corrected_by) == ("lynx", "admin", admin_user)
        assert truth(pk) == ("lynx", 0.8)
        shown = {"initial-top_prediction": "lynx", "initial-confidence": "0.8"}
        admin_client.post(url, {**shown, "top_prediction": "lynx", "confidence": "0.8"})
        assert Correction.objects.count() == 1
        assert b"required" in admin_client.post(url, {**shown, "top_prediction": "", "confidence": ""}).content

    def test_one_that_is_gone_leads_away(self, admin_client: Client) -> None:
        assert admin_client.get(f"{PHOTOS}99/change/").status_code == 302


class TestCorrections:
    def test_they_are_listed_and_undone_by_the_batch(self, admin_client: Client, many: Any) -> None:
        rows = ImagePrediction.objects.filter(pk__in=many(3))
        batch = services.correct(rows, "lynx", 1, by=None, source=Correction.Source.PAGE)
        listed = admin_client.get(
            CORRECTIONS, {"batch": str(batch), "source__exact": "page", "undone": "no", "q": "LYN"}
        )
        assert len(listed.context["cl"].result_list) == 3
        one = Correction.objects.first()
        assert one
        response = admin_client.post(
            CORRECTIONS, {"action": "undo", "_selected_action": [one.pk], "select_across": "0", "index": "0"}
        )
        assert "Correction of 3 photos undone." in messages(response)
        assert set(rows.values_list("top_prediction", "corrected_at")) == {("tabby", None)}

    def test_all_batches_of_the_chosen_are_undone_however_large(self, admin_client: Client, many: Any) -> None:
        for _ in range(2):
            rows = ImagePrediction.objects.filter(pk__in=many(PER_PAGE + 1))
            services.correct(rows, "lynx", 1, by=None, source=Correction.Source.PAGE)
        data = {"action": "undo", "_selected_action": [1], "select_across": "1", "index": "0"}
        assert "Correction of 202 photos undone." in messages(admin_client.post(CORRECTIONS, data))
        assert not Correction.objects.filter(undone_at=None).exists()

    def test_they_take_few_queries_and_cannot_be_changed(self, admin_client: Client, many: Any) -> None:
        many(100)
        services.correct(ImagePrediction.objects.all(), "lynx", 1, by=None, source=Correction.Source.PAGE)
        with CaptureQueriesContext(connection) as captured:
            assert len(admin_client.get(CORRECTIONS).context["cl"].result_list) == 100
        assert len(captured) <= 15
        url = f"{CORRECTIONS}{Correction.objects.values_list('pk', flat=True)[0]}"
        assert admin_client.get(f"{url}/change/").status_code == 200
        assert admin_client.post(f"{url}/change/", {}).status_code == 403
        assert admin_client.post(f"{url}/delete/", {"post": "yes"}).status_code == 403
        assert admin_client.get(f"{CORRECTIONS}add/").status_code == 403


class TestGroups:
    MAY = {
        "viewers": {"export"},
        "labelers": {"export", "correct", "accept"},
        "managers": {"export", "correct", "accept", "reclassify", "delete_selected"},
    }

    @pytest.mark.parametrize("group", MAY)
    def test_each_may_do_what_fits(self, member: Any, many: Any, group: str) -> None:
        ids = many(2)
        client = member(group)
        page = client.get(PHOTOS)
        offered = {name for name, _ in page.context["action_form"].fields["action"].choices if name}
        assert offered == self.MAY[group]
        assert (b'name="form-0-top_prediction"' in page.content) == (group != "viewers")
        for action in {"correct", "accept", "reclassify", "delete_selected"} - self.MAY[group]:
            act(client, action, ids, confirmed="yes", label="lynx", confidence="1")
        assert ImagePrediction.objects.count() == 2
        assert not Correction.objects.exists()
        assert client.get(CORRECTIONS).status_code == 200
        assert client.get("/admin/classifier/modelversion/").status_code == 200
        assert client.get("/admin/django_q/failure/").status_code == (200 if group == "managers" else 403)
        assert client.get("/admin/auth/user/").status_code == 403

    def test_viewers_cannot_save_the_list_or_a_photo_or_undo(self, member: Any, many: Any) -> None:
        [pk] = many(1)
        batch = services.correct(ImagePrediction.objects.all(), "puma", 1, by=None, source=Correction.Source.API)
        client = member("viewers")
        edit(client, [(pk, "puma", "1", "lynx", "1")])
        assert client.get(f"{PHOTOS}{pk}/change/").status_code == 200
        sent = client.post(f"{PHOTOS}{pk}/change/", {"top_prediction": "lynx", "confidence": "1"})
        assert sent.status_code == 403
        correction = Correction.objects.get(batch=batch)
        client.post(
            CORRECTIONS, {"action": "undo", "_selected_action": [correction.pk], "select_across": "0", "index": "0"}
        )
        assert truth(pk) == ("puma", 1.0)

    def test_labelers_correct_and_managers_delete(self, member: Any, many: Any) -> None:
        ids = many(2)
        confirm(member("labelers"), "correct", ids, label="lynx", confidence="1")
        assert truth(ids[0]) == ("lynx", 1.0)
        client = member("managers")
        assert client.post(f"{PHOTOS}{ids[0]}/delete/", {"post": "yes"}).status_code == 302
        confirm(client, "delete_selected", ids[1:])
        assert not ImagePrediction.objects.exists()

    def test_the_migration_leaves_what_an_operator_changed(self) -> None:
        migration = importlib.import_module("predictions.migrations.0005_groups")
        Group.objects.get(name="labelers").permissions.clear()
        Group.objects.get(name="managers").delete()
        migration.create(apps, SimpleNamespace(connection=connection))
        assert not Group.objects.get(name="labelers").permissions.exists()
        assert Group.objects.get(name="managers").permissions.count() == len(migration.MANAGERS)

    def test_every_permission_of_a_group_is_one_that_django_knows(self) -> None:
        given = Permission.objects.filter(group__isnull=False).distinct()
        names = ("0005_groups", "0016_label_rules")
        migrations = [importlib.import_module(f"predictions.migrations.{name}") for name in names]
        assert given.count() == len({name for migration in migrations for name in migration.MANAGERS})
        for permission in given:
            model = permission.content_type.model_class()
            assert model
            meta = model._meta
            known = {f"{action}_{meta.model_name}" for action in meta.default_permissions}
            assert permission.codename in known | {name for name, _ in meta.permissions}


def test_models_are_shown_and_cannot_be_changed(admin_client: Client, version: ModelVersion) -> None:
    assert b"v1" in admin_client.get("/admin/classifier/modelversion/").content
    for path in ("predictions/imageprediction/add/", "classifier/modelversion/add/"):
        assert admin_client.get(f"/admin/{path}").status_code == 403


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no such index")
def test_on_postgresql_an_index_finds_parts_of_names_and_labels() -> None:
    condition = Q(filename__icontains="leopard") | Q(top_prediction__icontains="leopard")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = ImagePrediction.objects.filter(condition).order_by().explain()
    assert plan.count("predictions_by_text") == 2


def test_the_queues_own_pages_are_there(admin_client: Client) -> None:
    for model in ("failure", "success", "schedule", "ormq"):
        assert admin_client.get(f"/admin/django_q/{model}/").status_code == 200


def test_the_list_of_models_leads_to_their_page_and_changes_nothing(member: Callable[[str], Client]) -> None:
    version = ModelVersion.objects.create(name="v2", backbone="MobileNetV2", digest="2", share=5)
    manager = member("managers")
    page = manager.get("/admin/classifier/modelversion/").content.decode()
    assert f'<a href="/dashboard/models/#version-{version.pk}">v2 among the models</a>' in page
    assert "5 %" in page
    assert manager.get("/admin/classifier/modelversion/add/").status_code == 403
    assert manager.post(f"/admin/classifier/modelversion/{version.pk}/change/", {"name": "x"}).status_code == 403
    assert manager.post(f"/admin/classifier/modelversion/{version.pk}/delete/", {"post": "yes"}).status_code == 403
