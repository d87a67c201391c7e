"""A model on disk: a folder with model.tflite, labels.json, bundle.json (origin, preprocessing, checksums), a card."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

MODEL, LABELS, MANIFEST, CARD = "model.tflite", "labels.json", "bundle.json", "README.md"
NEEDED = ("preprocessing", "softmax", "sha256")  # what bundle.json holds to serve; all else in it is for people

# By name, what the pixels, 0 to 255, are multiplied by and what is added; for all channels, or for each of R, G, B.
SCALINGS: dict[str, tuple[float | list[float], float | list[float]]] = {
    "symmetric": (1 / 127.5, -1.0),
    "unit": (1 / 255, 0.0),
    "imagenet": (
        [1 / (255 * deviation) for deviation in (0.229, 0.224, 0.225)],
        [-mean / deviation for mean, deviation in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))],
    ),
    "none": (1.0, 0.0),
}
BYTES = "bytes"  # of a quantized input: the pixels' bytes as they are, over the whole range of its integers


class BundleError(Exception):
    """The folder is no bundle, or not the one that was installed. The message says what is wrong with which file."""


@dataclass(frozen=True)
class Preprocessing:
    """What a bundle wants done to an image. Models exported here scale the pixels themselves, in their first layer."""

    size: int = 224  # pixels, both sides of the model's input
    crop: float = 0.875  # centre square, as a part of the short side; 1 keeps it all
    scaling: str = "none"  # a key of SCALINGS, or BYTES: what a ready-made model wants done to the pixels before it

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what to_dict() wrote. Raises TypeError or ValueError on anything else."""
        spec = cls(**data)
        in_range = isinstance(spec.size, int) and 0 < spec.size <= 4096 and 0 < spec.crop <= 1
        if not (in_range and spec.scaling in {*SCALINGS, BYTES}):
            raise ValueError(f"Preprocessing {data} is out of range")
        return spec

    def to_dict(self) -> dict[str, Any]:
        """Return what bundle.json keeps. No scaling is not named: older bundles keep their identity."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("scaling", "none")}


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest has been read. Its files are checked by verify(), which reads them all."""

    path: Path
    backbone: str
    preprocessing: Preprocessing
    checksums: dict[str, str]  # file name -> SHA-256, hexadecimal
    digest: str  # SHA-256 of the checksums: the identity of model, labels and preprocessing together
    softmax: bool = False  # whether the model's answers are logits, and the softmax is taken behind it
    about: dict[str, Any] = field(default_factory=dict)  # what else bundle.json tells: origin, quantization and so on

    @property
    def name(self) -> str:
        """Return the folder's name, which is the version's name too."""
        return self.path.name

    @property
    def scaling(self) -> str:
        """Return what the model expects of pixels, whether they are scaled before it or in its first layer."""
        return str(self.about.get("scaling", self.preprocessing.scaling))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the manifest of the bundle at `path`. Raises BundleError."""
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
            preprocessing = Preprocessing.from_dict(manifest["preprocessing"])
            checksums = {name: str(manifest["sha256"][name]) for name in (MODEL, LABELS)}
            backbone, softmax = str(manifest["backbone"]), bool(manifest.get("softmax", False))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path / MANIFEST} cannot be read: {error!r}") from error
        about = {name: value for name, value in manifest.items() if name not in NEEDED}
        digest = _identity(checksums, preprocessing, softmax)
        return cls(path, backbone, preprocessing, checksums, digest, softmax, about)

    def verify(self) -> None:
        """Compare the files with their checksums. Raises BundleError if one is missing or has changed."""
        for name, expected in self.checksums.items():
            try:
                actual = _sha256(self.path / name)
            except OSError as error:
                raise BundleError(f"{self.path / name} cannot be read: {error}") from error
            if actual != expected:
                raise BundleError(f"{self.path / name} is damaged: its checksum is not the one in {MANIFEST}")

    def labels(self) -> list[str]:
        """Return the labels, in the order of the model's output."""
        return list(json.loads((self.path / LABELS).read_bytes()))

    def card(self) -> str:
        """Return the model card, Markdown; empty for a bundle without one. It is no part of the identity."""
        try:
            return (self.path / CARD).read_text(errors="replace")
        except OSError:
            return ""


def read_as_installed(path: Path, digest: str) -> Bundle:
    """Read the manifest at `path`. Raises BundleError if it is not the one with that digest."""
    bundle = Bundle.read(path)
    if bundle.digest != digest:
        raise BundleError(f"{path} is not the bundle that was installed there: its digest differs")
    return bundle


def write(
    path: Path,
    model: bytes,
    labels: list[str],
    preprocessing: Preprocessing,
    about: dict[str, Any],
    *,
    softmax: bool = False,
) -> Bundle:
    """Write a bundle into the folder `path`, every file flushed to the disk, and read it back.

    `about` is kept in bundle.json beside what is needed to serve; it must have the key "backbone".
    """
    path.mkdir(exist_ok=True)
    _write_durably(path / MODEL, model)
    _write_durably(path / LABELS, json.dumps(labels, ensure_ascii=False, indent=0).encode())
    manifest = {
        **about,
        "preprocessing": preprocessing.to_dict(),
        **({"softmax": True} if softmax else {}),
        "sha256": {name: _sha256(path / name) for name in (MODEL, LABELS)},
    }
    _write_manifest(path, manifest)
    return Bundle.read(path)


def describe(bundle: Bundle, more: dict[str, Any]) -> Bundle:
    """Add to what bundle.json tells people of a bundle."""
    _write_manifest(bundle.path, json.loads((bundle.path / MANIFEST).read_bytes()) | more)
    return Bundle.read(bundle.path)


def write_card(bundle: Bundle, text: str) -> None:
    """Put a model card into the bundle, in place of the one it has."""
    draft = bundle.path / f".{CARD}"
    _write_durably(draft, text.encode())
    draft.replace(bundle.path / CARD)


def install(draft: Bundle, folder: Path) -> Bundle:
    """Move a freshly built bundle to folder/<backbone>-<digest>, by one rename: it is there whole, or not at all.

    The same bundle installed before stays, if it is undamaged; a damaged one is replaced.
    """
    target = folder / f"{draft.backbone}-{draft.digest[:8]}"
    try:
        installed = Bundle.read(target)
        installed.verify()
    except BundleError:
        shutil.rmtree(target, ignore_errors=True)
        draft.path.rename(target)
    else:
        shutil.rmtree(draft.path)
    return Bundle.read(target)


def find(folder: Path) -> list[Bundle]:
    """Return the undamaged bundles in `folder`, the one built last first."""
    bundles = []
    for manifest in sorted(folder.glob(f"[!.]*/{MANIFEST}"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            bundle = Bundle.read(manifest.parent)
            bundle.verify()
        except BundleError:
            continue
        bundles.append(bundle)
    return bundles


def _identity(checksums: dict[str, str], preprocessing: Preprocessing, softmax: bool) -> str:
    content = json.dumps([checksums, preprocessing.to_dict(), *(["softmax"] if softmax else [])], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    _write_durably(path / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2).encode())


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
