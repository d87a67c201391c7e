"""The label map: whatever shows or searches labels agrees, the rows stay as they are, and people's words too."""

import csv
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from classifier.models import ModelVersion
from predictions import dashboard, services
from predictions.filters import PredictionFilter
from predictions.labelmap import SECONDS, UNSURE, LabelMap, LabelRule
from predictions.models import Answer, Correction, ImagePrediction, Status

pytestmark = pytest.mark.django_db
RULES = [
    ("beagle", "dog", 0.0),
    ("poodle", "dog", 0.4),
    ("dog", "statue", 0.0),
    ("tabby", "", 0.5),
    ("fog", UNSURE, 0.2),
]
LABELS = ["beagle", "poodle", "dog", "tabby", "fog", "bee", "statue", UNSURE]
CONFIDENCES = [0.0, 0.1, 0.2, 0.39, 0.4, 0.41, 0.5, 0.9, 1.0]


def rule(label: str, shown_as: str = "", minimum: float = 0) -> None:
    LabelRule.objects.update_or_create(label=label, defaults={"shown_as": shown_as, "minimum": minimum})
    LabelMap.forget()


@pytest.fixture
def rules() -> None:
    for each in RULES:
        rule(*each)


def photo(
    label: str | None = "beagle", confidence: float | None = 0.9, *, corrected: bool = False, **values: Any
) -> Any:
    status = Status.DONE if label else Status.PENDING
    answers = [{"label": label, "confidence": confidence}] if label and not corrected else None
    blank = {"filename": "x.jpg", "image_path": "x.jpg", "sha256": "0" * 64, "width": 4, "height": 3, "size": 1}
    said = {"top_prediction": label, "confidence": confidence, "all_predictions": answers, "status": status}
    moment = timezone.now() if corrected else None
    return ImagePrediction.objects.create(**(blank | said | {"corrected_at": moment} | values))


@pytest.fixture
def photos() -> list[ImagePrediction]:
    """One of every label, confidence and origin, and one without a label."""
    every = [
        ImagePrediction(
            filename="x.jpg", sha256="0" * 64, width=4, height=3, size=1, status=Status.DONE, top_prediction=label,
            confidence=confidence, corrected_at=timezone.now() if corrected else None,
        )
        for label in LABELS for confidence in CONFIDENCES for corrected in (False, True)
    ]  # fmt: skip
    ImagePrediction.objects.bulk_create(every)
    photo(None, None)
    return list(ImagePrediction.objects.all())


def found(**query: str) -> set[int]:
    form = PredictionFilter(query, ImagePrediction.objects.all())
    assert form.is_valid()
    return set(form.qs.values_list("pk", flat=True))


def suggested(client: Client, query: str) -> str:
    return client.get(f"/labels{query}").content.decode()


def ids(photos: Iterable[ImagePrediction]) -> set[int]:
    return {photo.pk for photo in photos}


