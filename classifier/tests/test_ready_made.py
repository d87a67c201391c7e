"""A .tflite of the user's own, of floats or integers, is served as it is; what is no classifier is refused."""

import os
import zipfile
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from filelock import FileLock

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from classifier.runtime import Classifier
from classifier.tests.test_sources import network

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("sources")]
# A classifier of -1 to 1 with the two usual kinds of integers, and one that gives logits: made by TensorFlow, once.
FILES = ("float", "uint8", "int8", "logits", "embedding")


def convert(folder: Path) -> None:
    import keras
    import tensorflow as tf

    from classifier.sources import _frozen

    def images() -> Any:
        random = np.random.default_rng(0)
        colours = [*np.eye(3) * 2 - 1, *random.uniform(-1, 1, (20, 3))]
        return ([np.broadcast_to(colour, (1, 24, 24, 3)).astype(np.float32)] for colour in colours)

    plain = network()
    models = {
        "logits": network("linear"),
        "embedding": keras.Model(plain.inputs, [plain.layers[-1].input, plain.outputs[0]]),
    }
    for name in FILES:
        models.get(name, plain).export(folder / name, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / name))
        if name == "logits":  # without a signature
            converter = tf.lite.TFLiteConverter.from_concrete_functions([_frozen(folder / name)])
        if "int8" in name:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = images
            converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(name)
        (folder / f"{name}.tflite").write_bytes(converter.convert())


@pytest.fixture(scope="session")
def files() -> Path:
    folder = Path(os.environ["DATA_DIR"]) / "ready-made"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            convert(folder)
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    return tmp_path / "labels.txt"


def run(**options: Any) -> str:
    out = StringIO()
    call_command("install_model", stdout=out, stderr=out, **options)
    return out.getvalue()


def installed() -> Classifier:
    return Classifier(Bundle.read(ModelVersion.objects.get().path))


PIXELS = np.random.default_rng(1).integers(0, 256, (1, 24, 24, 3)).astype(np.float32)
PIXELS[..., 1] = 255


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("float", {"scaling": "symmetric"}, 1e-5),
        ("logits", {"scaling": "symmetric", "softmax": True}, 1e-5),
        ("uint8", {}, 0.03),
        ("int8", {}, 0.03),
        ("int8", {"scaling": "symmetric"}, 0.03),
    ],
)
def test_it_answers_as_its_network_does(
    files: Path, labels: Path, name: str, options: dict[str, Any], tolerance: float
) -> None:
    assert "serves, with 3 labels" in run(tflite=files / f"{name}.tflite", labels=labels, **options)
    classifier = installed()
    assert (classifier.bundle.path / "model.tflite").read_bytes() == (files / f"{name}.tflite").read_bytes()
    answer = classifier.infer(PIXELS)
    expected = np.asarray(network()(PIXELS / 127.5 - 1))[0]
    assert answer.labels[0].label == "green"
    assert answer.labels[0].confidence == pytest.approx(expected[1], abs=tolerance)
    assert answer.embedding is None


def test_a_second_output_that_may_be_the_answer_is_refused(files: Path, labels: Path) -> None:
    with pytest.raises(CommandError, match="exactly one must have 3 values"):  # of three features, three labels
        run(tflite=files / "embedding.tflite", labels=labels, scaling="symmetric")


def test_one_exported_here_is_served_as_such(small_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(small_bundle.labels()))
    run(tflite=small_bundle.path / "model.tflite", labels=tmp_path / "labels.txt")
    classifier = installed()
    assert classifier.bundle.digest == small_bundle.digest
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 96, 96, 3)).astype(np.float32)
    expected = Classifier(small_bundle).infer(pixels)
    answer = classifier.infer(pixels)
    assert answer.labels == expected.labels
    assert answer.embedding is not None
    # The same file with a scaling is another model: by its tensors then, the embedding among them.
    ModelVersion.objects.all().delete()
    run(tflite=small_bundle.path / "model.tflite", labels=tmp_path / "labels.txt", scaling="unit")
    scaled = installed()
    assert scaled.bundle.digest != small_bundle.digest
    assert scaled.infer(pixels * 255).labels == expected.labels
    assert scaled.infer(pixels * 255).embedding == pytest.approx(expected.embedding)


def test_labels_packed_into_the_file_are_its_labels(files: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.tflite"
    packed.write_bytes((files / "uint8.tflite").read_bytes())
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("labels.txt", "rot\ngrün\nblau\n")
    run(tflite=packed)
    assert installed().infer(PIXELS).labels[0].label == "grün"


def test_what_is_no_classifier_is_refused(files: Path, labels: Path, tmp_path: Path, settings: Any) -> None:
    cut, two = tmp_path / "cut.tflite", tmp_path / "two.txt"
    cut.write_bytes((files / "float.tflite").read_bytes()[:-500])
    two.write_text("red\ngreen")
    for options, message in [
        ({"tflite": cut, "labels": labels}, "no TensorFlow Lite model"),
        ({"tflite": labels, "labels": labels}, "no TensorFlow Lite model"),
        ({"tflite": tmp_path / "none.tflite", "labels": labels}, "No such file"),
        ({"tflite": files / "float.tflite"}, "has no labels in it"),
        ({"tflite": files / "float.tflite", "labels": two}, "3 classes, but there are 2 labels"),
        ({"tflite": files / "logits.tflite", "labels": labels}, "no probabilities"),
        ({"tflite": files / "float.tflite", "labels": labels, "card": tmp_path / "none.md"}, "No such file"),
    ]:
        with pytest.raises(CommandError, match=message):
            run(**options)
    assert ModelVersion.objects.count() == 0
    assert list(settings.MODELS_DIR.iterdir()) == []


def test_it_is_installed_without_serving_if_asked(files: Path, labels: Path, model: ModelVersion) -> None:
    assert "is installed and does not serve" in run(tflite=files / "uint8.tflite", labels=labels, no_serve=True)
    assert ModelVersion.objects.serving() == model
    assert ModelVersion.objects.count() == 2


def test_the_card_tells_what_is_known_and_makes_room_for_ones_own(files: Path, labels: Path, tmp_path: Path) -> None:
    options = {"tflite": files / "uint8.tflite", "labels": labels}
    run(**options)
    before = Bundle.read(ModelVersion.objects.get().path)
    for told in ("# uint8", "24 x 24 pixels", "| labels | 3 |", before.digest, "## Intended use", "## Limits"):
        assert told in before.card()
    (tmp_path / "my.md").write_text("# Farben\n")
    run(**options, card=tmp_path / "my.md")
    assert Bundle.read(before.path).card() == "# Farben\n"
    assert Bundle.read(before.path).digest == before.digest
    run(**options)
    assert Bundle.read(before.path).card() == "# Farben\n"
    (before.path / "README.md").unlink()
    before.verify()
    assert before.card() == ""
