"""manage.py models, and having a version answer the photos that are there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from config.tests.service import photo_variants
from predictions import services, tasks
from predictions.bulk import evaluation
from predictions.models import Classification, Correction, ImagePrediction
from predictions.tests.commands import Console

pytestmark = pytest.mark.django_db


@pytest.fixture
def console(capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(capsys)


@pytest.fixture
def rival(model: ModelVersion, small_bundle: Bundle, settings: Any) -> ModelVersion:
    target = Path(settings.MODELS_DIR) / "rival-1"
    shutil.copytree(small_bundle.path, target)
    return ModelVersion.objects.install(Bundle.read(target), serve=False)


@pytest.fixture
def photos(submit: Callable[..., ImagePrediction], model: ModelVersion) -> list[ImagePrediction]:
    """Five photos, which the serving model has answered, and of which the first two are corrected."""
    for number, content in enumerate(photo_variants(5)):
        submit(f"{number}.jpg", content)
    tasks.classify_pending()
    first = ImagePrediction.objects.order_by("pk").values("pk")[:2]
    services.correct(
        ImagePrediction.objects.filter(pk__in=first), "okapi", 1, by=None, source=Correction.Source.COMMAND
    )
    return list(ImagePrediction.objects.order_by("pk"))


def states() -> list[Any]:
    return list(ImagePrediction.objects.order_by("pk").values())


def test_a_version_answers_what_is_there_and_nothing_shows_it(
    console: Console, photos: list[ImagePrediction], rival: ModelVersion
) -> None:
    before = states()
    ran = console("models", "evaluate", "rival-1", "--corrected", "--json")
    assert (ran.code, ran.summary) == (0, {"name": "rival-1", "answered": 2, "failed": 0})
    ran = console("models", "evaluate", "rival-1")
    assert "3 images answered by rival-1" in ran.out
    assert console("models", "evaluate", "rival-1", "--json").summary["answered"] == 0
    assert states() == before
    for photo in photos:
        own, other = photo.classifications.order_by("model_version")
        assert own.labels == other.labels  # the same model under another name
        assert other.milliseconds
        said = [entry for entry in photo.history() if isinstance(entry, Classification)]
        assert [entry.model_version for entry in said] == [photo.model_version]


def test_a_killed_evaluation_goes_on(photos: list[ImagePrediction], rival: ModelVersion, monkeypatch: Any) -> None:
    monkeypatch.setattr(evaluation, "AT_ONCE", 2)
    steps = evaluation.evaluate(rival)
    assert next(steps) == (2, [])
    steps.close()
    assert evaluation.unanswered(rival).count() == 3
    assert sum(count for count, _ in evaluation.evaluate(rival)) == 3
    assert Classification.objects.filter(model_version=rival).count() == 5


def test_photos_without_an_answer_are_named(
    console: Console, photos: list[ImagePrediction], rival: ModelVersion
) -> None:
    photos[0].image_path.storage.delete(str(photos[0].image_path.name))
    ran = console("models", "evaluate", "rival-1")
    assert (ran.code, ran.complaint) == (1, "1 images have no answer.")
    assert f"0.jpg (prediction {photos[0].pk}): The file is no longer in the storage" in ran.err
    assert Classification.objects.filter(model_version=rival).count() == 4


def test_a_photo_deleted_meanwhile_is_no_trouble(
    photos: list[ImagePrediction], rival: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = tasks.look

    def look_and_lose(prediction: ImagePrediction, classifier: Any, **options: Any) -> Any:
        found = look(prediction, classifier, **options)
        if prediction.pk == photos[1].pk:
            services.remove(ImagePrediction.objects.filter(pk=prediction.pk))
        return found

    monkeypatch.setattr(tasks, "look", look_and_lose)
    assert list(evaluation.evaluate(rival)) == [(5, [])]
    assert Classification.objects.filter(model_version=rival).count() == 4


def test_a_damaged_version_cannot_answer(console: Console, photos: list[ImagePrediction], rival: ModelVersion) -> None:
    (rival.path / "model.tflite").write_bytes(b"")
    ran = console("models", "evaluate", "rival-1")
    assert ran.code == 2
    assert "damaged" in ran.complaint


def test_what_is_listed_and_shown(console: Console, photos: list[ImagePrediction], rival: ModelVersion) -> None:
    (rival.path / "README.md").write_text("# Card")
    assert "rival-1" in console("models", "list").out
    assert [row["name"] for row in json.loads(console("models", "list", "--json").out)][1] == "rival-1"
    assert "# Card" in console("models", "show", "rival-1").out
    assert console("models", "show", "rival-1", "--json").summary["labels"] == 7
    console("models", "evaluate", "rival-1")
    ran = console("models", "compare", photos[0].model_version, "rival-1")
    assert "5 of 5 (100.0%)" in ran.out
    assert "0 of 2" in ran.out
    assert console("models", "compare", "rival-1", "rival-1", "--json").summary["images"] == 5


def test_promoting_rolling_back_sharing_removing(console: Console, model: ModelVersion, rival: ModelVersion) -> None:
    assert "rival-1 serves." in console("models", "promote", "rival-1").out
    assert console("models", "rollback", "--json").summary["name"] == model.name
    ran = console("models", "share", "rival-1=20", "--json")
    assert [row["share"] for row in json.loads(ran.out)] == [80, 20]
    assert console("models", "remove", "rival-1").code == 1
    assert "shadow" in console("models", "share", "--shadow", "rival-1").out
    console("models", "share")
    assert console("models", "promote", "rival-1", "--by", "nobody").code == 2
    User.objects.create_user("anna")
    console("models", "promote", "rival-1", "--by", "anna")
    assert str(LogEntry.objects.get(user__username="anna")) == "Changed “rival-1” — Promoted."
    console("models", "promote", model)
    ran = console("models", "remove", "rival-1", "--json")
    assert ran.summary == {"name": "rival-1"}
    assert "rolling back led to" in ran.err


def test_a_worse_version_takes_force(console: Console, photos: list[ImagePrediction], rival: ModelVersion) -> None:
    console("models", "evaluate", "rival-1")
    served = Classification.objects.filter(model_version=photos[0].model_version)
    served.filter(prediction__corrected_at__isnull=False).update(label="okapi")
    ran = console("models", "promote", "rival-1")
    assert ran.code == 1
    assert "rival-1 is worse" in ran.complaint
    assert "--force" in ran.complaint
    assert console("models", "promote", "rival-1", "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "nobody"], 2),
        (["promote", "nobody"], 2),
        (["compare", "a", "b"], 2),
        (["share", "nobody=5"], 2),
        (["share", "nobody"], 1),
        (["rollback"], 1),
        (["dance"], 1),
        ([], 1),
    ],
)
def test_what_cannot_be_is_said(console: Console, arguments: list[str], code: int) -> None:
    ran = console("models", *arguments)
    assert ran.code == code
    assert ran.complaint
