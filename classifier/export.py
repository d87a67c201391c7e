"""Keras classifier -> bundle. With classifier.sources all that imports TensorFlow; nothing that serves imports it."""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifier import bundle as bundles
from classifier.bundle import SCALINGS, Bundle, Preprocessing
from classifier.drafts import (
    ExportError,
    agreement,
    backbone,
    building,
    check_probabilities,
    finish,
    noise_images,
    read_pixels,
)
from classifier.runtime import Classifier, Floats
from classifier.sources import Source, check_input, import_keras

# Keras and LiteRT add in another order; on MobileNetV2 the largest difference measured is 2e-6.
PARITY_TOLERANCE = 1e-3
INT8 = "int8"


def export(
    source: Source, folder: Path, *, crop: float = 0.875, calibrate: Sequence[Path] = (), card: Path | None = None
) -> Bundle:
    """Convert, compare with Keras, and only then install the bundle into `folder`. Raises ExportError.

    With photos to calibrate with it is quantized to 8-bit integers, and compared with the float model on these.
    """
    preprocessing = Preprocessing(_check_shape(source), crop)
    photos = read_pixels(calibrate, preprocessing) if calibrate else []
    whole = _with_scaling_and_embedding(source, preprocessing.size)
    name = backbone(source.model.name)
    about = {"origin": source.origin, "classes": len(source.labels), "scaling": source.scaling, **source.about}

    def write(model: bytes, name: str) -> Bundle:
        return bundles.write(drafts / name, model, source.labels, preprocessing, {"backbone": name, **about})

    with building(folder) as drafts, _saved(whole, preprocessing.size) as saved:
        draft = write(_convert(saved), name)
        difference = compare(draft, lambda pixels: np.asarray(whole(pixels, training=False)["probabilities"]))
        more: dict[str, Any] = {"made_with": _versions(), "differs_from_keras": difference}
        if photos:
            exact, draft = draft, write(_convert(saved, photos), f"{name}-{INT8}")
            more |= {"quantization": INT8, "agreement": agreement(exact, draft, photos).to_dict()}
        return finish(draft, folder, more, card)


def compare(draft: Bundle, reference: Callable[[Floats], Floats]) -> float:
    """Return the largest difference between the probabilities of the bundle and of `reference` on test images.

    Raises ExportError when it exceeds PARITY_TOLERANCE, and when the outputs are no probabilities.
    """
    classifier = Classifier(draft)
    worst = 0.0
    for pixels in noise_images(draft.preprocessing.size):
        expected = reference(pixels)[0]
        check_probabilities(expected)
        worst = float(np.maximum(worst, np.abs(classifier.run(pixels)["probabilities"][0] - expected).max()))
    if not worst <= PARITY_TOLERANCE:  # so that NaN fails too
        raise ExportError(f"The converted model differs from Keras by up to {worst}: it was not installed.")
    return worst


def _check_shape(source: Source) -> int:
    """Return the side of the model's input in pixels."""
    inputs, outputs = source.model.input_shape, source.model.output_shape
    check_input(inputs if isinstance(inputs, tuple) else (None,))
    if not (isinstance(outputs, tuple) and outputs[1:] == (len(source.labels),)):
        raise ExportError(f"The model gives {outputs}, but there are {len(source.labels)} labels.")
    return int(inputs[1])


def _with_scaling_and_embedding(source: Source, size: int) -> Any:
    """Put the pixel scaling in front, and the input of the last layer that has weights beside the output."""
    keras = import_keras()
    scale, offset = SCALINGS[source.scaling]
    pixels = keras.Input((size, size, 3), name="pixels")
    features = source.features or _features(source.model)
    embedding, probabilities = features(keras.layers.Rescaling(scale, offset=offset)(pixels))
    if source.softmax:
        probabilities = keras.layers.Softmax()(probabilities)
    return keras.Model(pixels, {"embedding": keras.layers.Flatten()(embedding), "probabilities": probabilities})


def _features(model: Any) -> Any:
    last = next((layer for layer in reversed(model.layers) if layer.weights), None)
    if last is None:
        raise ExportError("The model has no layer with weights: it is no neural network.")
    return import_keras().Model(model.inputs[0], [last.input, model.outputs[0]])


@contextmanager
def _saved(model: Any, size: int) -> Iterator[str]:
    """Write a SavedModel to convert: the converter leaves the weights of a plain Keras 3 function out, in silence."""
    import tensorflow as tf

    archive = import_keras().export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec((1, size, size, 3), tf.float32, name="pixels")]
    archive.add_endpoint("serve", lambda pixels: model(pixels, training=False), input_signature=signature)
    with tempfile.TemporaryDirectory() as saved:
        try:
            archive.write_out(saved, verbose=False)
        except Exception as error:  # it raises whatever went wrong inside
            raise ExportError(f"The model cannot be converted: {error}") from error
        yield saved


def _convert(saved: str, photos: Sequence[npt.NDArray[np.uint8]] = ()) -> bytes:
    """Return the TFLite model of a SavedModel, quantized if there are photos to calibrate with."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=["serve"])
    try:
        return bytes(_quantize(converter, photos) if photos else converter.convert())
    except Exception as error:  # it raises whatever went wrong inside
        raise ExportError(f"The model cannot be converted: {error}") from error


def _quantize(converter: Any, photos: Sequence[npt.NDArray[np.uint8]]) -> bytes:
    """Quantize weights and activations. Floats go in and come out, and the softmax stays one of floats.

    In 8 bits it would tell confidences in steps of 1/256, and 1,000 of them with a sum of 0.7 to 1. It takes no time.
    """
    import tensorflow as tf

    def photo_by_photo() -> Iterator[dict[str, Floats]]:
        return ({"pixels": pixels.astype(np.float32)} for pixels in photos)

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = photo_by_photo
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    with warnings.catch_warnings():  # of the debugger, which is the way to quantize selectively
        warnings.simplefilter("ignore")
        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=["SOFTMAX"])
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=photo_by_photo, debug_options=options
        )
        return bytes(debugger.get_nondebug_quantized_model())


def _versions() -> str:
    import tensorflow as tf

    return f"TensorFlow {tf.__version__}, Keras {import_keras().__version__}"
