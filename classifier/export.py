"""Keras classifier -> bundle. The only module that imports TensorFlow; nothing that serves imports it."""

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifier import bundle as bundles
from classifier.bundle import Bundle, Preprocessing

# What the pixels, 0 to 255, are multiplied by and what is added, before the network sees them.
SCALINGS = {"symmetric": (1 / 127.5, -1.0), "unit": (1 / 255, 0.0), "none": (1.0, 0.0)}
PARITY_IMAGES = 8
# Keras and LiteRT add in another order; on MobileNetV2 the largest difference measured is 2e-6.
PARITY_TOLERANCE = 1e-3


class ExportError(Exception):
    """No bundle could be made. The message is for the person who asked for one, and says what to do."""


@dataclass(frozen=True)
class Source:
    """A Keras classifier, and what has to be known of it."""

    model: Any  # keras.Model: pixels of shape (batch, size, size, 3) -> probabilities of shape (batch, classes)
    labels: list[str]
    scaling: str  # a key of SCALINGS
    origin: str  # where it comes from, for people


def mobilenet_v2(weights: Path | None = None) -> Source:
    """Return Keras' MobileNetV2 for ImageNet: its own weights, from its cache or download, or those of a file.

    Raises ExportError when they cannot be had, with the files that are missing.
    """
    keras = _import_keras()
    try:
        model = keras.applications.MobileNetV2(weights=str(weights) if weights else "imagenet")
        labels = imagenet_labels()
    except Exception as error:  # Keras raises bare Exception when a download fails
        if weights:
            raise ExportError(f"{weights} holds no MobileNetV2 weights for 1,000 classes: {error}") from error
        raise ExportError(_where_the_weights_go(error)) from error
    return Source(model, labels, "symmetric", weights.name if weights else "keras.applications, imagenet")


def imagenet_labels() -> list[str]:
    """Return the 1,000 labels of ImageNet, as Keras' decode_predictions names them, from its cache or download."""
    keras = _import_keras()
    decoded = keras.applications.mobilenet_v2.decode_predictions(np.eye(1000, dtype=np.float32), top=1)
    return [answers[0][1] for answers in decoded]


def keras_file(path: Path, labels: Path, scaling: str) -> Source:
    """Return a classifier of the user's own, from a .keras file, with a text file of its labels, one a line.

    Raises ExportError when it is no classifier of square RGB images with as many classes as there are labels.
    """
    keras = _import_keras()
    try:
        model = keras.saving.load_model(path, compile=False)
        names = [line.strip() for line in labels.read_text().splitlines() if line.strip()]
    except Exception as error:  # whatever a file that is no model makes Keras raise
        raise ExportError(f"The model cannot be loaded: {error}") from error
    return Source(model, names, scaling, path.name)


def export(source: Source, folder: Path) -> Bundle:
    """Convert, compare with Keras, and only then install the bundle into `folder`. Raises ExportError."""
    size = _check_shape(source)
    preprocessing = Preprocessing(size=size)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-", ignore_cleanup_errors=True) as building:
        whole = _with_scaling_and_embedding(source, size)
        about = {
            "backbone": re.sub(r"[^\w.-]", "-", source.model.name)[:80],
            "origin": source.origin,
            "classes": len(source.labels),
        }
        draft_path = Path(building) / "bundle"
        draft_path.mkdir()
        draft = bundles.write(draft_path, _convert(whole, size), source.labels, preprocessing, about)
        compare(draft, lambda pixels: np.asarray(whole(pixels, training=False)["probabilities"]))
        return bundles.install(draft, folder)


