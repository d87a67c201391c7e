"""What install_model takes: each becomes a bundle that answers as its source does, or costs nothing."""

import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from classifier.bundle import Bundle
from classifier.drafts import noise_images
from classifier.images import open_image
from classifier.models import ModelVersion
from classifier.runtime import Classifier
from config.tests.environment import KERAS_FILES, image_bytes

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("sources")]


def network(activation: str = "softmax") -> Any:
    """A classifier that tells red, green and blue pictures apart: trained by hand, so that answers mean something."""
    import keras

    layers = [
        keras.Input((24, 24, 3)),
        keras.layers.Conv2D(3, 1, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation=activation),
    ]
    model = keras.Sequential(layers, name="colours")
    model.set_weights([np.eye(3)[None, None], np.zeros(3), 6 * np.eye(3), np.zeros(3)])
    return model


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("red\ngreen\n\nblue\n")
    return tmp_path / "labels.txt"


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Twelve photos, each more red, green or blue than not."""
    folder = tmp_path / "colours"
    random = np.random.default_rng(0)
    for name, strongest in (("red", 0), ("green", 1), ("blue", 2)):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 120, (40, 60, 3), dtype=np.uint8)
            pixels[..., strongest] += np.uint8(60 + 20 * number)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg", quality=95)
    (folder / "notes.txt").write_text("no photo")
    return folder


def run(**options: Any) -> str:
    out = StringIO()
    call_command("install_model", stdout=out, stderr=out, **options)
    return out.getvalue()


def installed() -> Bundle:
    return Bundle.read(ModelVersion.objects.get().path)


def pixels_of(colours: Path) -> np.ndarray:
    return np.asarray(Image.open(colours / "green" / "3.jpg").resize((24, 24)), dtype=np.float32)[np.newaxis]


def test_a_saved_model_is_installed_with_its_embedding(tmp_path: Path, labels: Path, colours: Path) -> None:
    model = network()
    model.export(tmp_path / "my colours", verbose=False)
    told = run(saved_model=tmp_path / "my colours", labels=labels, scaling="unit", crop=1.0)
    assert "24 x 24 pixels: the centre square of 1 of the short side, scaling unit" in told
    bundle, pixels = installed(), pixels_of(colours)
    assert bundle.backbone == "my-colours"
    assert bundle.preprocessing.crop == 1
    outputs = Classifier(bundle).run(pixels)
    assert outputs["probabilities"] == pytest.approx(np.asarray(model(pixels / 255)), abs=1e-5)
    assert outputs["embedding"][0] == pytest.approx(pixels.mean(axis=(0, 1, 2)) / 255, abs=1e-4)


def test_logits_get_a_softmax_if_asked_for(tmp_path: Path, labels: Path, colours: Path) -> None:
    network("linear").save(tmp_path / "my.keras")
    with pytest.raises(CommandError, match="if they are logits, give --softmax"):
        run(keras=tmp_path / "my.keras", labels=labels, scaling="unit")
    run(keras=tmp_path / "my.keras", labels=labels, scaling="unit", softmax=True)
    expected = np.asarray(network()(pixels_of(colours) / 255))
    assert Classifier(installed()).run(pixels_of(colours))["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_the_scaling_of_imagenet_is_channel_by_channel(tmp_path: Path, labels: Path, colours: Path) -> None:
    network().save(tmp_path / "my.keras")
    run(keras=tmp_path / "my.keras", labels=labels, scaling="imagenet")
    pixels = pixels_of(colours)
    expected = np.asarray(network()((pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]))
    assert Classifier(installed()).run(pixels)["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_quantizing_tells_how_far_it_agrees(tmp_path: Path, labels: Path, colours: Path) -> None:
    network().export(tmp_path / "colours-model", verbose=False)
    told = run(
        saved_model=tmp_path / "colours-model", labels=labels, scaling="unit", quantize="int8", calibrate=colours
    )
    assert "the same best label on 100.0% of 12 photos" in told
    bundle = installed()
    assert bundle.backbone == "colours-model-int8"
    assert bundle.about["quantization"] == "int8"
    assert bundle.about["agreement"]["photos"] == 12
    assert 0 < bundle.about["agreement"]["confidence"] < 0.05  # it is another model, and a good one
    assert "same best label as before on 100.0% of the 12 photos" in bundle.card()
    classifier = Classifier(bundle)
    for photo in colours.glob("*/*.jpg"):
        with photo.open("rb") as file:
            answer = classifier.classify(open_image(file))
        assert answer.labels[0].label == photo.parent.name
        assert sum(label.confidence for label in answer.labels) == pytest.approx(1, abs=1e-5)
        assert answer.embedding is not None
        assert answer.embedding.dtype == np.float32


def empty(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    return {"saved_model": folder}


def two_inputs(folder: Path) -> dict[str, Path]:
    import keras

    inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()(inputs))
    keras.Model(inputs, keras.layers.Dense(3)(pooled)).export(folder, verbose=False)
    return {"saved_model": folder}


def any_size(folder: Path) -> dict[str, Path]:
    import keras

    layers = [keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    keras.Sequential(layers).export(folder, verbose=False)
    return {"saved_model": folder}


def four_labels(folder: Path) -> dict[str, Path]:
    labels = folder.with_suffix(".txt")
    labels.write_text("a\nb\nc\nd")
    network().export(folder, verbose=False)
    return {"saved_model": folder, "labels": labels}


def no_photos(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    return {"keras": folder / "none.keras", "quantize": "int8", "calibrate": folder}


def damaged_photos(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    (folder / "a.jpg").write_bytes(image_bytes(size=(400, 300))[:2000])
    network().save(folder / "my.keras")
    return {"keras": folder / "my.keras", "quantize": "int8", "calibrate": folder}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (empty, "The model cannot be loaded"),
        (two_inputs, "it must take one float32 tensor"),
        (any_size, "square RGB images"),
        (four_labels, "but there are 4 labels"),
        (no_photos, "has no photos to calibrate with"),
        (damaged_photos, "photos to calibrate with are damaged"),
        (lambda folder: {"keras": folder, "labels": folder}, "The labels cannot be read"),
    ],
)
def test_what_cannot_be_a_bundle_costs_nothing(
    tmp_path: Path, settings: Any, labels: Path, options: Callable[[Path], dict[str, Any]], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        run(**({"labels": labels} | options(tmp_path / "source")))
    assert ModelVersion.objects.count() == 0
    assert list(settings.MODELS_DIR.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tflite": "a.tflite", "alpha": 0.5}, "--alpha"),
        ({"scaling": "unit"}, "MobileNetV2 has its own"),
        ({"saved_model": "a"}, "need --labels"),
        ({"quantize": "int8"}, "go together"),
        ({"tflite": "a.tflite", "quantize": "int8", "calibrate": "a"}, "quantize the model that it was made of"),
        ({"crop": 1.5}, "at most 1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError, match=message) as error:
        run(**options)
    assert error.value.returncode == 2


def test_missing_weights_of_another_width_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.utils import file_utils

    def refused(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    # The edge: Keras' download of a file that is not in its cache.
    monkeypatch.setattr(file_utils, "urlretrieve", refused)
    monkeypatch.setattr(file_utils.os.path, "exists", lambda path: False)
    with pytest.raises(CommandError, match=r"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0\.35_224\.h5"):
        run(alpha=0.35)


@pytest.mark.parametrize(("alpha", "features"), [(0.35, 1280), (1.4, 1792)])  # the smallest and the largest
def test_a_width_is_installed_and_answers_as_that_network(tmp_path: Path, alpha: float, features: int) -> None:
    keras_home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    if not (keras_home / "models" / KERAS_FILES[1]).exists():
        pytest.skip("KERAS_HOME holds no labels of ImageNet")
    import keras

    keras.utils.set_random_seed(1)
    model, images = keras.applications.MobileNetV2(alpha=alpha, weights=None), noise_images(224)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0  # what it sees now it normalizes by: otherwise next to nothing comes out of 52 layers
    model(np.concatenate(images) / 127.5 - 1, training=True)
    model.save_weights(tmp_path / "seeded.weights.h5")
    run(weights=tmp_path / "seeded.weights.h5", alpha=alpha)
    bundle = installed()
    assert (bundle.backbone, bundle.about["alpha"]) == (f"mobilenetv2_{alpha:.2f}_224", alpha)
    pooled = keras.Model(model.inputs[0], model.layers[-2].output)(images[0] / 127.5 - 1, training=False)
    assert Classifier(bundle).run(images[0])["embedding"] == pytest.approx(np.asarray(pooled), rel=1e-3, abs=1e-4)
    assert np.asarray(pooled).shape == (1, features)
    assert np.asarray(pooled).max() > 0.1