@pytest.mark.usefixtures("rules")
class TestShowing:
    @pytest.mark.parametrize(("label", "confidence", "shown"), [
        ("beagle", 0.0, "dog"), ("poodle", 0.4, "dog"), ("poodle", 0.39, UNSURE), ("dog", 0.9, "statue"),
        ("tabby", 0.5, "tabby"), ("tabby", 0.4, UNSURE), ("bee", 0.01, "bee"),
    ])  # fmt: skip
    def test_a_models_answer_is_shown_by_its_rule(self, label: str, confidence: float, shown: str) -> None:
        assert photo(label, confidence).label == shown

    def test_a_persons_word_is_never_mapped_and_never_unsure(self) -> None:
        assert [photo(label, 0.1, corrected=True).label for label in LABELS] == LABELS

    def test_what_has_no_label_shows_none(self) -> None:
        assert (photo(None, None).label, photo(None, None).user_label) == (None, None)

    def test_the_user_label_of_an_unsure_answer_is_known(self) -> None:
        assert photo("poodle", 0.1).user_label == "dog"

    def test_rows_keep_what_the_model_said(self, client: Client, model: ModelVersion) -> None:
        pk = photo("poodle", 0.1).pk
        shown = client.get(f"/predictions/{pk}/").json()
        assert (shown["label"], shown["top_prediction"], shown["confidence"]) == (UNSURE, "poodle", 0.1)
        assert shown["all_predictions"] == [{"label": "poodle", "confidence": 0.1}]

    def test_the_etag_changes_with_what_is_shown(self, client: Client) -> None:
        pk = photo().pk
        before = client.get(f"/predictions/{pk}/")["ETag"]
        rule("beagle", "hound")
        assert client.get(f"/predictions/{pk}/", headers={"If-None-Match": before}).json()["label"] == "hound"

    def test_pages_show_the_users_label_and_the_raw_one_where_people_look_closely(self, client: Client) -> None:
        pk = photo("poodle", 0.9).pk
        gallery, card = client.get("/gallery/").content.decode(), client.get(f"/gallery/{pk}/card").content.decode()
        detail = client.get(f"/gallery/{pk}/").content.decode()
        assert all("<strong>dog</strong>" in page for page in (gallery, card, detail))
        assert "poodle" not in gallery
        assert "The model says <q>poodle</q>" in detail
        assert 'alt="dog"' in detail

    def test_the_history_says_both(self, client: Client, submit: Any, model: ModelVersion) -> None:
        pk = submit().pk
        [claimed] = ImagePrediction.objects.claim()
        ImagePrediction.objects.finish([(claimed, Answer([{"label": "poodle", "confidence": 0.3}], 1))], model)
        assert "said <q>poodle</q> (0.30), shown as <q>unsure</q>" in client.get(f"/gallery/{pk}/").content.decode()
        [entry] = client.get(f"/predictions/{pk}/history/").json()
        assert (entry["label"], entry["labels"][0]["label"]) == (UNSURE, "poodle")

    def test_a_changed_rule_holds_within_a_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        image = photo()
        now = [1000.0]
        monkeypatch.setattr("predictions.labelmap.SECONDS", SECONDS)
        monkeypatch.setattr("predictions.labelmap.time.monotonic", lambda: now[0])
        LabelMap.forget()
        assert image.label == "dog"
        LabelRule.objects.filter(label="beagle").update(shown_as="hound")
        now[0] += 0.9
        assert image.label == "dog"
        now[0] += 0.2
        assert image.label == "hound"

    def test_the_rules_are_read_once_for_many(self, photos: list[ImagePrediction]) -> None:
        LabelMap.forget()
        with CaptureQueriesContext(connection) as captured:
            assert len([photo.label for photo in photos]) > 100
        assert len(captured) == 1


@pytest.mark.usefixtures("rules")
class TestFinding:
    @pytest.mark.parametrize("label", [*LABELS, "cat"])
    def test_a_label_finds_exactly_what_shows_it(self, label: str, photos: list[ImagePrediction]) -> None:
        assert found(label=label) == ids(photo for photo in photos if photo.label == label)

    @pytest.mark.parametrize("label", LABELS)
    def test_the_raw_label_finds_the_models_own(self, label: str, photos: list[ImagePrediction]) -> None:
        assert found(raw_label=label) == ids(photo for photo in photos if photo.top_prediction == label)

    @pytest.mark.parametrize("words", ["dog", "DOG", "og", "unsure", "statu", "nothing", "poodle"])
    def test_a_search_finds_what_is_shown_and_what_the_model_said(
        self, words: str, photos: list[ImagePrediction]
    ) -> None:
        texts = {photo.pk: f"{photo.label} {photo.top_prediction}".lower() for photo in photos if photo.label}
        assert found(q=words) == {pk for pk, text in texts.items() if words.lower() in text}

    def test_the_api_and_the_admin_find_the_same(self, admin_client: Client, photos: list[ImagePrediction]) -> None:
        expected = ids(photo for photo in photos if photo.label == "dog")
        answer = admin_client.get("/predictions/", {"label": "dog", "page_size": "500"}).json()
        assert {image["id"] for image in answer} == expected
        assert {image["label"] for image in answer} == {"dog"}
        listed = admin_client.get("/admin/predictions/imageprediction/", {"label": "dog"}).context["cl"]
        assert ids(listed.result_list) == expected
        searched = admin_client.get("/admin/predictions/imageprediction/", {"q": "dog"}).context["cl"]
        assert set(searched.paginator.ids) == found(q="dog")

    def test_labels_are_suggested_as_they_can_be_found(self, client: Client, model: ModelVersion) -> None:
        rule("bee", "insect")
        rule("ant", "insect", 0.3)
        assert 'value="insect"' in suggested(client, "?label=in")
        assert 'value="bee"' not in suggested(client, "?label=be")
        assert 'value="bee"' in suggested(client, "?raw&raw_label=be")
        assert 'value="unsure"' in suggested(client, "?filter=&label=un")
        assert 'value="unsure"' not in suggested(client, "?label=un")

    def test_thousands_of_rules_of_as_many_minimums_are_no_trouble(self) -> None:
        LabelRule.objects.bulk_create(
            LabelRule(label=f"l{n}", shown_as="many", minimum=n / 4000) for n in range(1, 3000)
        )
        LabelMap.forget()
        sure, unsure = photo("l2000", 0.5), photo("l2000", 0.49)
        assert found(label="many") == {sure.pk}
        assert found(label=UNSURE) == {unsure.pk}
        assert found(q="man") == {sure.pk}
        before = LabelMap.current()
        after = before.with_rules(LabelRule(label=f"l{n}", shown_as="lots", minimum=n / 5000) for n in range(1, 3000))
        assert ImagePrediction.objects.filter(before.changed(after)).count() == 2


