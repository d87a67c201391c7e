"""A model on disk: a folder with model.tflite, labels.json and bundle.json (origin, preprocessing, checksums)."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

MODEL, LABELS, MANIFEST = "model.tflite", "labels.json", "bundle.json"


class BundleError(Exception):
    """The folder is no bundle, or not the one that was installed. The message says what is wrong with which file."""


@dataclass(frozen=True)
class Preprocessing:
    """What a bundle wants done to an image. Pixel scaling is not here: it is the first layer of the exported model."""

    size: int = 224  # pixels, both sides of the model's input
    crop: float = 0.875  # centre square, as a part of the short side; 1 keeps it all

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what to_dict() wrote. Raises TypeError or ValueError on anything else."""
        spec = cls(**data)
        if not (isinstance(spec.size, int) and 0 < spec.size <= 4096 and 0 < spec.crop <= 1):
            raise ValueError(f"Preprocessing {data} is out of range")
        return spec

    def to_dict(self) -> dict[str, Any]:
        """Return what bundle.json keeps."""
        return asdict(self)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest has been read. Its files are checked by verify(), which reads them all."""

    path: Path
    backbone: str
    preprocessing: Preprocessing
    checksums: dict[str, str]  # file name -> SHA-256, hexadecimal
    digest: str  # SHA-256 of the checksums: the identity of model, labels and preprocessing together

    @property
    def name(self) -> str:
        """Return the folder's name, which is the version's name too."""
        return self.path.name

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the manifest of the bundle at `path`. Raises BundleError."""
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
            preprocessing = Preprocessing.from_dict(manifest["preprocessing"])
            checksums = {name: str(manifest["sha256"][name]) for name in (MODEL, LABELS)}
            backbone = str(manifest["backbone"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path / MANIFEST} cannot be read: {error!r}") from error
        return cls(path, backbone, preprocessing, checksums, _identity(checksums, preprocessing))

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


def read_as_installed(path: Path, digest: str) -> Bundle:
    """Read the manifest at `path`. Raises BundleError if it is not the one with that digest."""
    bundle = Bundle.read(path)
    if bundle.digest != digest:
        raise BundleError(f"{path} is not the bundle that was installed there: its digest differs")
    return bundle


def write(path: Path, model: bytes, labels: list[str], preprocessing: Preprocessing, about: dict[str, Any]) -> Bundle:
    """Write a bundle into the existing folder `path`, every file flushed to the disk, and read it back.

    `about` is kept in bundle.json beside what is needed to serve; it must have the key "backbone".
    """
    _write_durably(path / MODEL, model)
    _write_durably(path / LABELS, json.dumps(labels, ensure_ascii=False, indent=0).encode())
    manifest = {
        **about,
        "preprocessing": preprocessing.to_dict(),
        "sha256": {name: _sha256(path / name) for name in (MODEL, LABELS)},
    }
    _write_durably(path / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2).encode())
    return Bundle.read(path)


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


def _identity(checksums: dict[str, str], preprocessing: Preprocessing) -> str:
    content = json.dumps([checksums, preprocessing.to_dict()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
