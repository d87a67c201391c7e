"""The real weights on real photos, where both are at hand."""

from pathlib import Path

import numpy as np
import pytest

from classifier.bundle import Bundle
from classifier.export import imagenet_labels
from classifier.images import open_image
from classifier.runtime import Classifier

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
    assert embedding.shape == (1280,)
    assert embedding.min() >= 0  # it comes out of a ReLU6, pooled
    assert embedding.max() <= 6
