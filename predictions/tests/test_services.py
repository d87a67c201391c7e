"""Where row, file and queue meet: both or neither."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError, connection

from classifier.models import ModelVersion
from config.tests.environment import image_bytes
from predictions import services, tasks
from predictions.models import Correction, ImagePrediction

pytestmark = pytest.mark.django_db


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the kernel refuse writes beyond `size` bytes, as a full disk would: EFBIG instead of ENOSPC."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def files(settings: Any) -> list[Path]:
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def test_a_full_disk_refuses_the_upload_and_keeps_nothing(client: Any, upload: Any, settings: Any) -> None:
    file = upload("a.bmp", image_bytes("BMP", size=(400, 300)))
    with files_of_at_most(100_000):
        response = client.post("/predictions/", {"file": file})
    assert (response.status_code, response.json()) == (507, {"detail": "There is no room for this file on the server"})
    assert not files(settings)
    assert not ImagePrediction.objects.exists()
    assert client.post("/predictions/", {"file": upload()}).status_code == 201


def test_a_full_disk_refuses_what_it_cannot_even_receive(client: Any, upload: Any, settings: Any) -> None:
    content = image_bytes("BMP", size=(1200, 1000))
    for path, answer in (("/predictions/", "There is no room"), ("/", "There is no room")):
        with files_of_at_most(1_000_000):
            response = client.post(path, {"file": upload("large.bmp", content)})
        assert response.status_code == 507
        assert answer in response.content.decode()
    assert not files(settings)
    assert not list(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir())
    assert client.post("/predictions/", {"file": upload("large.bmp", content)}).status_code == 201


def test_what_was_received_before_the_disk_was_full_is_accepted(client: Any, upload: Any, settings: Any) -> None:
    medium, large = upload("m.bmp", image_bytes("BMP", size=(1000, 900))), image_bytes("BMP", size=(1600, 1200))
    with files_of_at_most(3_000_000):
        response = client.post("/", {"file": [medium, upload("l.bmp", large)]})
    assert response.status_code == 507
    assert ImagePrediction.objects.get().filename == "m.bmp"


@pytest.mark.parametrize("words", ["database or disk is full", 'could not extend file "x": No space left on device'])
@pytest.mark.django_db(transaction=True)
def test_a_row_without_room_leaves_no_file(client: Any, upload: Any, settings: Any, words: str) -> None:
    def full(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith("INSERT"):
            raise OperationalError(words)
        return execute(sql, *arguments)

    with connection.execute_wrapper(full):
        for path in ("/predictions/", "/"):
            assert client.post(path, {"file": upload()}).status_code == 507
    assert not files(settings)


@pytest.mark.django_db(transaction=True)
def test_a_file_stays_if_only_the_answer_about_its_row_was_lost(client: Any, upload: Any, settings: Any) -> None:
    """A server that is restarted can have written the row, and no longer say so."""

    def mute(execute: Any, sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if sql.startswith("INSERT"):
            raise OperationalError("server closed the connection unexpectedly")
        return result

    with connection.execute_wrapper(mute):
        assert client.post("/predictions/", {"file": upload()}).status_code == 503
    assert Path(ImagePrediction.objects.get().image_path.path) in files(settings)


@pytest.mark.django_db(transaction=True)
def test_a_file_stays_while_nobody_can_tell_whether_it_has_a_row(upload: Any, settings: Any) -> None:
    gone = False

    def away(execute: Any, sql: str, *arguments: Any) -> Any:
        nonlocal gone
        gone = gone or sql.startswith("INSERT")
        if gone:
            raise OperationalError("connection refused")
        return execute(sql, *arguments)

    with connection.execute_wrapper(away), pytest.raises(OperationalError):
        services.submit(upload())
    assert len(files(settings)) == 1


def test_a_storage_that_fails_otherwise_is_an_error_and_not_a_full_disk(
    upload: Any, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.MEDIA_ROOT = tmp_path / "file"
    with pytest.raises(OSError, match="Not a directory|exists and is not a directory"):
        services.submit(upload())
    assert not ImagePrediction.objects.exists()


def test_uploads_and_corrections_remember_who(upload: Any) -> None:
    user = User.objects.create_user("ada")
    prediction = services.submit(upload(), by=user)
    services.correct(
        ImagePrediction.objects.filter(pk=prediction.pk), "cat", 1.0, by=user, source=Correction.Source.PAGE
    )
    assert prediction.uploaded_by == Correction.objects.get().corrected_by == user
    assert services.submit(upload(), by=AnonymousUser()).uploaded_by is None


def test_the_history_keeps_every_correction(submit: Any) -> None:
    pk = submit().pk
    for label in ("cat", "dog"):
        services.correct(ImagePrediction.objects.filter(pk=pk), label, 0.5, by=None, source=Correction.Source.API)
    history = Correction.objects.order_by("pk").values_list("label_before", "label_after")
    assert list(history) == [("", "cat"), ("cat", "dog")]


def test_a_file_stays_when_its_row_does(submit: Any, settings: Any) -> None:
    prediction = submit()
    services.remove(ImagePrediction.objects.filter(pk=prediction.pk))  # the test's own transaction is never committed
    assert len(files(settings)) == 1


def test_each_image_gets_its_own_word_and_all_are_undone_together(submit: Any) -> None:
    cat, dog = submit().pk, submit().pk
    truths = {cat: services.Truth("cat"), dog: services.Truth("dog", 0.5), 10**9: services.Truth("nobody")}
    batch = services.correct_each(truths, by=None, source=Correction.Source.COMMAND)
    rows = ImagePrediction.objects.order_by("pk")
    assert list(rows.values_list("top_prediction", "confidence")) == [("cat", 1.0), ("dog", 0.5)]
    assert services.undo(batch) == 2
    assert list(rows.values_list("top_prediction", "corrected_at")) == [(None, None)] * 2


def test_undoing_shows_what_stood_before_in_few_queries(submit: Any, django_assert_num_queries: Any) -> None:
    """An earlier correction, the model's answer, or nothing."""
    twice, _once, unanswered = (submit().pk for _ in range(3))
    answer = [{"label": "cat", "confidence": 0.1 + 0.2}]
    ImagePrediction.objects.exclude(pk=unanswered).update(all_predictions=answer)
    rows = ImagePrediction.objects.order_by("pk")
    services.correct(rows.filter(pk=twice), "eel", 0.7, by=None, source=Correction.Source.API)
    batch = services.correct(rows, "dog", 1, by=None, source=Correction.Source.API)
    with django_assert_num_queries(5):  # two are of the savepoint
        assert services.undo(batch) == 3
    assert list(rows.values_list("top_prediction", "confidence")) == [("eel", 0.7), ("cat", 0.1 + 0.2), (None, None)]
    assert [row.corrected_at is not None for row in rows] == [True, False, False]
    services.undo(Correction.objects.earliest("pk").batch)
    assert rows.get(pk=twice).top_prediction == "cat"


