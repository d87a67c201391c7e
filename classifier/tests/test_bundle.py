"""A model on disk is whole and undamaged, or it is refused."""

import json
import shutil
from pathlib import Path

import pytest

from classifier import bundle as bundles
from classifier.bundle import Bundle, BundleError, Preprocessing
from classifier.runtime import Classifier, load
from config.tests.environment import LABELS


@pytest.fixture
def copy(small_bundle: Bundle, tmp_path: Path) -> Bundle:
    return Bundle.read(shutil.copytree(small_bundle.path, tmp_path / "models" / small_bundle.name, dirs_exist_ok=True))


def test_it_knows_itself(copy: Bundle) -> None:
    copy.verify()
    assert copy.labels() == LABELS
    assert copy.preprocessing.size == 96
    assert copy.name.startswith("small-")
    assert bundles.find(copy.path.parent) == [copy]


@pytest.mark.parametrize("name", ["model.tflite", "labels.json"])
def test_a_changed_file_is_refused(copy: Bundle, name: str) -> None:
    content = bytearray((copy.path / name).read_bytes())
    content[10] ^= 1
    (copy.path / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        Classifier(copy)
    assert bundles.find(copy.path.parent) == []


@pytest.mark.parametrize("name", ["model.tflite", "labels.json", "bundle.json"])
def test_a_missing_file_is_refused(copy: Bundle, name: str) -> None:
    (copy.path / name).unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.read(copy.path).verify()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"preprocessing": {"size": -1}, "sha256": {}, "backbone": ""}'])
def test_a_senseless_manifest_is_refused(copy: Bundle, content: str) -> None:
    (copy.path / "bundle.json").write_text(content)
    with pytest.raises(BundleError, match="bundle.json cannot be read"):
        Bundle.read(copy.path)


def test_bundles_of_earlier_days_keep_their_identity(tmp_path: Path) -> None:
    manifest = {
        "backbone": "mobilenetv2_1.00_224",
        "origin": "keras.applications, imagenet",
        "classes": 1000,
        "preprocessing": {"size": 224, "crop": 0.875},
        "sha256": {"model.tflite": "a" * 64, "labels.json": "b" * 64},
    }
    (tmp_path / "bundle.json").write_text(json.dumps(manifest))
    bundle = Bundle.read(tmp_path)
    assert bundle.digest == "8533529705643bdb2e2bac165cb8691d206eeb03445d30118b6628d1933f826a"
    assert bundle.about == {name: manifest[name] for name in ("backbone", "origin", "classes")}
    assert (bundle.preprocessing.scaling, bundle.softmax, bundle.card()) == ("none", False, "")


def test_what_is_done_before_and_behind_the_model_is_part_of_the_identity(copy: Bundle) -> None:
    model, about = (copy.path / "model.tflite").read_bytes(), {"backbone": "small"}
    scaled = Preprocessing(96, 0.875, "unit")
    digests = {
        bundles.write(copy.path, model, LABELS, spec, about, softmax=softmax).digest
        for spec in (copy.preprocessing, scaled)
        for softmax in (False, True)
    }
    assert len(digests) == 4
    assert copy.digest in digests


def test_another_bundle_in_its_place_is_refused(copy: Bundle) -> None:
    with pytest.raises(BundleError, match="its digest differs"):
        load(copy.path, "0" * 64)


def test_labels_must_be_as_many_as_classes(copy: Bundle) -> None:
    draft = bundles.write(
        copy.path, (copy.path / "model.tflite").read_bytes(), LABELS[1:], copy.preprocessing, {"backbone": "small"}
    )
    with pytest.raises(BundleError, match="7 classes, but there are 6 labels"):
        Classifier(draft)


def test_what_is_no_model_is_refused(copy: Bundle) -> None:
    draft = bundles.write(copy.path, b"no model", LABELS, copy.preprocessing, {"backbone": "small"})
    with pytest.raises(BundleError, match="cannot be loaded"):
        Classifier(draft)


def draft_of(bundle: Bundle, folder: Path) -> Bundle:
    model = (bundle.path / "model.tflite").read_bytes()
    return bundles.write(folder, model, bundle.labels(), bundle.preprocessing, {"backbone": "small"})


def test_installing_twice_keeps_the_first(small_bundle: Bundle, tmp_path: Path) -> None:
    first = bundles.install(draft_of(small_bundle, tmp_path / "a"), tmp_path / "models")
    manifest = (first.path / "bundle.json").stat().st_ino
    second = bundles.install(draft_of(small_bundle, tmp_path / "b"), tmp_path / "models")
    assert second == first
    assert (first.path / "bundle.json").stat().st_ino == manifest
    assert not (tmp_path / "b").exists()


def test_installing_mends_a_damaged_one(small_bundle: Bundle, tmp_path: Path) -> None:
    first = bundles.install(draft_of(small_bundle, tmp_path / "a"), tmp_path / "models")
    (first.path / "labels.json").write_text("[]")
    bundles.install(draft_of(small_bundle, tmp_path / "b"), tmp_path / "models").verify()
