"""What all ways to a bundle share: a draft is built aside, tried on images, described, and only then installed."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifier import bundle as bundles
from classifier import cards
from classifier.bundle import Bundle, Preprocessing
from classifier.images import NotAnImage, open_image
from classifier.preprocessing import load_pixels
from classifier.runtime import Classifier, Floats

TEST_IMAGES = 8
CALIBRATION_PHOTOS = 500  # more make the model no better, but the calibration slower


class ExportError(Exception):
    """No bundle could be made. The message is for the person who asked for one, and says what to do."""


@dataclass(frozen=True)
class Agreement:
    """How far a model's answers are those of another one, on the same photos."""

    photos: int
    top_1: float  # the part of them whose best label is the same
    confidence: float  # mean absolute difference of the best labels' confidences

    def to_dict(self) -> dict[str, float]:
        """Return what bundle.json keeps."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"the same best label on {self.top_1:.1%} of {self.photos} photos, "
            f"with a confidence that differs by {self.confidence:.3f} on average"
        )


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Give a place for drafts beside installed bundles; what is not installed from there at the end is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def finish(draft: Bundle, folder: Path, more: dict[str, Any], card: Path | None) -> Bundle:
    """Describe a draft that has been tried, and install it into `folder`, with a model card of the user's own or ours.

    A bundle that is installed already keeps its card, unless there is one of the user's own.
    """
    text = card.read_text() if card else None
    draft = bundles.describe(draft, more)
    bundles.write_card(draft, text or cards.write(draft))
    installed = bundles.install(draft, folder)
    if text or not installed.card():
        bundles.write_card(installed, text or cards.write(installed))
    return installed


def backbone(name: str) -> str:
    """Return a name that can be a folder's, and TensorFlow's."""
    return re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)[:80]


def read_labels(path: Path) -> list[str]:
    """Return the labels of a text file, one a line. Raises ExportError."""
    try:
        return parse_labels(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ExportError(f"The labels cannot be read: {error}") from error


def parse_labels(text: str) -> list[str]:
    """Return the lines that are not empty."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def check_probabilities(values: Floats, tolerance: float = 1e-3) -> None:
    """Raise ExportError when `values`, one a class, are not between 0 and 1 with a sum of 1, give or take."""
    if not (np.isclose(values.sum(), 1, atol=tolerance) and values.min() >= 0):  # NaN fails too
        raise ExportError(
            "The model's outputs are no probabilities: end it with a softmax, or, if they are logits, give --softmax."
        )


def noise_images(size: int) -> list[Floats]:
    """Return images of noise at several scales: like photos they have structure, and everyone can make them again."""
    random = np.random.default_rng(0)
    images = []
    for index in range(TEST_IMAGES):
        cells = 2 ** (index % 6 + 1)
        coarse = random.uniform(0, 255, (cells, cells, 3))
        positions = np.arange(size) * cells // size
        images.append(coarse[positions][:, positions][np.newaxis].astype(np.float32))
    return images


def find_photos(folder: Path) -> list[Path]:
    """Return the images in a folder and those below it, by content; of very many, some of everywhere.

    Raises ExportError when there is none.
    """
    photos = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_image(path)]
    if not photos:
        raise ExportError(f"{folder} has no photos to calibrate with: some hundred like those to be classified.")
    return photos[:: -(-len(photos) // CALIBRATION_PHOTOS)]


def _is_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            open_image(file)
    except (NotAnImage, OSError):
        return False
    return True


def read_pixels(photos: Iterable[Path], spec: Preprocessing) -> list[npt.NDArray[np.uint8]]:
    """Decode photos as the bundle would; damaged ones are left out. Raises ExportError when none is whole."""
    pixels = []
    for path in photos:
        try:
            with path.open("rb") as file:
                pixels.append(load_pixels(open_image(file), spec).astype(np.uint8))
        except (NotAnImage, OSError):
            continue
    if not pixels:
        raise ExportError("All photos to calibrate with are damaged.")
    return pixels


def agreement(reference: Bundle, other: Bundle, photos: Sequence[npt.NDArray[np.uint8]]) -> Agreement:
    """Return how far `other` answers as `reference` does. Raises ExportError when it gives no probabilities."""
    expected, actual = (_answers(bundle, photos) for bundle in (reference, other))
    for values in actual:
        check_probabilities(values)
    same = expected.argmax(axis=1) == actual.argmax(axis=1)
    difference = np.abs(expected.max(axis=1) - actual.max(axis=1))
    return Agreement(len(photos), round(float(same.mean()), 4), round(float(difference.mean()), 4))


def _answers(bundle: Bundle, photos: Sequence[npt.NDArray[np.uint8]]) -> Floats:
    classifier = Classifier(bundle)
    return np.stack([classifier.run(pixels.astype(np.float32))["probabilities"][0] for pixels in photos])
