"""The LiteRT interpreter around one bundle. Only workers and commands import this module.

LiteRT is a native runtime with threads of its own, so it is loaded in the process that uses it, never before a fork.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from classifier.bundle import BYTES, MODEL, SCALINGS, Bundle, BundleError, read_as_installed
from classifier.memory import give_back
from classifier.preprocessing import load_pixels

TOP = 5
Floats = npt.NDArray[np.float32]
Run = Callable[[Floats], dict[str, Floats]]


@dataclass(frozen=True)
class Label:
    """One of the model's answers."""

    label: str
    confidence: float  # 0 to 1

    def to_dict(self) -> dict[str, str | float]:
        """Return the form that is stored and that the API shows."""
        return {"label": self.label, "confidence": self.confidence}


@dataclass(frozen=True)
class Classification:
    """What the model says of an image: the best labels first, and the pooled features."""

    labels: list[Label]
    embedding: Floats | None  # shape (features,), 1280 for MobileNetV2; None of a ready-made model that gives none


class Classifier:
    """A loaded model. Not thread-safe: one per process."""

    def __init__(self, bundle: Bundle) -> None:
        """Verify the bundle and load it, on one thread. Raises BundleError."""
        bundle.verify()
        self.bundle = bundle
        self.labels = bundle.labels()
        try:
            interpreter = Interpreter(str(bundle.path / MODEL), num_threads=1)
            interpreter.allocate_tensors()
            give_back(bundle.path / MODEL)  # 13 MB: XNNPACK has made a copy of the weights, in an order of its own
            self._run = _standard(interpreter, bundle, len(self.labels)) or _ReadyMade(
                interpreter, bundle, len(self.labels)
            )
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{bundle.path / MODEL} cannot be loaded: {error}") from error

    def classify(self, image: Image.Image, top: int = TOP) -> Classification:
        """Decode an opened image and classify it; return so many labels, at most. Raises NotAnImage."""
        return self.infer(load_pixels(image, self.bundle.preprocessing), top)

    def run(self, pixels: Floats) -> dict[str, Floats]:
        """Return the model's raw outputs for such pixels: "probabilities" (1, classes), "embedding" (1, features)."""
        return self._run(pixels)

    def infer(self, pixels: Floats, top: int = TOP) -> Classification:
        """Classify float32 pixels of shape (1, size, size, 3), RGB, 0 to 255."""
        outputs = self.run(pixels)
        probabilities = outputs["probabilities"][0]
        best = np.argsort(probabilities)[::-1][:top]
        # Rounding errors of a softmax can exceed 1 by an ulp.
        labels = [Label(self.labels[index], min(float(probabilities[index]), 1.0)) for index in best]
        return Classification(labels, outputs["embedding"][0] if "embedding" in outputs else None)


@lru_cache(maxsize=1)
def load(path: Path, digest: str) -> Classifier:
    """Return this process's classifier for the bundle at `path`; loading takes some 50 ms, once.

    Raises BundleError when the folder does not hold the bundle with that digest, undamaged.
    """
    return Classifier(read_as_installed(path, digest))


def _standard(interpreter: Interpreter, bundle: Bundle, classes: int) -> Run | None:
    """Return the signature that models exported here have, or None: floats in and out, named as run() names them."""
    spec = bundle.preprocessing
    for key, names in interpreter.get_signature_list().items():
        if names["inputs"] == ["pixels"] and "probabilities" in names["outputs"]:
            signature = interpreter.get_signature_runner(key)
            details = {**signature.get_input_details(), **signature.get_output_details()}
            if bundle.softmax or spec.scaling != "none" or any(of["dtype"] != np.float32 for of in details.values()):
                return None
            _check_classes(int(details["probabilities"]["shape"][-1]), classes)
            return lambda pixels: signature(pixels=pixels)
    return None


def _check_classes(classes: int, labels: int) -> None:
    if classes != labels:
        raise ValueError(f"the model has {classes} classes, but there are {labels} labels")


class _ReadyMade:
    """A model with tensors of its own: floats or quantized integers, with or without scaling, softmax, embedding."""

    def __init__(self, interpreter: Interpreter, bundle: Bundle, classes: int) -> None:
        """Find the tensors. Raises ValueError if they are not those of a classifier of square RGB images."""
        self._interpreter, self._softmax = interpreter, bundle.softmax
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._input, size = inputs[0], bundle.preprocessing.size
        if len(inputs) != 1 or self._input["shape"].tolist() != [1, size, size, 3]:
            raise ValueError(f"it takes {shapes(inputs)} and not {(1, size, size, 3)}, one square RGB image")
        if len(outputs) == 1:
            _check_classes(int(outputs[0]["shape"][-1]), classes)
        answers = [of for of in outputs if of["shape"].prod() == classes]
        if len(answers) != 1:
            raise ValueError(f"of its outputs, {shapes(outputs)}, exactly one must have {classes} values, one a label")
        self._answer = answers[0]
        others = [of for of in outputs if of is not self._answer]
        self._embedding = others[0] if len(others) == 1 else None
        self._scale, self._offset = _encoding(self._input, bundle.preprocessing.scaling)

    def __call__(self, pixels: Floats) -> dict[str, Floats]:
        self._interpreter.set_tensor(self._input["index"], self._encode(pixels))
        self._interpreter.invoke()
        answer = self._decode(self._answer)
        outputs = {"probabilities": _softmax(answer) if self._softmax else answer}
        return outputs if self._embedding is None else {**outputs, "embedding": self._decode(self._embedding)}

    def _encode(self, pixels: Floats) -> npt.NDArray[Any]:
        values: Floats = pixels * self._scale + self._offset
        kind = self._input["dtype"]
        if kind == np.float32:
            return values
        limits = np.iinfo(kind)
        integers: npt.NDArray[Any] = np.rint(values).clip(limits.min, limits.max).astype(kind)
        return integers

    def _decode(self, of: dict[str, Any]) -> Floats:
        values: npt.NDArray[Any] = self._interpreter.get_tensor(of["index"]).reshape(1, -1)
        step, zero = of["quantization"]
        floats: Floats = values.astype(np.float32, copy=False)
        return (floats - np.float32(zero)) * np.float32(step) if step else floats


def _encoding(of: dict[str, Any], scaling: str) -> tuple[Floats, Floats]:
    """Return what pixels, 0 to 255, are multiplied by and what is added to make values of the input tensor."""
    if scaling == BYTES:
        return np.ones(1, dtype=np.float32), np.full(1, np.iinfo(of["dtype"]).min, dtype=np.float32)
    scale, offset = (np.asarray(value, dtype=np.float32) for value in SCALINGS[scaling])
    step, zero = of["quantization"]
    return (scale / np.float32(step), offset / np.float32(step) + np.float32(zero)) if step else (scale, offset)


def _softmax(logits: Floats) -> Floats:
    powers: Floats = np.exp(logits - logits.max())
    powers /= powers.sum()
    return powers


def shapes(tensors: list[dict[str, Any]]) -> str:
    """Return the shapes of tensors as LiteRT tells them, for people."""
    return ", ".join(str(tuple(of["shape"].tolist())) for of in tensors)