def test_without_rules_a_label_is_one_comparison() -> None:
    assert str(LabelMap().find("cat")) == "(AND: ('top_prediction', 'cat'))"
    assert not LabelMap().search("cat")


@pytest.mark.usefixtures("rules")
def test_the_filter_takes_as_few_queries_as_any_other(client: Client, photos: list[ImagePrediction]) -> None:
    LabelMap.forget()
    with CaptureQueriesContext(connection) as captured:
        client.get("/gallery/?label=dog&q=d")
    assert len(captured) <= 4  # the rules, the models to choose from, on SQLite how much that lets pass, the photos


@pytest.mark.parametrize("seed", range(20))
def test_what_changes_is_counted_as_it_is_shown(seed: int, photos: list[ImagePrediction]) -> None:
    chance = random.Random(seed)
    maps = [
        LabelMap().with_rules(
            LabelRule(label=label, shown_as=chance.choice(["", *LABELS]), minimum=chance.choice([0, *CONFIDENCES]))
            for label in chance.sample(LABELS, 5)
        )
        for _ in range(2)
    ]
    expected = set()
    for image in photos:
        if image.top_prediction and not image.corrected_at:
            before, after = (each.shown(image.top_prediction, image.confidence) for each in maps)
            expected |= {image.pk} if before != after else set()
    changed = ImagePrediction.objects.filter(maps[0].changed(maps[1]))
    assert set(changed.values_list("pk", flat=True)) == expected


@pytest.mark.usefixtures("rules")
class TestPeople:
    def test_accepting_keeps_the_users_label(self) -> None:
        sure, unsure = photo("beagle"), photo("poodle", 0.1)
        services.accept(ImagePrediction.objects.all(), by=None, source=Correction.Source.ADMIN)
        for image in (sure, unsure):
            image.refresh_from_db()
            assert (image.label, image.top_prediction) == ("dog", "dog")

    def test_a_confidence_alone_is_of_the_label_that_people_saw(self, client: Client) -> None:
        pk = photo("beagle").pk
        answer = client.patch(f"/predictions/{pk}/", {"confidence": 0.7}, content_type="application/json").json()
        assert (answer["label"], answer["top_prediction"]) == ("dog", "dog")

    def test_a_person_may_say_what_the_model_did(self, client: Client) -> None:
        pk = photo("beagle").pk
        answer = client.patch(f"/predictions/{pk}/", {"top_prediction": "beagle"}, content_type="application/json")
        assert answer.json()["label"] == "beagle"


@pytest.mark.usefixtures("rules")
class TestDashboard:
    def test_labels_are_counted_as_they_are_shown(self, photos: list[ImagePrediction]) -> None:
        expected = Counter(photo.label for photo in photos if photo.label)
        assert dict(dashboard.figures().labels.counts) == expected

    def test_a_person_who_says_the_same_by_the_map_found_no_mistake(self) -> None:
        for label, word in (("beagle", "dog"), ("beagle", "wolf")):
            image = ImagePrediction.objects.filter(pk=photo(label).pk)
            services.correct(image, word, 1, by=None, source=Correction.Source.PAGE)
        assert dashboard.figures().mistakes.counts == [("beagle", 1)]


