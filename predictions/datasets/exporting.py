"""Writing a dataset: as CSV or JSON Lines, or as a tree of images by part and label, in a folder or a zip file."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path, PurePath
from typing import IO, Any, Protocol
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from predictions.datasets.foldernames import folder_of
from predictions.datasets.records import COLUMNS, Split, plain, records, to_cell
from predictions.models import ImagePrediction, ImagePredictionQuerySet

CSV, JSONL, FOLDER, ZIP = FORMATS = ("csv", "jsonl", "folder", "zip")
MANIFEST = "manifest.csv"  # in the root of a tree: the records, with each image's place
STEM_LENGTH = 60


class TargetExists(Exception):
    """There is something where the dataset is to go. The message is a sentence."""


class Writer(Protocol):
    """Writes records."""

    def add(self, row: ImagePrediction, record: dict[str, Any]) -> None:
        """Write an image. Raises OSError if its file cannot be read."""


class CsvWriter:
    """Rows of a spreadsheet. It begins with a byte order mark, by which Excel recognizes UTF-8."""

    def __init__(self, file: IO[str], *more: str) -> None:
        file.write("\ufeff")
        self.rows = csv.DictWriter(file, [*more, *COLUMNS])
        self.rows.writeheader()

    def add(self, row: ImagePrediction, record: dict[str, Any]) -> None:
        """Write a row."""
        self.rows.writerow({name: to_cell(value) for name, value in record.items()})


def csv_lines(rows: ImagePredictionQuerySet) -> Iterator[str]:
    """Yield the lines of the same CSV one at a time, to be sent while they are made."""
    line = StringIO()
    writer = CsvWriter(line)
    for row, record in records(rows, Split()):
        writer.add(row, record)
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()  # the names, if there is no row


class JsonLinesWriter:
    """One JSON object a line, UTF-8."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def add(self, row: ImagePrediction, record: dict[str, Any]) -> None:
        """Write a line."""
        values = {name: plain(value) for name, value in record.items()}
        self.file.write(json.dumps(values, ensure_ascii=False) + "\n")


class FolderWriter:
    """PART/LABEL/ID-NAME, as torchvision's and Keras' readers want it, and the manifest."""

    def __init__(self, folder: Path, manifest: CsvWriter) -> None:
        self.folder, self.manifest = folder, manifest

    def add(self, row: ImagePrediction, record: dict[str, Any]) -> None:
        """Copy an image."""
        place = _place(row, record)
        path = self.folder / place
        with row.image_path.open("rb") as source:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        self.manifest.add(row, {"file": place, **record})


class ZipWriter:
    """The same tree in a zip file; equal images and labels make equal files."""

    def __init__(self, archive: ZipFile, manifest: CsvWriter) -> None:
        self.archive, self.manifest = archive, manifest

    def add(self, row: ImagePrediction, record: dict[str, Any]) -> None:
        """Add an image, uncompressed: it is already."""
        place = _place(row, record)
        with row.image_path.open("rb") as source:
            member = ZipInfo(place, max(row.created_at.timetuple()[:6], (1980, 1, 1, 0, 0, 0)))
            member.external_attr = 0o644 << 16
            with self.archive.open(member, "w") as copy:
                shutil.copyfileobj(source, copy)
        self.manifest.add(row, {"file": place, **record})


def _place(row: ImagePrediction, record: dict[str, Any]) -> str:
    """Return where in a tree an image goes: its id makes the name unique."""
    name = PurePath(str(row.image_path.name))
    stem = folder_of(PurePath(row.filename).stem[:STEM_LENGTH])
    return f"{record['split']}/{folder_of(record['label'])}/{row.pk}-{stem}{name.suffix}"


@contextmanager
def stream(file: IO[bytes], form: str) -> Iterator[Writer]:
    """Write CSV or JSON Lines into an open file."""
    text = os.fdopen(os.dup(file.fileno()), "w", encoding="utf-8", newline="")
    with text:
        yield CsvWriter(text) if form == CSV else JsonLinesWriter(text)


@contextmanager
def create(target: Path, form: str, *, force: bool = False) -> Iterator[Writer]:
    """Write a dataset that appears at `target` when it is complete, and not at all before. Raises TargetExists.

    With `force` it takes the place of an earlier one.
    """
    check(target, form, force=force)
    for left in target.parent.glob(f".{target.name}.*.partial"):  # by a run that was killed
        _remove(left)
    draft = Path(tempfile.mkdtemp(".partial", f".{target.name}.", target.parent))
    try:
        with _writer(draft / target.name, form) as writer:
            yield writer
        if form == FOLDER and target.exists():
            target.rename(draft / "replaced")
        check(target, form, force=force)
        (draft / target.name).replace(target)
    finally:
        _remove(draft)


def check(target: Path, form: str, *, force: bool) -> None:
    """Raise TargetExists if a dataset must not go there."""
    if not target.exists():
        return
    if not force:
        raise TargetExists(f"{target} exists; --force replaces it.")
    if target.is_dir() != (form == FOLDER) or (target.is_dir() and not (target / MANIFEST).exists()):
        raise TargetExists(f"{target} is no dataset of this format; it is not replaced, even with --force.")


@contextmanager
def _writer(path: Path, form: str) -> Iterator[Writer]:
    if form in {CSV, JSONL}:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield CsvWriter(file) if form == CSV else JsonLinesWriter(file)
            _flush(file)
        return
    manifest = path.with_name(MANIFEST)
    with manifest.open("w", encoding="utf-8", newline="") as file:
        listed = CsvWriter(file, "file")
        if form == FOLDER:
            path.mkdir()
            yield FolderWriter(path, listed)
        else:
            with ZipFile(path, "w") as archive:
                yield ZipWriter(archive, listed)
                file.flush()
                archive.write(manifest, MANIFEST, ZIP_DEFLATED)
    if form == FOLDER:
        manifest.rename(path / MANIFEST)


def _flush(file: IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
