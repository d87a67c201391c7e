"""Keras to LiteRT: what is installed answers as Keras does, or it is not installed."""

import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from PIL import Image

from classifier import bundle as bundles
from classifier.bundle import Bundle, write
from classifier.drafts import ExportError
from classifier.export import compare, export
from classifier.images import open_image
from classifier.models import ModelVersion
from classifier.runtime import Classifier
from classifier.sources import Source
from config.tests.environment import LABELS, image_bytes


def tiny(activation: str = "softmax", shape: tuple[int, int, int] = (24, 24, 3), name: str = "tiny") -> Any:
    """A classifier as a user would train one: a sequence of layers of their own."""
    import keras

    keras.utils.clear_session()  # names are numbered, and part of the file
    keras.utils.set_random_seed(2)
    layers = [
        keras.Input(shape),
        keras.layers.Conv2D(4, 3, strides=2),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation=activation),
    ]
    return keras.Sequential(layers, name=name)


def saved(tmp_path: Path, model: Any, labels: str = "red\ngreen\n\nblue\n") -> dict[str, Path]:
    model.save(tmp_path / "my.keras")
    (tmp_path / "labels.txt").write_text(labels)
    return {"keras": tmp_path / "my.keras", "labels": tmp_path / "labels.txt"}


def run(**options: Any) -> str:
    out = StringIO()
    call_command("install_model", stdout=out, stderr=out, **options)
    return out.getvalue()


@pytest.mark.django_db
def test_a_keras_model_of_ones_own_is_installed_and_serves(tmp_path: Path, settings: Any) -> None:
    model = tiny(name="my classifier")
    assert "serves, with 3 labels" in run(**saved(tmp_path, model), scaling="unit")
    version = ModelVersion.objects.serving()
    assert version
    assert version.name.startswith("my-classifier-")
    assert [path.name for path in settings.MODELS_DIR.iterdir()] == [version.name]
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 24, 24, 3)).astype(np.float32)
    outputs = Classifier(Bundle.read(version.path)).run(pixels)
    assert outputs["probabilities"] == pytest.approx(np.asarray(model(pixels / 255)), abs=1e-5)
    assert outputs["embedding"].shape == (1, 4)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "labels", "message"),
    [
        (lambda: tiny(activation="linear"), "a\nb\nc", "end it with a softmax"),
        (tiny, "a\nb", "but there are 2 labels"),
        (lambda: tiny(shape=(24, 20, 3)), "a\nb\nc", "square RGB images"),
    ],
)
def test_what_is_no_classifier_of_images_is_refused(
    tmp_path: Path, settings: Any, model: Callable[[], Any], labels: str, message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        run(**saved(tmp_path, model(), labels))
    assert ModelVersion.objects.count() == 0
    assert list(settings.MODELS_DIR.iterdir()) == []


@pytest.mark.django_db
def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "my.keras").write_text("no model")
    (tmp_path / "labels.txt").write_text("a\n")
    with pytest.raises(CommandError, match="cannot be loaded"):
        run(keras=tmp_path / "my.keras", labels=tmp_path / "labels.txt")
    with pytest.raises(CommandError, match="holds no MobileNetV2 weights"):
        run(weights=tmp_path / "my.keras")


