"""Several versions at once: each image meets its own, shadows stay unseen, and changes need no restart."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from classifier.runtime import Classifier
from config.tests.environment import image_bytes, variant
from predictions import services, serving, tasks
from predictions.models import Answer, Classification, Embedding, ImagePrediction, Status

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]


@pytest.fixture
def versions(
    small_bundle: Bundle, install: Callable[[Bundle], ModelVersion], tmp_path: Path
) -> tuple[ModelVersion, ModelVersion]:
    """Two versions, of which the second one serves."""
    first, second = (install(variant(small_bundle, tmp_path, letters)) for letters in ("abc", "def"))
    return first, second


def submit_many(submit: Submit, count: int = 12) -> None:
    for number in range(count):
        submit(f"{number}.jpg", image_bytes() + b"%d" % number)


def test_each_image_is_answered_by_the_version_that_its_content_decides(
    submit: Submit, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    first, second = versions
    ModelVersion.objects.set_shares({first.name: 50})
    submit_many(submit)
    tasks.classify_pending()
    traffic = ModelVersion.objects.traffic()
    assert traffic
    rows = list(ImagePrediction.objects.select_related("model_version"))
    assert {row.model_version for row in rows} == {first, second}
    for row in rows:
        assert row.model_version == traffic.version_for(row.sha256)
        assert str(row.top_prediction).startswith("abc" if row.model_version == first else "def")


def test_a_shadow_classifies_and_nobody_sees_it_until_it_answers(
    submit: Submit, versions: tuple[ModelVersion, ModelVersion], admin_client: Client
) -> None:
    shadow, answering = versions
    ModelVersion.objects.set_shares({}, shadows=[shadow.name])
    prediction = submit()
    tasks.classify_pending()
    prediction.refresh_from_db()
    assert (prediction.status, prediction.model_version) == (Status.DONE, answering)
    assert str(prediction.top_prediction).startswith("def")
    unseen = Classification.objects.get(model_version=shadow)
    assert str(unseen.label).startswith("abc")
    assert unseen.milliseconds
    addresses = [f"/predictions/{prediction.pk}/", f"/predictions/{prediction.pk}/history/"]
    addresses += [f"/gallery/{prediction.pk}/", f"/admin/predictions/imageprediction/{prediction.pk}/change/"]
    pages = [admin_client.get(address).content.decode() for address in addresses]
    assert not any("abc" in page or "Model by model" in page for page in pages)
    ModelVersion.objects.promote(shadow)
    ModelVersion.objects.set_shares({}, shadows=[answering.name])
    services.reclassify(ImagePrediction.objects.all())
    tasks.classify_pending()
    said = [entry["model_version"] for entry in admin_client.get(f"/predictions/{prediction.pk}/history/").json()]
    assert sorted(said) == sorted([shadow.name, answering.name])  # who was seen stays so
    for address in addresses[2:]:  # all that both said, side by side
        page = admin_client.get(address).content.decode().partition("Model by model")[2]
        for version, letters in zip(versions, ("abc", "def"), strict=True):
            assert page.count(f"Confidence in {letters}") == 5
            assert f"<h3>{version}</h3>" in page


def test_shadows_hold_nobody_up_and_catch_up(
    submit: Submit, versions: tuple[ModelVersion, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow, _ = versions
    ModelVersion.objects.set_shares({}, shadows=[shadow.name])
    order: list[str] = []
    real = tasks.look

    def look(prediction: ImagePrediction, classifier: Classifier, *, is_seen: bool = True) -> Any:
        order.append("seen" if is_seen else "unseen")
        if len(order) == 14:  # in the middle of the shadow's work
            submit("late.jpg", image_bytes() + b"late")
        return real(prediction, classifier, is_seen=is_seen)

    monkeypatch.setattr(tasks, "look", look)
    submit_many(submit)
    tasks.classify_pending()
    assert order == ["seen"] * 12 + ["unseen"] * 2
    tasks.classify_pending()
    assert order[14:] == ["seen"] + ["unseen"] * 11
    assert Classification.objects.filter(model_version=shadow).count() == 13


def test_a_broken_shadow_is_nobodys_trouble(
    submit: Submit, versions: tuple[ModelVersion, ModelVersion], caplog: pytest.LogCaptureFixture
) -> None:
    shadow, answering = versions
    ModelVersion.objects.set_shares({}, shadows=[shadow.name])
    (shadow.path / "model.tflite").write_bytes(b"?")
    prediction = submit()
    tasks.classify_pending()
    prediction.refresh_from_db()
    assert prediction.model_version == answering
    assert "is refused" in caplog.text


def test_an_image_deleted_before_its_shadow_is_no_fault(
    submit: Submit, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    prediction = submit()
    answer = tasks.look(prediction, _classifier(versions[0]))
    assert isinstance(answer, Answer)
    ImagePrediction.objects.all().delete()
    Classification.objects.record_beside([(prediction, answer)], versions[0])
    assert not Classification.objects.exists()


def _classifier(version: ModelVersion) -> Classifier:
    model = serving._load(version)
    assert model
    return model.classifier


def test_the_serving_version_answers_for_a_damaged_one(
    submit: Submit, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    damaged, whole = versions
    ModelVersion.objects.set_shares({damaged.name: 100})
    (damaged.path / "model.tflite").write_bytes(b"?")
    submit_many(submit, 3)
    tasks.classify_pending()
    assert {row.model_version for row in ImagePrediction.objects.all()} == {whole}


@pytest.mark.parametrize(("seconds", "known_from"), [(60, 6), (-1, 1)])
def test_a_change_of_shares_is_known_at_the_next_claim_and_after_slow_images(
    seconds: float,
    known_from: int,
    submit: Submit,
    versions: tuple[ModelVersion, ModelVersion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six of twelve are claimed at once; within them it is asked anew who serves once they have taken so long."""
    real, shares = tasks.look, iter([{versions[0].name: 100}])

    def look_and_change(*args: Any) -> Any:
        if change := next(shares, None):
            ModelVersion.objects.set_shares(change)
        return real(*args)

    monkeypatch.setattr(tasks, "look", look_and_change)
    monkeypatch.setattr(tasks, "ASK_SECONDS", seconds)
    submit_many(submit)
    tasks.classify_pending()
    answered_by = list(ImagePrediction.objects.order_by("pk").values_list("model_version", flat=True))
    assert answered_by == [versions[1].pk] * known_from + [versions[0].pk] * (12 - known_from)


