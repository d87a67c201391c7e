"""The label rules in the admin: what they would change is told before, and what they have changed after."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from config.tests.environment import variant
from predictions.labelmap import LabelRule
from predictions.models import ImagePrediction
from predictions.tests.test_labelmap import photo, rule

pytestmark = pytest.mark.django_db
LIST = "/admin/predictions/labelrule/"
ADD = f"{LIST}add/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def photos() -> None:
    for label, confidence in (("beagle", 0.9), ("beagle", 0.3), ("poodle", 0.5), ("cat", 0.9)):
        photo(label, confidence)
    photo("beagle", 0.9, corrected=True)


def member(client: Client, group: str) -> Client:
    user = User.objects.create_user(group, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    return client


def listed(rows: dict[str, tuple[str, str]], **more: str) -> dict[str, Any]:
    """Return what the list's form sends: by label, what it is to be shown as and its minimum."""
    data: dict[str, Any] = {"form-TOTAL_FORMS": len(rows), "form-INITIAL_FORMS": len(rows), **more}
    for number, (label, (shown_as, minimum)) in enumerate(sorted(rows.items())):
        data |= {f"form-{number}-id": LabelRule.objects.get(label=label).pk}
        data |= {f"form-{number}-shown_as": shown_as, f"form-{number}-minimum": minimum}
    return data


def mapped(labels: str, shown_as: str = "dog", minimum: str = "0", **more: str) -> dict[str, str]:
    return {"labels": labels, "shown_as": shown_as, "minimum": minimum, **more}


def text(response: Any) -> str:
    return unescape(response.content.decode())


def rules() -> list[tuple[str, str, float]]:
    return list(LabelRule.objects.values_list("label", "shown_as", "minimum"))


@pytest.mark.usefixtures("photos")
class TestMappingMany:
    def test_many_labels_get_one_in_one_step(self, admin_client: Client) -> None:
        rule("poodle", "lion", 0.2)
        said = mapped(" beagle\r\n\r\npoodle\r\nbeagle\r\n", minimum="0.4")
        page = text(admin_client.post(ADD, said, follow=True))
        assert rules() == [("beagle", "dog", 0.4), ("poodle", "dog", 0.4)]
        assert "Rules saved: 2." in page
        assert "Photos that show another label now: 3." in page
        assert [photo.label for photo in ImagePrediction.objects.order_by("pk")] == [
            "dog", "unsure", "dog", "cat", "beagle",
        ]  # fmt: skip
        assert LogEntry.objects.count() == 2

    def test_the_preview_tells_what_saving_would_and_saves_nothing(self, admin_client: Client) -> None:
        for said, count in ((mapped("beagle"), 2), (mapped("beagle\npoodle\ncat", "", "0.4"), 1), (mapped("bee"), 0)):
            answer = text(admin_client.post(ADD, {**said, "_preview": "yes"}, headers=HTMX))
            assert answer == f"Photos that would show another label: {count}."
        assert not LabelRule.objects.exists()

    def test_without_a_script_the_preview_is_the_page_with_what_was_typed(self, admin_client: Client) -> None:
        page = text(admin_client.post(ADD, mapped("beagle\npoodle", "hound", "0.25", _preview="Preview")))
        assert "Photos that would show another label: 3." in page
        assert re.search(r"<textarea[^>]*>\s*beagle\npoodle</textarea>", page.replace("\r", ""))
        assert 'value="hound"' in page
        assert 'value="0.25"' in page
        assert not LabelRule.objects.exists()

    def test_labels_that_no_model_that_answers_has_are_named(
        self, admin_client: Client, model: ModelVersion, install: Any, small_bundle: Bundle, tmp_path: Path
    ) -> None:
        install(variant(small_bundle, tmp_path, "new"))
        said = mapped("bee\nbea\nnew1\n<b>", _preview="yes")
        for share, unknown in ((0, "bee, bea, <b>"), (10, "bea, <b>")):
            ModelVersion.objects.set_shares({model.name: share})
            answer = text(admin_client.post(ADD, said, headers=HTMX))
            assert answer.endswith(f"Not among the labels of the models that answer: {unknown}.")

    @pytest.mark.parametrize(("said", "sentence"), [
        (mapped(" \n"), "This field is required"), (mapped("a", minimum="2"), "less than or equal to 1"),
        (mapped("a", minimum="NaN"), "Enter a number"), (mapped("a", minimum=""), "This field is required"),
        (mapped("x" * 201), "This is no label"), (mapped("a\x07b"), "This is no label"), ({}, "required"),
        (mapped("a", "x" * 201), "at most 200 characters"), (mapped("a\0"), "Null characters are not allowed"),
        (mapped("a", minimum="-1"), "greater than or equal to 0"),
    ])  # fmt: skip
    def test_bad_input_gets_a_sentence(self, admin_client: Client, said: dict[str, str], sentence: str) -> None:
        assert sentence in text(admin_client.post(ADD, said))
        assert sentence in text(admin_client.post(ADD, {**said, "_preview": "yes"}, headers=HTMX))
        assert not LabelRule.objects.exists()

    def test_chosen_rules_are_mapped_together(self, admin_client: Client) -> None:
        rule("beagle", "dog", 0.2)
        rule("poodle", "dog", 0.4)
        chosen = list(LabelRule.objects.values_list("pk", flat=True))
        page = text(admin_client.post(LIST, {"action": "map_together", "_selected_action": chosen, "index": "0"}))
        assert "beagle\npoodle</textarea>" in page
        assert 'value="dog"' in page

    def test_a_rules_own_address_leads_to_it(self, admin_client: Client) -> None:
        rule("beagle", "dog", 0.2)
        page = text(admin_client.get(f"{LIST}{LabelRule.objects.get().pk}/change/", follow=True))
        assert "beagle</textarea>" in page
        assert 'value="0.2"' in page