def test_correcting_nothing_is_an_error() -> None:
    with pytest.raises(ImagePrediction.DoesNotExist):
        services.correct_each({1: services.Truth("cat")}, by=None, source=Correction.Source.COMMAND)


def test_accepting_makes_the_models_answer_the_truth(submit: Any, model: ModelVersion) -> None:
    corrected, uncorrected, unanswered = submit(), submit(), submit()
    for claimed in ImagePrediction.objects.filter(pk__in=[corrected.pk, uncorrected.pk]):
        ImagePrediction.objects.filter(pk=claimed.pk).update(
            all_predictions=[{"label": "cat", "confidence": 0.4}], status="done", top_prediction="cat"
        )
    services.correct(
        ImagePrediction.objects.filter(pk=corrected.pk), "lynx", 1.0, by=None, source=Correction.Source.PAGE
    )
    services.accept(ImagePrediction.objects.all(), by=None, source=Correction.Source.ADMIN)
    rows = ImagePrediction.objects.filter(corrected_at__isnull=False).order_by("pk")
    assert list(rows.values_list("pk", "top_prediction")) == [(corrected.pk, "cat"), (uncorrected.pk, "cat")]
    assert Correction.objects.filter(prediction=unanswered).count() == 0


def test_the_model_overrules_corrections_only_when_told_to(submit: Any, model: ModelVersion) -> None:
    submit()
    tasks.classify_pending()
    [said] = ImagePrediction.objects.values_list("top_prediction", flat=True)
    services.correct(ImagePrediction.objects.all(), "lynx", 1.0, by=None, source=Correction.Source.PAGE)
    services.reclassify(ImagePrediction.objects.all())
    tasks.classify_pending()
    assert ImagePrediction.objects.get().top_prediction == "lynx"
    services.reclassify(ImagePrediction.objects.all(), overrule=True)
    tasks.classify_pending()
    prediction = ImagePrediction.objects.get()
    assert (prediction.top_prediction, prediction.corrected_at) == (said, None)
    assert Correction.objects.get().undone_at
