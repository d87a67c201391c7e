"""What a worker does: real images, a real model, and everything that goes wrong on the way."""

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from PIL import ExifTags, Image

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from config.tests.environment import LABELS, image_bytes, variant
from predictions import queue, services, serving, tasks
from predictions.models import BATCH, MAX_ATTEMPTS, MOST_AT_ONCE, Embedding, ImagePrediction, Status
from predictions.storage import DurableFileSystemStorage

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]


def test_it_classifies_until_none_is_left(submit: Submit, model: ModelVersion) -> None:
    for _ in range(5):
        submit()
    tasks.classify_pending()
    rows = list(ImagePrediction.objects.all())
    assert {row.status for row in rows} == {Status.DONE}
    assert {row.model_version for row in rows} == {model}
    for row in rows:
        assert row.all_predictions
        assert len(row.all_predictions) == 5
        assert row.top_prediction == row.all_predictions[0]["label"]
        assert row.top_prediction in LABELS


def test_a_task_delivered_twice_changes_nothing(submit: Submit, model: ModelVersion) -> None:
    pk = submit().pk
    tasks.classify_pending()
    first = ImagePrediction.objects.get(pk=pk)
    tasks.classify_pending()
    second = ImagePrediction.objects.get(pk=pk)
    assert (first.classified_at, first.attempts) == (second.classified_at, second.attempts)


def test_without_a_model_images_wait(submit: Submit, caplog: pytest.LogCaptureFixture) -> None:
    submit()
    tasks.classify_pending()
    assert ImagePrediction.objects.get().status == Status.PENDING
    assert "none is whole: 1 images wait" in caplog.text


def test_with_a_damaged_model_images_wait(
    submit: Submit, model: ModelVersion, caplog: pytest.LogCaptureFixture
) -> None:
    submit()
    (model.path / "labels.json").write_text("[]")
    tasks.classify_pending()
    assert ImagePrediction.objects.get().status == Status.PENDING
    assert "labels.json is damaged" in caplog.text


def test_the_version_that_served_last_stands_in_for_a_damaged_one_until_it_is_repaired(
    submit: Submit, small_bundle: Bundle, install: Callable[[Bundle], ModelVersion], tmp_path: Path
) -> None:
    """Loading keeps one model per process; each of these is another one, so that nothing is left in memory."""
    oldest, previous, newest = (install(variant(small_bundle, tmp_path, labels)) for labels in ("abc", "def", "ghi"))
    label_file = newest.path / "labels.json"
    whole = label_file.read_bytes()

    def answered_by() -> ModelVersion | None:
        pk = submit().pk
        tasks.classify_pending()
        return ImagePrediction.objects.get(pk=pk).model_version

    label_file.write_text("[]")
    assert answered_by() == previous
    assert ModelVersion.objects.serving() == newest
    assert ModelVersion.objects.stand_in() == previous
    (previous.path / "model.tflite").unlink()
    assert answered_by() == previous  # from memory
    serving._loaded.clear()
    assert answered_by() == oldest
    label_file.write_bytes(whole)
    assert answered_by() == newest
    label_file.write_text("[]")
    assert answered_by() == newest  # from memory