@pytest.mark.usefixtures("photos")
class TestList:
    @pytest.fixture(autouse=True)
    def two(self) -> None:
        rule("beagle", "dog")
        rule("poodle", "dog")

    def test_saving_tells_how_many_photos_changed(self, admin_client: Client) -> None:
        data = listed({"beagle": ("hound", "0.5"), "poodle": ("dog", "0")}, _save="Save")
        assert "Photos that show another label now: 2." in text(admin_client.post(LIST, data, follow=True))
        assert rules() == [("beagle", "hound", 0.5), ("poodle", "dog", 0)]

    def test_saving_nothing_tells_nothing(self, admin_client: Client) -> None:
        data = listed({"beagle": ("dog", "0"), "poodle": ("dog", "0")}, _save="Save")
        assert "another label" not in text(admin_client.post(LIST, data, follow=True))

    def test_the_preview_tells_the_same_before(self, admin_client: Client) -> None:
        data = listed({"beagle": ("dog", "0.5"), "poodle": ("", "0")}, _preview="yes")
        answer = text(admin_client.post(LIST, data, headers=HTMX))
        assert answer == "Photos that would show another label: 2."
        page = text(admin_client.post(LIST, data))
        assert "Photos that would show another label: 2." in page
        assert 'name="form-0-minimum" value="0.5"' in page
        assert {minimum for _, _, minimum in rules()} == {0}

    @pytest.mark.parametrize("data", [{}, {"form-TOTAL_FORMS": "x"}])
    def test_a_senseless_preview_gets_a_sentence(self, admin_client: Client, data: dict[str, str]) -> None:
        assert text(admin_client.post(LIST, {**data, "_preview": "yes"}, headers=HTMX)) == "This is no list of rules."

    def test_a_wrong_minimum_gets_a_sentence(self, admin_client: Client) -> None:
        data = listed({"beagle": ("dog", "1.5"), "poodle": ("dog", "x")}, _preview="yes")
        answer = text(admin_client.post(LIST, data, headers=HTMX))
        assert "less than or equal to 1" in answer
        assert "Enter a number" in answer

    def test_a_rule_that_is_gone_is_no_trouble(self, admin_client: Client) -> None:
        data = listed({"beagle": ("dog", "0.5"), "poodle": ("", "0")}, _preview="yes")
        LabelRule.objects.filter(label="beagle").delete()
        assert admin_client.post(LIST, data, headers=HTMX).status_code == 200
        assert admin_client.post(LIST, {**data, "_save": "Save"}).status_code in {200, 302}

    def test_deleting_tells_it_too_before_and_after(self, admin_client: Client) -> None:
        chosen = list(LabelRule.objects.values_list("pk", flat=True))
        data = {"action": "delete_selected", "_selected_action": chosen, "index": "0"}
        assert "Photos that would show another label: 3." in text(admin_client.post(LIST, data))
        one = f"{LIST}{LabelRule.objects.get(label='beagle').pk}/delete/"
        assert "Photos that would show another label: 2." in text(admin_client.get(one))
        page = text(admin_client.post(LIST, {**data, "post": "yes"}, follow=True))
        assert "Photos that show another label now: 3." in page
        assert "would" not in page

    def test_rules_are_found_by_either_label(self, admin_client: Client) -> None:
        assert len(admin_client.get(LIST, {"q": "dog"}).context["cl"].result_list) == 2
        assert len(admin_client.get(LIST, {"q": "beag"}).context["cl"].result_list) == 1


@pytest.mark.parametrize(("group", "may_change", "may_delete"), [
    ("viewers", False, False), ("labelers", True, False), ("managers", True, True),
])  # fmt: skip
def test_who_may_do_what(client: Client, group: str, *, may_change: bool, may_delete: bool) -> None:
    rule("beagle", "dog")
    member(client, group)
    page = text(client.get(LIST))
    assert "beagle" in page
    assert ('name="form-0-minimum"' in page) == may_change
    assert ("delete_selected" in page) == may_delete
    assert client.get(ADD).status_code == (200 if may_change else 403)
    client.post(ADD, mapped("poodle"))
    client.post(LIST, listed({"beagle": ("hound", "0")}, _save="Save"))
    expected = [("beagle", "hound", 0), ("poodle", "dog", 0)] if may_change else [("beagle", "dog", 0)]
    assert rules() == expected[: len(rules())]
    assert len(rules()) == len(expected) or not may_change