@pytest.mark.django_db
def test_labels_and_keras_go_together(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as error:
        run(keras=tmp_path / "my.keras")
    assert error.value.returncode == 2


@pytest.mark.django_db
def test_missing_weights_say_which_files_go_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    def refused(*_: Any, **__: Any) -> None:
        raise Exception("URL fetch failure: connection refused")

    # The edge: what Keras' own download raises where there is no network.
    monkeypatch.setattr(keras.applications, "MobileNetV2", refused)
    with pytest.raises(CommandError) as error:
        run()
    assert error.value.returncode == 1
    for part in (
        "connection refused",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
        "imagenet_class_index.json",
        "KERAS_HOME",
    ):
        assert part in str(error.value)


def test_what_cannot_be_converted_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be converted"):  # TensorFlow takes no spaces in names
        export(Source(tiny(name="my classifier"), ["a", "b", "c"], "none", "test"), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_conversion_that_differs_is_not_installed(small_bundle: Bundle) -> None:
    wrong = np.full((1, len(LABELS)), 1 / len(LABELS))
    wrong[0, :2] += [0.1, -0.1]
    with pytest.raises(ExportError, match="differs from Keras"):
        compare(small_bundle, lambda pixels: wrong)


def test_nan_is_a_difference(small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classifier, "run", lambda *_: {"probabilities": np.full((1, len(LABELS)), np.nan)})
    with pytest.raises(ExportError, match="differs from Keras"):
        compare(small_bundle, lambda pixels: np.full((1, len(LABELS)), 1 / len(LABELS)))


def test_the_same_model_gives_the_same_bundle(tmp_path: Path) -> None:
    digests = {export(Source(tiny(), ["a", "b", "c"], "none", "test"), tmp_path / name).digest for name in "xy"}
    assert len(digests) == 1


@pytest.mark.django_db
def test_check_registers_what_lies_there(model: ModelVersion) -> None:
    assert run(check=True) == f"{model} serves.\n"
    ModelVersion.objects.all().delete()
    assert f"{model} serves" in run(check=True)
    assert ModelVersion.objects.serving()


@pytest.mark.django_db
def test_check_fails_when_nothing_undamaged_is_there(model: ModelVersion) -> None:
    (model.path / "labels.json").write_text("[]")
    with pytest.raises(CommandError, match="No model is installed") as error:
        run(check=True)
    assert error.value.returncode == 1


@pytest.mark.django_db
def test_check_lets_no_other_bundle_on_the_disk_serve_for_good(model: ModelVersion, small_bundle: Bundle) -> None:
    newer = model.path.with_name("newer")
    newer.mkdir()
    labels = [label.upper() for label in small_bundle.labels()]
    content = (small_bundle.path / "model.tflite").read_bytes()
    ModelVersion.objects.install(write(newer, content, labels, small_bundle.preprocessing, {"backbone": "newer"}))
    ModelVersion.objects.install(Bundle.read(model.path))  # a step back
    (model.path / "labels.json").write_text("[]")
    assert "newer classifies until manage.py install_model repairs them" in run(check=True)
    assert ModelVersion.objects.serving() == model
    shutil.rmtree(model.path)  # as in a release whose image has another model
    assert "newer serves" in run(check=True)


@pytest.mark.django_db
def test_classify_prints_the_five_best(model: ModelVersion, tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "a.jpg").write_bytes(image_bytes())
    out = StringIO()
    call_command("classify", str(tmp_path / "a.jpg"), stdout=out)
    assert out.getvalue().count("%") == 5
    out = StringIO()
    call_command("classify", "--json", str(tmp_path / "a.jpg"), stdout=out)
    answer = json.loads(out.getvalue())
    confidences = [label["confidence"] for label in answer["labels"]]
    assert confidences == sorted(confidences, reverse=True)
    assert {label["label"] for label in answer["labels"]} <= set(LABELS)


@pytest.mark.django_db
def test_classify_goes_on_behind_a_file_that_fails(model: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(image_bytes())
    (tmp_path / "b.txt").write_text("text")
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="2 of 3 files"):
        names = [str(tmp_path / name) for name in ("b.txt", "none.jpg", "a.jpg")]
        call_command("classify", *names, stdout=out, stderr=err)
    assert "File must be an image" in err.getvalue()
    assert "No such file" in err.getvalue()
    assert out.getvalue().count("%") == 5


@pytest.mark.django_db
def test_classify_needs_a_model(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No model is installed"):
        call_command("classify", "a.jpg")


@pytest.mark.django_db
def test_classify_refuses_a_damaged_model(model: ModelVersion) -> None:
    (model.path / "bundle.json").write_text("{}")
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("classify", "a.jpg")


@pytest.fixture
def renamed(model: ModelVersion, small_bundle: Bundle) -> ModelVersion:
    """The same model, installed with other labels, not serving."""
    draft = bundles.write(
        model.path.with_name("draft"),
        (model.path / "model.tflite").read_bytes(),
        [label.upper() for label in LABELS],
        small_bundle.preprocessing,
        {"backbone": "renamed"},
    )
    return ModelVersion.objects.install(bundles.install(draft, model.path.parent), serve=False)


@pytest.mark.django_db
def test_classify_asks_the_version_that_is_named(model: ModelVersion, renamed: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(image_bytes())
    out = StringIO()
    call_command("classify", "--json", "--model-version", renamed.name, str(tmp_path / "a.jpg"), stdout=out)
    assert {label["label"] for label in json.loads(out.getvalue())["labels"]} <= {label.upper() for label in LABELS}
    with pytest.raises(CommandError, match=f"No model version is named none. Installed are: .*{model.name}"):
        call_command("classify", "--model-version", "none", str(tmp_path / "a.jpg"))
    ModelVersion.objects.filter(pk=renamed.pk).update(removed_at=timezone.now())
    with pytest.raises(CommandError, match=rf"is named {renamed.name}. Installed are: {model.name}\."):
        call_command("classify", "--model-version", renamed.name, str(tmp_path / "a.jpg"))


@pytest.mark.django_db
def test_benchmark_compares_versions(model: ModelVersion, renamed: ModelVersion, tmp_path: Path) -> None:
    for number, colour in enumerate(("red", "green", "blue")):
        photo = tmp_path / f"{number}.jpg"
        Image.new("RGB", (120, 90), colour).save(photo)
        with photo.open("rb") as file:
            label = Classifier(Bundle.read(model.path)).classify(open_image(file)).labels[0].label
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        photo.rename(tmp_path / "photos" / label / photo.name)
    (tmp_path / "photos" / "holiday").mkdir()
    (tmp_path / "photos" / "holiday" / "a.jpg").write_bytes(image_bytes())  # a folder that is no label
    options = ["--photos", str(tmp_path / "photos"), "--model-version", model.name, "--model-version", renamed.name]
    out = StringIO()
    call_command("benchmark", "--json", *options, stdout=out)
    first, second = json.loads(out.getvalue())["versions"]
    assert (first["model_version"], second["model_version"]) == (model.name, renamed.name)
    assert (first["agreement"], first["accuracy"], first["labelled_photos"]) == (1, 1, 3)
    assert (second["agreement"], second["accuracy"]) == (0, 0)
    out = StringIO()
    call_command("benchmark", *options, stdout=out)
    heading, *rows = out.getvalue().splitlines()
    assert heading.split() == [model.name, renamed.name]
    assert ["best", "label", "is", "right", "100.0%", "0.0%"] in [row.split() for row in rows]


@pytest.mark.django_db
def test_a_service_is_measured_with_what_serves_there(model: ModelVersion) -> None:
    with pytest.raises(CommandError, match="leave --model-version out") as error:
        call_command("benchmark", "--url", "http://127.0.0.1:1", "--model-version", model.name)
    assert error.value.returncode == 2


@pytest.mark.django_db
def test_benchmark_needs_a_model_and_photos(model: ModelVersion, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="has no JPEG photos"):
        call_command("benchmark", "--photos", str(tmp_path))
    ModelVersion.objects.all().delete()
    with pytest.raises(CommandError, match="No model is installed"):
        call_command("benchmark")
