"""Bytes that a model version has answered are not looked at again; people's words stay with their image."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from config.tests.environment import image_bytes, variant
from predictions import services, tasks
from predictions.models import Classification, Correction, ImagePrediction, Status

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images that were looked at, by id; they are, really."""
    seen: list[int] = []
    real = tasks.look

    def look(prediction: ImagePrediction, *rest: Any) -> Any:
        seen.append(prediction.pk)
        return real(prediction, *rest)

    monkeypatch.setattr(tasks, "look", look)
    return seen


def classified(prediction: ImagePrediction) -> ImagePrediction:
    tasks.classify_pending()
    prediction.refresh_from_db()
    assert prediction.status == Status.DONE
    return prediction


def test_the_answer_is_given_again_under_another_name(submit: Submit, model: ModelVersion, looks: list[int]) -> None:
    first = classified(submit("cat.jpg"))
    second = classified(submit("dog.jpg"))
    assert looks == [first.pk]
    assert second.all_predictions == first.all_predictions
    assert (second.top_prediction, second.confidence) == (first.top_prediction, first.confidence)
    assert (second.model_version, second.attempts) == (model, 1)
    assert second.rendered_at  # its thumbnail is its own
    assert list(second.classifications.values_list("milliseconds", flat=True)) == [None]


def test_of_equal_images_that_are_claimed_together_one_is_looked_at(
    submit: Submit, model: ModelVersion, looks: list[int]
) -> None:
    for number in range(8):
        submit("a.jpg", image_bytes() + b"%d" % (number % 2))
    tasks.classify_pending()
    assert len(looks) == 2
    assert set(ImagePrediction.objects.values_list("status", flat=True)) == {Status.DONE}
    assert Classification.objects.count() == 8


def test_a_byte_more_is_another_image(submit: Submit, model: ModelVersion, looks: list[int]) -> None:
    rows = [classified(submit("a.jpg", image_bytes() + end)) for end in (b"", b"x")]
    assert looks == [row.pk for row in rows]


def test_corrections_are_not_shared(submit: Submit, model: ModelVersion) -> None:
    first = classified(submit())
    said = first.top_prediction
    services.correct(ImagePrediction.objects.all(), "okapi", 1.0, by=None, source=Correction.Source.PAGE)
    second = classified(submit())
    assert (second.top_prediction, second.corrected_at, second.corrections.count()) == (said, None, 0)


def test_another_model_looks_for_itself(
    submit: Submit, small_bundle: Bundle, install: Any, tmp_path: Any, looks: list[int]
) -> None:
    install(variant(small_bundle, tmp_path, "abc"))
    first = classified(submit())
    newer = install(variant(small_bundle, tmp_path, "def"))
    second = classified(submit())
    assert looks == [first.pk, second.pk]
    assert second.model_version == newer
    assert str(second.top_prediction).startswith("def")


def test_classifying_again_does_look_again(submit: Submit, model: ModelVersion, looks: list[int]) -> None:
    row = classified(submit())
    services.reclassify(ImagePrediction.objects.all())
    classified(row)
    assert looks == [row.pk, row.pk]


def test_what_was_deleted_is_forgotten(submit: Submit, model: ModelVersion, looks: list[int]) -> None:
    classified(submit())
    services.remove(ImagePrediction.objects.all())
    second = classified(submit())
    assert looks[-1] == second.pk


def test_a_first_deleted_between_asking_and_writing_is_no_matter(
    submit: Submit, model: ModelVersion, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = classified(submit())
    real = Classification.objects.of_same_bytes

    def delete_behind(*arguments: Any) -> Any:
        known = real(*arguments)
        ImagePrediction.objects.filter(pk=first.pk).delete()
        return known

    monkeypatch.setattr(Classification.objects, "of_same_bytes", delete_behind)
    second = classified(submit())
    assert second.all_predictions == first.all_predictions
    assert looks == [first.pk]


def test_a_failure_is_tried_anew(submit: Submit, model: ModelVersion, looks: list[int]) -> None:
    broken = image_bytes(size=(400, 300))[:3000]
    for _ in range(2):
        submit("a.jpg", broken)
        tasks.classify_pending()
    assert len(looks) == 2


def test_a_claim_asks_once_however_many_images_it_has(
    submit: Submit, model: ModelVersion, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(8):
        submit("a.jpg", image_bytes() + b"%d" % number)
    claimed = ImagePrediction.objects.claim()
    assert len(claimed) > 1
    with django_assert_num_queries(1):
        assert Classification.objects.of_same_bytes(claimed, model) == {}


def test_many_that_wait_with_the_same_bytes_do_not_hide_what_was_said_of_others(
    submit: Submit, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictions.models.IN_SIGHT", 3)
    known, waiting = classified(submit("a.jpg")), image_bytes(size=(90, 90))
    for content in [waiting, image_bytes(), *[waiting] * 6]:
        submit("a.jpg", content)
    claimed = list(ImagePrediction.objects.order_by("pk")[1:3])
    assert Classification.objects.of_same_bytes(claimed, model) == {known.sha256: known.all_predictions}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite alone tells its plan whatever the tables hold")
def test_what_it_asks_does_not_grow_with_the_answers_there_are(submit: Submit, model: ModelVersion) -> None:
    """Each image once cost a walk through all answers of its version: 1 ms for every 2,000."""
    classified(submit("a.jpg"))
    submit("a.jpg")
    claimed = ImagePrediction.objects.claim()
    with CaptureQueriesContext(connection) as asked:
        assert Classification.objects.of_same_bytes(claimed, model)
    with connection.cursor() as cursor:
        plans = [str(cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}").fetchall()) for query in asked]
    [plan] = plans
    assert "by_sha256 (sha256=?" in plan
    assert "(model_version_id=? AND prediction_id=?)" in plan or "(prediction_id=? AND model_version_id=?)" in plan