def test_a_broken_file_fails_with_a_reason_and_the_others_go_on(submit: Submit, model: ModelVersion) -> None:
    content = image_bytes(size=(400, 300))
    broken = submit("broken.jpg", content[: len(content) // 2])
    whole = submit("whole.jpg", content)
    tasks.classify_pending()
    broken.refresh_from_db()
    whole.refresh_from_db()
    assert (broken.status, whole.status) == (Status.FAILED, Status.DONE)
    assert broken.error.startswith("The image is damaged and cannot be decoded")


def test_a_vanished_file_fails_with_a_reason(submit: Submit, model: ModelVersion) -> None:
    prediction = submit()
    Path(prediction.image_path.path).unlink()
    tasks.classify_pending()
    prediction.refresh_from_db()
    assert (prediction.status, prediction.error) == (Status.FAILED, "The file is no longer in the storage")


def test_a_fault_that_is_not_the_images_is_tried_again_later(
    submit: Submit, model: ModelVersion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prediction = submit()

    def unreadable(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(DurableFileSystemStorage, "_open", unreadable)
        tasks.classify_pending()
    prediction.refresh_from_db()
    assert (prediction.status, prediction.attempts) == (Status.PROCESSING, 1)
    assert "attempt 1 failed" in caplog.text
    ImagePrediction.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    services.recover_stale()
    tasks.classify_pending()
    prediction.refresh_from_db()
    assert (prediction.status, prediction.attempts) == (Status.DONE, 2)


def test_a_database_without_room_for_answers_is_no_images_fault(submit: Submit, model: ModelVersion) -> None:
    """A claim takes less room than an answer. So all that waits could be tried in vain, over and over."""
    for number in range(3):
        submit("photo.jpg", image_bytes(size=(90 + number, 60)))

    def full(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith('INSERT INTO "predictions_classification"'):
            raise OperationalError("database or disk is full")
        return execute(sql, *arguments)

    for _ in range(MAX_ATTEMPTS + 1):
        with connection.execute_wrapper(full), pytest.raises(OperationalError):
            tasks.classify_pending()
        ImagePrediction.objects.filter(status=Status.PROCESSING).update(lease_expires_at=timezone.now())
        services.recover_stale()
    assert set(ImagePrediction.objects.values_list("status", "attempts")) == {(Status.PENDING, 0)}
    tasks.classify_pending()
    assert set(ImagePrediction.objects.values_list("status", "attempts")) == {(Status.DONE, 1)}


def test_a_poison_image_fails_alone(submit: Submit, model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    """SystemExit is what django-q2 raises at its timeout; like a crash, it passes every `except Exception`."""
    innocent = [submit().pk for _ in range(6)]
    poison = submit("poison.jpg", image_bytes(size=(99, 99)))
    innocent += [submit().pk for _ in range(6)]
    real = tasks.look

    def dies(prediction: ImagePrediction, *rest: Any) -> Any:
        if prediction.pk == poison.pk:
            raise SystemExit
        return real(prediction, *rest)

    monkeypatch.setattr(tasks, "look", dies)
    deaths = 0
    while ImagePrediction.objects.filter(status__in=[Status.PENDING, Status.PROCESSING]).exists():
        try:
            tasks.classify_pending()
        except SystemExit:
            deaths += 1
        ImagePrediction.objects.filter(status=Status.PROCESSING).update(lease_expires_at=timezone.now())
        services.recover_stale()
    assert deaths == MAX_ATTEMPTS
    poison.refresh_from_db()
    assert poison.status == Status.FAILED
    assert set(ImagePrediction.objects.filter(pk__in=innocent).values_list("status", flat=True)) == {Status.DONE}
    assert ImagePrediction.objects.filter(pk__in=innocent, attempts__gt=2).count() == 0


def test_a_long_backlog_rings_anew(submit: Submit, model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TASK_SECONDS", 0)
    for _ in range(20):
        submit()
    rung: list[int] = []
    monkeypatch.setattr(queue, "ring", rung.append)
    tasks.classify_pending()
    assert rung == [2]
    assert 0 < ImagePrediction.objects.filter(status=Status.DONE).count() < 20


def test_an_image_deleted_meanwhile_is_no_fault(
    submit: Submit, model: ModelVersion, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    prediction = submit()
    [claimed] = ImagePrediction.objects.claim()
    ImagePrediction.objects.filter(pk=prediction.pk).delete()
    models = serving.current()
    assert models
    tasks.classify([claimed], models)
    assert "came too late" in caplog.text


def test_what_is_not_begun_when_half_of_the_lease_is_over_goes_back_to_the_queue(
    submit: Submit, model: ModelVersion, settings: Any
) -> None:
    """Or slow images would lose their lease behind other slow ones, and be tried in vain."""
    for _ in range(4):
        submit()
    claimed, models = ImagePrediction.objects.claim(), serving.current()
    assert models
    settings.LEASE_SECONDS = 0
    tasks.classify(claimed, models)
    first, second = ImagePrediction.objects.filter(pk__in=[row.pk for row in claimed]).order_by("pk")
    assert (first.status, first.attempts) == (Status.DONE, 1)
    assert (second.status, second.attempts, second.lease_expires_at) == (Status.PENDING, 0, None)


def test_a_command_claims_more_at_once_the_faster_it_is(
    submit: Submit, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [submit() for _ in range(BATCH)]
    claims, asked = [rows, rows, rows], list[int]()

    def claim(most: int) -> list[ImagePrediction]:
        asked.append(most)
        return claims.pop() if claims else []

    # Of each claim, when it was begun and when it was done with.
    clock = iter((0.0, 0.001, 1.0, 1.25, 2.0, 60.0))
    monkeypatch.setattr(ImagePrediction.objects, "claim", claim)
    monkeypatch.setattr(tasks, "classify", lambda *_, **__: None)
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    tasks.drain(lambda: True)
    assert asked == [BATCH, MOST_AT_ONCE, 4 * BATCH, BATCH]


def test_what_a_command_has_sketched_it_makes_though_it_is_to_stop(submit: Submit, model: ModelVersion) -> None:
    prediction, answers = submit(), iter([True])
    tasks.drain(lambda: next(answers, False))
    prediction.refresh_from_db()
    assert (prediction.status, prediction.rendered_at is None) == (Status.DONE, False)


def test_what_never_changes_is_written_once(submit: Submit, model: ModelVersion) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:06 07:08:09"
    prediction = submit("a.jpg", image_bytes(exif=exif))
    tasks.drain(lambda: True)
    [embedding], taken = Embedding.objects.all(), ImagePrediction.objects.get().taken_at
    services.reclassify(ImagePrediction.objects.all())
    with CaptureQueriesContext(connection) as captured:
        tasks.drain(lambda: True)
    written = [query["sql"] for query in captured if query["sql"].startswith("UPDATE")]
    assert written
    assert not [sql for sql in written if "taken_at" in sql]
    prediction.refresh_from_db()
    assert (prediction.taken_at, taken and taken.year) == (taken, 2024)
    assert Embedding.objects.get().vector == embedding.vector