@pytest.mark.parametrize("swaps", [100, pytest.param(1000, marks=pytest.mark.scale)])
def test_swaps_keep_only_what_serves(versions: tuple[ModelVersion, ModelVersion], swaps: int) -> None:
    """What a model takes is given back: a thousand swaps add less than 20 MB."""
    first, second = versions

    def swap(count: int) -> None:
        for number in range(count):
            ModelVersion.objects.promote((first, second)[number % 2])
            models = serving.current()
            assert models
            models.model.classifier.run(np.zeros((1, 96, 96, 3), np.float32))

    swap(50)
    before = resident()
    swap(swaps)
    assert len(serving._loaded) == 1
    assert resident() - before < 20_000_000


def resident() -> int:
    """Return the bytes that this process has in memory."""
    gc.collect()
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_the_embedding_behind_an_answer_is_kept(submit: Submit, model: ModelVersion, settings: Any) -> None:
    prediction = submit()
    tasks.classify_pending()
    prediction.refresh_from_db()
    answer = tasks.look(prediction, _classifier(model), is_seen=False)
    assert isinstance(answer, Answer)
    vector = np.frombuffer(bytes(Embedding.objects.get(classification__prediction=prediction).vector), "<f2")
    assert vector.shape == (1280,)
    assert vector.tobytes() == answer.embedding
    ImagePrediction.objects.update(status=Status.PENDING, attempts=0)
    tasks.classify_pending()
    assert Embedding.objects.count() == 1
    prediction.delete()
    assert not Embedding.objects.exists()


def test_embeddings_are_an_option(submit: Submit, model: ModelVersion, settings: Any) -> None:
    settings.KEEP_EMBEDDINGS = False
    submit()
    tasks.classify_pending()
    assert Classification.objects.exists()
    assert not Embedding.objects.exists()
