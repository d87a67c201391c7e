"""The LiteRT interpreter around one bundle. Only workers and commands import this module.

LiteRT is a native runtime with threads of its own, so it is loaded in the process that uses it, never before a fork.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from classifier.bundle import MODEL, Bundle, BundleError, read_as_installed
from classifier.preprocessing import load_pixels

TOP = 5


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
    embedding: npt.NDArray[np.float32]  # shape (features,), 1280 for MobileNetV2


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
            self._signature = interpreter.get_signature_runner()
            classes = int(self._signature.get_output_details()["probabilities"]["shape"][-1])
        except (ValueError, RuntimeError, KeyError) as error:
            raise BundleError(f"{bundle.path / MODEL} cannot be loaded: {error}") from error
        if classes != len(self.labels):
            raise BundleError(
                f"{bundle.path}: the model has {classes} classes, but there are {len(self.labels)} labels"
            )

    def classify(self, image: Image.Image, top: int = TOP) -> Classification:
        """Decode an opened image and classify it; return so many labels, at most. Raises NotAnImage."""
        return self.infer(load_pixels(image, self.bundle.preprocessing), top)

    def run(self, pixels: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return the model's raw outputs for such pixels: "probabilities" (1, classes), "embedding" (1, features)."""
        outputs: dict[str, npt.NDArray[np.float32]] = self._signature(pixels=pixels)
        return outputs

    def infer(self, pixels: npt.NDArray[np.float32], top: int = TOP) -> Classification:
        """Classify float32 pixels of shape (1, size, size, 3), RGB, 0 to 255."""
        outputs = self.run(pixels)
        probabilities = outputs["probabilities"][0]
        best = np.argsort(probabilities)[::-1][:top]
        # Rounding errors of a softmax can exceed 1 by an ulp.
        labels = [Label(self.labels[index], min(float(probabilities[index]), 1.0)) for index in best]
        return Classification(labels, outputs["embedding"][0])


@lru_cache(maxsize=1)
def load(path: Path, digest: str) -> Classifier:
    """Return this process's classifier for the bundle at `path`; loading takes some 50 ms, once.

    Raises BundleError when the folder does not hold the bundle with that digest, undamaged.
    """
    return Classifier(read_as_installed(path, digest))
