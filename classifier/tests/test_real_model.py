"""The real weights on real photos, where both are at hand."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import call_command

from classifier.bundle import Bundle
from classifier.export import export
from classifier.images import open_image
from classifier.models import ModelVersion
from classifier.runtime import Classifier
from classifier.sources import imagenet_labels, mobilenet_v2
from config.tests.environment import PHOTOS

pytestmark = pytest.mark.xdist_group("real")


@pytest.fixture(scope="module")
def classifier(real_bundle: Bundle) -> Classifier:
    return Classifier(real_bundle)


def test_it_names_what_is_in_photos(classifier: Classifier, photos: dict[Path, str]) -> None:
    first = fifth = 0
    for path, label in photos.items():
        with path.open("rb") as file:
            labels = [answer.label for answer in classifier.classify(open_image(file)).labels]
        first += labels[0] == label
        fifth += label in labels
    assert first / len(photos) >= 0.85
    assert fifth / len(photos) >= 0.95


def test_it_answers_as_keras_does(classifier: Classifier, photos: dict[Path, str]) -> None:
    import keras

    from classifier.preprocessing import load_pixels

    model = keras.applications.MobileNetV2(weights="imagenet")
    for path in list(photos)[:5]:
        with path.open("rb") as file:
            pixels = load_pixels(open_image(file), classifier.bundle.preprocessing)
        expected = np.asarray(model(keras.applications.mobilenet_v2.preprocess_input(pixels.copy()), training=False))
        assert classifier.run(pixels)["probabilities"] == pytest.approx(expected, abs=1e-4)


def test_labels_are_keras_names(classifier: Classifier) -> None:
    assert classifier.labels == imagenet_labels()
    assert classifier.labels[207] == "golden_retriever"
    assert len(classifier.labels) == 1000


def test_the_embedding_is_what_keras_pools(classifier: Classifier, photos: dict[Path, str]) -> None:
    with next(iter(photos)).open("rb") as file:
        embedding = classifier.classify(open_image(file)).embedding
    assert embedding is not None
    assert embedding.shape == (1280,)
    assert embedding.min() >= 0  # it comes out of a ReLU6, pooled
    assert embedding.max() <= 6


@pytest.fixture(scope="module")
def int8_bundle(real_bundle: Bundle, photos: dict[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(mobilenet_v2(), tmp_path_factory.mktemp("int8"), calibrate=list(photos))


def test_quantized_it_still_names_them_and_the_benchmark_compares(
    int8_bundle: Bundle,
    real_bundle: Bundle,
    photos: dict[Path, str],
    tmp_path: Path,
    install: Callable[[Bundle], ModelVersion],
) -> None:
    assert int8_bundle.about["agreement"]["photos"] == len(photos)
    assert (int8_bundle.path / "model.tflite").stat().st_size < 5_000_000  # of 14
    with (PHOTOS / "goldfish.jpg").open("rb") as file:
        answer = Classifier(int8_bundle).classify(open_image(file))
    assert answer.embedding is not None
    assert answer.embedding.shape == (1280,)
    assert sum(label.confidence for label in answer.labels) <= 1.0001
    for path, label in photos.items():
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / label / path.name).symlink_to(path)
    out, names = StringIO(), [install(bundle).name for bundle in (real_bundle, int8_bundle)]
    options = {"photos": tmp_path / "photos", "model_version": names, "json": True}
    call_command("benchmark", stdout=out, **options)
    exact, quantized = json.loads(out.getvalue())["versions"]
    assert [exact["model_version"], quantized["model_version"]] == names
    assert exact["agreement"] == 1
    assert quantized["agreement"] == pytest.approx(int8_bundle.about["agreement"]["top_1"], abs=1e-4)
    assert quantized["agreement"] >= 0.8
    assert exact["labelled_photos"] == len(photos)
    assert min(exact["accuracy"], quantized["accuracy"]) >= 0.8
    assert quantized["inference_ratio"] < 0.8  # half, without others on the machine; measured in turns