def compare(draft: Bundle, reference: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]) -> float:
    """Return the largest difference between the probabilities of the bundle and of `reference` on test images.

    Raises ExportError when it exceeds PARITY_TOLERANCE, and when the outputs are no probabilities.
    """
    from classifier.runtime import Classifier

    classifier = Classifier(draft)
    size, worst = draft.preprocessing.size, 0.0
    for pixels in _test_images(size):
        expected = reference(pixels)[0]
        if not np.isclose(expected.sum(), 1, atol=1e-3) or expected.min() < 0:
            raise ExportError("The model's outputs are no probabilities: end it with a softmax.")
        worst = float(np.maximum(worst, np.abs(classifier.run(pixels)["probabilities"][0] - expected).max()))
    if not worst <= PARITY_TOLERANCE:  # so that NaN fails too
        raise ExportError(f"The converted model differs from Keras by up to {worst}: it was not installed.")
    return worst


def _import_keras() -> Any:
    # Converting needs no GPU; without these, TensorFlow's notes on the hardware read like errors.
    for name, value in {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }.items():
        os.environ.setdefault(name, value)
    try:
        import keras
        import tensorflow as tf  # noqa: F401  (the backend, and the converter)
    except ImportError as error:
        raise ExportError("TensorFlow is needed to build a model: pip install -r requirements/model.txt") from error
    return keras


def _where_the_weights_go(error: Exception) -> str:
    folder = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    return (
        f"Keras could not get the weights of MobileNetV2 ({error}).\n"
        f"Put these two files into {folder} (KERAS_HOME says where else), then run install_model again:\n"
        "  mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5\n"
        "    from https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/\n"
        "  imagenet_class_index.json\n"
        "    from https://storage.googleapis.com/download.tensorflow.org/data/"
    )


def _check_shape(source: Source) -> int:
    """Return the side of the model's input in pixels."""
    inputs, outputs = source.model.input_shape, source.model.output_shape
    if not (isinstance(inputs, tuple) and len(inputs) == 4 and inputs[1] == inputs[2] and inputs[3] == 3 and inputs[1]):
        raise ExportError(f"The model takes {inputs}; it must take square RGB images: (batch, size, size, 3).")
    if not (isinstance(outputs, tuple) and outputs[1:] == (len(source.labels),)):
        raise ExportError(f"The model gives {outputs}, but there are {len(source.labels)} labels.")
    return int(inputs[1])


def _with_scaling_and_embedding(source: Source, size: int) -> Any:
    """Put the pixel scaling in front, and the input of the last layer that has weights beside the output."""
    keras = _import_keras()
    scale, offset = SCALINGS[source.scaling]
    pixels = keras.Input((size, size, 3), name="pixels")
    last = next(layer for layer in reversed(source.model.layers) if layer.weights)
    features = keras.Model(source.model.inputs[0], [last.input, source.model.outputs[0]])
    embedding, probabilities = features(keras.layers.Rescaling(scale, offset=offset)(pixels))
    return keras.Model(pixels, {"embedding": keras.layers.Flatten()(embedding), "probabilities": probabilities})


def _convert(model: Any, size: int) -> bytes:
    """Convert by way of a SavedModel: the converter leaves the weights of a plain Keras 3 function out, in silence."""
    import tensorflow as tf

    keras = _import_keras()
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec((1, size, size, 3), tf.float32, name="pixels")]
    archive.add_endpoint("serve", lambda pixels: model(pixels, training=False), input_signature=signature)
    with tempfile.TemporaryDirectory() as saved:
        try:
            archive.write_out(saved, verbose=False)
            return bytes(tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=["serve"]).convert())
        except Exception as error:  # both raise whatever went wrong inside
            raise ExportError(f"The model cannot be converted: {error}") from error


def _test_images(size: int) -> list[npt.NDArray[np.float32]]:
    """Return images of noise at several scales: like photos they have structure, and everyone can make them again."""
    random = np.random.default_rng(0)
    images = []
    for index in range(PARITY_IMAGES):
        cells = 2 ** (index % 6 + 1)
        coarse = random.uniform(0, 255, (cells, cells, 3))
        positions = np.arange(size) * cells // size
        images.append(coarse[positions][:, positions][np.newaxis].astype(np.float32))
    return images
