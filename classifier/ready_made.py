"""A .tflite file of the user's own -> bundle, as it is. Needs no TensorFlow."""

import zipfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from classifier import bundle as bundles
from classifier.bundle import BYTES, Bundle, BundleError, Preprocessing
from classifier.drafts import (
    ExportError,
    backbone,
    building,
    check_probabilities,
    finish,
    noise_images,
    parse_labels,
    read_labels,
)
from classifier.runtime import Classifier, shapes

MAX_LABELS_BYTES = 10_000_000


def adopt(
    file: Path,
    folder: Path,
    *,
    labels: Path | None = None,
    scaling: str | None = None,
    crop: float = 0.875,
    softmax: bool = False,
    card: Path | None = None,
) -> Bundle:
    """Try a .tflite classifier on images, and only then install it into `folder`, unchanged. Raises ExportError.

    Labels are those of a text file, one a line, or else those packed into the file, as TensorFlow Lite's metadata are.
    Without `scaling`, integers get the pixels' bytes, as such models are made for, and floats get 0 to 255.
    """
    content = file.read_bytes()
    names = read_labels(labels) if labels else _packed_labels(file)
    size, has_integers, is_quantized = _look_into(content, file)
    preprocessing = Preprocessing(size, crop, scaling or (BYTES if has_integers else "none"))
    name = backbone(file.stem)
    about = {"backbone": name, "origin": file.name, "classes": len(names), "scaling": preprocessing.scaling}
    with building(folder) as drafts:
        draft = bundles.write(drafts / name, content, names, preprocessing, about, softmax=softmax)
        try:
            classifier = Classifier(draft)
        except BundleError as error:
            raise ExportError(f"{file} is no classifier for these labels: {error.__cause__}") from error
        # Of 8 bits each, the probabilities are rounded to 1/256, by 1/512 on average at most.
        tolerance = 1e-3 + (len(names) / 512 if is_quantized else 0)
        for pixels in noise_images(size):
            probabilities = classifier.run(pixels)["probabilities"][0]
            check_probabilities(probabilities, tolerance)
        return finish(draft, folder, {"quantization": "by its maker"} if is_quantized else {}, card)


def _look_into(content: bytes, file: Path) -> tuple[int, bool, bool]:
    """Return the side of the input in pixels, whether it takes integers, and whether it computes with integers."""
    try:
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"{file} is no TensorFlow Lite model that LiteRT can run: {error}") from error
    inputs = interpreter.get_input_details()
    shape = inputs[0]["shape"].tolist() if len(inputs) == 1 else []
    if not (len(shape) == 4 and shape[0] == 1 and shape[1] == shape[2] > 1 and shape[3] == 3):
        raise ExportError(f"The model takes {shapes(inputs)}; it must take one square RGB image: (1, size, size, 3).")
    tensors = interpreter.get_tensor_details()
    is_quantized = any(of["quantization"][0] and of["dtype"] in {np.int8, np.uint8} for of in tensors)
    return shape[1], bool(np.issubdtype(inputs[0]["dtype"], np.integer)), is_quantized


def _packed_labels(file: Path) -> list[str]:
    """Return the labels in the zip file that TensorFlow Lite's metadata put behind the model."""
    try:
        with zipfile.ZipFile(file) as packed:
            (name,) = [info for info in packed.infolist() if info.filename.endswith(".txt")]
            if name.file_size <= MAX_LABELS_BYTES:
                return parse_labels(packed.read(name).decode("utf-8-sig"))
    except (zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError):
        pass  # no zip, or more than one text, or packed in a way that zipfile cannot read: no labels
    raise ExportError(f"{file} has no labels in it: give a text file of them, one a line, with --labels.")
