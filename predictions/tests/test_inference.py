"""What a worker does for those who hold the line: once, in time, before the photos, and without a trace."""

import hashlib
from array import array
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from classifier.runtime import load
from config.tests.environment import LABELS, image_bytes, variant
from predictions import inference, queue, services, serving, tasks
from predictions.inference_requests import InferenceRequest, Question
from predictions.models import ImagePrediction, Status

pytestmark = pytest.mark.django_db
SIZE = 96
PIXELS = array("f", [float(value % 256) for value in range(SIZE * SIZE * 3)]).tobytes()


def ask(content: bytes | None = None, *, top_k: int = 5, seconds: float = 10, **facts: Any) -> InferenceRequest:
    content = image_bytes() if content is None else content
    question = Question(content, hashlib.sha256(content).hexdigest(), **facts)
    [pk] = InferenceRequest.objects.ask([question], top_k=top_k, seconds=seconds, request_id="r1")
    return InferenceRequest.objects.get(pk=pk)


def answered(question: InferenceRequest) -> InferenceRequest:
    tasks.classify_pending()
    question.refresh_from_db()
    return question


def test_an_image_has_the_labels_that_an_upload_has(model: ModelVersion, submit: Any) -> None:
    submit()
    question = answered(ask())
    assert question.labels == ImagePrediction.objects.get().all_predictions
    assert (question.answered_by, question.error, bytes(question.content)) == (model.name, "", b"")


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (6, 6), (1000, len(LABELS))])
def test_it_has_as_many_labels_as_were_asked_for(model: ModelVersion, top_k: int, count: int) -> None:
    labels = answered(ask(top_k=top_k)).labels or []
    confidences = [label["confidence"] for label in labels]
    assert (len(labels), confidences) == (count, sorted(confidences, reverse=True))


def test_a_tensor_is_what_the_model_sees(model: ModelVersion) -> None:
    import numpy as np

    pixels = np.frombuffer(PIXELS, np.float32).reshape(1, SIZE, SIZE, 3)
    expected = [label.to_dict() for label in load(model.path, model.digest).infer(pixels).labels]
    assert answered(ask(PIXELS, datatype="FP32", shape=(SIZE, SIZE, 3))).labels == expected
    whole = bytes(int(value) for value in array("f", PIXELS))
    assert answered(ask(whole, datatype="UINT8", shape=(SIZE, SIZE, 3))).labels == expected


def test_a_tensor_of_another_size_is_refused(model: ModelVersion) -> None:
    question = answered(ask(bytes(4 * 4 * 3), datatype="UINT8", shape=(4, 4, 3)))
    assert question.error == f"{model} takes tensors of shape [n, 96, 96, 3], and not [n, 4, 4, 3]"


def test_a_damaged_image_is_refused_as_an_upload_is(model: ModelVersion, submit: Any) -> None:
    content = image_bytes(size=(400, 300))[:2000]
    submit("broken.jpg", content)
    error = answered(ask(content)).error
    assert error
    assert error == ImagePrediction.objects.get().error


def test_the_version_that_is_asked_for_answers(install: Any, small_bundle: Bundle, tmp_path: Any) -> None:
    older = install(small_bundle)
    newer = install(variant(small_bundle, tmp_path, "b"))
    assert answered(ask()).answered_by == newer.name
    assert answered(ask(model_version=older.name)).answered_by == older.name


def test_what_this_machine_has_no_model_for_is_left_to_others_and_stands_in_nobodys_way(
    install: Any, small_bundle: Bundle, tmp_path: Any, caplog: pytest.LogCaptureFixture, django_assert_num_queries: Any
) -> None:
    damaged, _ = install(small_bundle), install(variant(small_bundle, tmp_path, "b"))
    (damaged.path / "model.tflite").unlink()
    for _ in range(20):
        ask(model_version=damaged.name)
        ask(model_version="of another machine")
    question, models = ask(), serving.current()
    assert models
    with django_assert_num_queries(9):
        inference.answer_waiting(models)
    question.refresh_from_db()
    assert question.labels
    assert InferenceRequest.objects.waiting().count() == 40
    assert caplog.text.count("is refused") == 1


def test_two_workers_never_answer_the_same(model: ModelVersion) -> None:
    question = ask()
    claims = [InferenceRequest.objects.claim(question.pk) for _ in range(2)]
    assert [bytes(claim.content) if claim else None for claim in claims] == [image_bytes(), None]


def test_nobody_answers_what_nobody_waits_for(model: ModelVersion) -> None:
    question = ask()
    InferenceRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert answered(question).labels is None
    assert question.claimed_at is None


def test_the_sweep_takes_what_nobody_waits_for(model: ModelVersion) -> None:
    late, waiting, from_the_future = ask(), ask(), ask()
    for question, seconds in ((late, -1), (from_the_future, 3600)):  # of before the clock was set back
        InferenceRequest.objects.filter(pk=question.pk).update(expires_at=timezone.now() + timedelta(seconds=seconds))
    services.recover_stale()
    assert list(InferenceRequest.objects.values_list("pk", flat=True)) == [waiting.pk]


def test_a_fault_that_is_not_the_questions_takes_its_row_away(
    model: ModelVersion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    question = ask(PIXELS[:8], datatype="FP32", shape=(SIZE, SIZE, 3))  # the shape does not tell the truth
    tasks.classify_pending()
    assert not InferenceRequest.objects.filter(pk=question.pk).exists()
    assert "could not be answered" in caplog.text


def test_who_holds_the_line_goes_before_the_photos(model: ModelVersion, submit: Any) -> None:
    photo = submit()
    question = answered(ask())
    photo.refresh_from_db()
    assert question.claimed_at
    assert question.claimed_at < photo.classified_at


def test_photos_have_their_turn_though_many_ask(
    model: ModelVersion, submit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_SECONDS", 0)
    rung: list[int] = []
    monkeypatch.setattr(queue, "ring", lambda times=1: rung.append(times))
    for _ in range(inference.AT_ONCE + 1):
        ask()
    photo = submit()
    tasks.classify_pending()
    photo.refresh_from_db()
    assert photo.status == Status.DONE
    assert InferenceRequest.objects.filter(labels__isnull=True).count() == 1
    assert rung[0] == 1  # for whom is left


def test_asking_takes_few_statements(model: ModelVersion, django_assert_num_queries: Any) -> None:
    models = serving.current()
    assert models
    ask()
    with django_assert_num_queries(5):
        inference.answer_waiting(models)
