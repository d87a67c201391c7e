"""Keras classifiers to export: MobileNetV2, a .keras file, a SavedModel. Imports TensorFlow, as export does."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from classifier.drafts import ExportError, backbone, read_labels

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
# What can be the last layer with weights, so that its input is the embedding.
LAST_OPERATIONS = {"MatMul", "BatchMatMulV2", "Conv2D"}


@dataclass(frozen=True)
class Source:
    """A Keras classifier, and what has to be known of it."""

    model: Any  # keras.Model: pixels of shape (batch, size, size, 3) -> probabilities of shape (batch, classes)
    labels: list[str]
    scaling: str  # a key of SCALINGS
    origin: str  # where it comes from, for people
    softmax: bool = False  # whether it gives logits, and a softmax is to be put behind them
    features: Any = None  # keras.Model with the embedding beside the probabilities; None: the model's layers tell it
    about: dict[str, Any] = field(default_factory=dict)  # what else is known of it, for bundle.json


def mobilenet_v2(weights: Path | None = None, alpha: float = 1.0) -> Source:
    """Return Keras' MobileNetV2 for ImageNet: its own weights, from its cache or download, or those of a file.

    Raises ExportError when they cannot be had, with the files that are missing.
    """
    keras = import_keras()
    try:
        model = keras.applications.MobileNetV2(alpha=alpha, weights=str(weights) if weights else "imagenet")
        labels = imagenet_labels()
    except Exception as error:  # Keras raises bare Exception when a download fails
        if weights:
            message = f"{weights} holds no MobileNetV2 weights for 1,000 classes, of alpha {alpha}: {error}"
            raise ExportError(message) from error
        raise ExportError(_where_the_weights_go(alpha, error)) from error
    origin = weights.name if weights else "keras.applications, imagenet"
    return Source(model, labels, "symmetric", origin, about={"alpha": alpha})


def imagenet_labels() -> list[str]:
    """Return the 1,000 labels of ImageNet, as Keras' decode_predictions names them, from its cache or download."""
    keras = import_keras()
    decoded = keras.applications.mobilenet_v2.decode_predictions(np.eye(1000, dtype=np.float32), top=1)
    return [answers[0][1] for answers in decoded]


def keras_file(path: Path, labels: Path, scaling: str, softmax: bool = False) -> Source:
    """Return a classifier of the user's own, from a .keras file, with a text file of its labels, one a line.

    Raises ExportError when it cannot be read.
    """
    names = read_labels(labels)
    keras = import_keras()
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # whatever a file that is no model makes Keras raise
        raise ExportError(f"The model cannot be loaded: {error}") from error
    return Source(model, names, scaling, path.name, softmax)


def saved_model(folder: Path, labels: Path, scaling: str, softmax: bool = False) -> Source:
    """Return a classifier of the user's own, from the folder of a SavedModel, as Keras' export() writes it too.

    Its signature serving_default counts, or its only one. Raises ExportError when it cannot be read, and when that
    signature is not from one float32 input to one output with as many values as there are labels.
    """
    names = read_labels(labels)
    keras = import_keras()
    graph = _frozen(folder)
    inputs = [tensor for tensor in graph.inputs if tensor.dtype.name != "resource"]
    if len(inputs) != 1 or inputs[0].dtype.name != "float32":
        raise ExportError(f"The model takes {_told(inputs)}; it must take one float32 tensor of images.")
    answers = [tensor for tensor in graph.outputs if tensor.shape.rank == 2 and tensor.shape[1] == len(names)]
    if len(answers) != 1:
        raise ExportError(f"The model gives {_told(graph.outputs)}, but there are {len(names)} labels.")
    shape = inputs[0].shape.as_list() if inputs[0].shape.rank else []
    check_input(tuple(shape))
    operations = [of for of in graph.graph.get_operations() if of.type in LAST_OPERATIONS]
    if not operations:
        raise ExportError("The model has no layer whose input could be the embedding: it is no neural network.")
    pruned = graph.prune(inputs, [operations[-1].inputs[0], answers[0]])
    pixels = keras.Input(shape[1:])
    embedding, answer = keras.layers.Lambda(lambda values: tuple(pruned(values)), name="graph")(pixels)
    model = keras.Model(pixels, answer, name=backbone(folder.resolve().name))
    return Source(model, names, scaling, folder.resolve().name, softmax, keras.Model(pixels, [embedding, answer]))


def check_input(shape: tuple[int | None, ...]) -> None:
    """Raise ExportError unless a model of that input shape takes square RGB images of a certain size."""
    if not (len(shape) == 4 and shape[1] and shape[1] == shape[2] and shape[3] == 3):
        raise ExportError(f"The model takes {shape}; it must take square RGB images: (batch, size, size, 3).")


def _frozen(folder: Path) -> Any:
    """Return a SavedModel's signature as one graph with the weights inside, so that its tensors can be named."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        loaded = tf.saved_model.load(str(folder))  # held here: the signatures alone do not hold the variables
        (name,) = [name for name in loaded.signatures if name == "serving_default"] or list(loaded.signatures)
        return convert_variables_to_constants_v2(loaded.signatures[name])
    except Exception as error:  # whatever a folder that is no SavedModel makes TensorFlow raise
        raise ExportError(f"The model cannot be loaded: {error}") from error


def _told(tensors: Any) -> str:
    return ", ".join(f"{tensor.dtype.name} {tensor.shape}" for tensor in tensors)


def import_keras() -> Any:
    """Import Keras with TensorFlow behind it, for converting on a CPU. Raises ExportError where it is not installed."""
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


def _where_the_weights_go(alpha: float, error: Exception) -> str:
    folder = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    return (
        f"Keras could not get the weights of MobileNetV2 ({error}).\n"
        f"Put these two files into {folder} (KERAS_HOME says where else), then run install_model again:\n"
        f"  mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224.h5\n"
        "    from https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/\n"
        "  imagenet_class_index.json\n"
        "    from https://storage.googleapis.com/download.tensorflow.org/data/"
    )