@pytest.mark.usefixtures("rules")
class TestDatasets:
    @pytest.fixture
    def exported(self, tmp_path: Path) -> Path:
        photo("beagle"), photo("poodle", 0.1), photo("dog", 0.3, corrected=True), photo("bee"), photo(None, None)
        path = tmp_path / "labels.csv"
        call_command("export_dataset", str(path))
        return path

    def rows(self, path: Path) -> list[dict[str, str]]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    def edit(self, path: Path, labels: dict[str, str]) -> None:
        rows = self.rows(path)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows({**row, "label": labels.get(row["label"], row["label"])} for row in rows)

    def test_both_labels_are_exported(self, exported: Path) -> None:
        labels = [(row["label"], row["model_label"]) for row in self.rows(exported)]
        assert labels == [("dog", "beagle"), (UNSURE, "poodle"), ("dog", ""), ("bee", "bee"), ("", "")]

    @pytest.mark.parametrize("changed", [False, True])
    def test_untouched_labels_never_become_corrections(self, exported: Path, *, changed: bool) -> None:
        if changed:
            rule("beagle", "hound", 0.95)
        call_command("import_corrections", str(exported))
        assert not Correction.objects.exists()

    def test_edited_labels_do(self, exported: Path) -> None:
        self.edit(exported, {UNSURE: "wolf"})
        call_command("import_corrections", str(exported))
        assert list(Correction.objects.values_list("label_before", "label_after")) == [("poodle", "wolf")]

    def test_the_options_choose_by_either_label(self, exported: Path, tmp_path: Path) -> None:
        for option, expected in (("--label", 2), ("--raw-label", 1)):
            call_command("export_dataset", str(tmp_path / f"{option}.csv"), option, "dog")
            assert len(self.rows(tmp_path / f"{option}.csv")) == expected


@pytest.mark.usefixtures("rules")
def test_the_api_lists_the_rules(client: Client) -> None:
    answer = client.get("/label-rules/")
    assert answer.status_code == 200
    expected = [
        {"label": label, "shown_as": shown_as, "minimum": minimum} for label, shown_as, minimum in sorted(RULES)
    ]
    assert answer.json() == expected
    assert client.post("/label-rules/", {}).status_code == 405


@pytest.mark.usefixtures("rules")
class TestPhotosInTheAdmin:
    LIST = "/admin/predictions/imageprediction/"

    def save(self, client: Client, pk: int, shown: str, label: str, confidence: str) -> None:
        data = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "_save": "Save", "form-0-id": pk}
        data |= {"initial-form-0-top_prediction": shown, "form-0-top_prediction": label}
        client.post(self.LIST, data | {"initial-form-0-confidence": "0.1", "form-0-confidence": confidence})

    def test_the_list_has_the_users_label_and_says_what_the_model_said(self, admin_client: Client) -> None:
        photo("poodle", 0.1)
        page = admin_client.get(self.LIST).content.decode()
        assert 'value="dog" aria-label="Label of x.jpg"' in page
        assert '<td class="field-raw">poodle: unsure</td>' in page

    def test_without_rules_there_is_no_column_for_them(self, admin_client: Client) -> None:
        LabelRule.objects.all().delete()
        LabelMap.forget()
        photo()
        assert "field-raw" not in admin_client.get(self.LIST).content.decode()

    @pytest.mark.parametrize(("label", "confidence", "said"), [
        ("dog", "0.1", []), ("dog", "0.8", [("dog", 0.8)]), ("wolf", "0.1", [("wolf", 1.0)]),
    ])  # fmt: skip
    def test_only_what_is_edited_is_a_correction(
        self, admin_client: Client, label: str, confidence: str, said: list[tuple[str, float]]
    ) -> None:
        self.save(admin_client, photo("poodle", 0.1).pk, "dog", label, confidence)
        assert list(Correction.objects.values_list("label_after", "confidence")) == said

    def test_a_rule_that_changes_meanwhile_makes_no_correction(self, admin_client: Client) -> None:
        pk = photo("poodle", 0.1).pk
        rule("poodle", "hound")
        self.save(admin_client, pk, "dog", "dog", "0.1")
        assert not Correction.objects.exists()

    def test_a_photos_page_says_both(self, admin_client: Client) -> None:
        page = admin_client.get(f"{self.LIST}{photo('poodle', 0.1).pk}/change/").content.decode()
        assert "Shown as <q>unsure</q>; the model says <q>poodle</q>" in page
        assert 'name="top_prediction" value="dog"' in page
