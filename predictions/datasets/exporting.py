"""Writing a dataset: as CSV or JSON Lines, or as a tree of images by part and label, in a folder or a zip file."""

from __future__ import annotations

import csv
import fcntl
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path, PurePath
from typing import IO, Any, Protocol
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from predictions import renditions
from predictions.datasets.foldernames import folder_of
from predictions.datasets.records import COLUMNS, Split, plain, records, to_cell
from predictions.models import ImagePrediction, ImagePredictionQuerySet
from predictions.storage import StorageAway

CSV, JSONL, FOLDER, ZIP = FORMATS = ("csv", "jsonl", "folder", "zip")
MANIFEST = "manifest.csv"  # in the root of a tree: the records, with each image's place
STEM_LENGTH = 60
OLDEST = (1980, 1, 1, 0, 0, 0)  # that a zip file can tell


class TargetExists(Exception):
    """There is something where the dataset is to go. The message is a sentence."""


class Unreadable(Exception):
    """The file of an image cannot be read, the others' may be. The message is the end of a sentence."""


class Writer(Protocol):
    """Writes records."""

    def add(self, row: ImagePrediction, record: dict[str, Any]) -> None:
        """Write an image. Raises Unreadable, StorageAway, and OSError if there is no room."""


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
        place, content = _place(row, record), _content(row)
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.manifest.add(row, {"file": place, **record})


class ZipWriter:
    """The same tree in a zip file; equal images and labels make equal files."""

    def __init__(self, archive: ZipFile, manifest: CsvWriter) -> None:
        self.archive, self.manifest = archive, manifest

    def add(self, row: ImagePrediction, record: dict[str, Any]) -> None:
        """Add an image, uncompressed: it is already."""
        place, content = _place(row, record), _content(row)
        self.archive.writestr(_member(place, max(row.created_at.timetuple()[:6], OLDEST)), content)
        self.manifest.add(row, {"file": place, **record})


def _content(row: ImagePrediction) -> bytes:
    """Return an image's file. Raises Unreadable and StorageAway."""
    try:
        return renditions.original(row)
    except FileNotFoundError as error:
        raise Unreadable("the file is no longer in the storage") from error
    except StorageAway:
        raise
    except OSError as error:
        raise Unreadable(f"the file cannot be read: {error.strerror or error}") from error


def _member(name: str, at: tuple[int, ...] = OLDEST) -> ZipInfo:
    """Return what a zip file says of a file in it; by itself, zipfile says when that was written."""
    member = ZipInfo(name, at)  # type: ignore[arg-type]  # six numbers
    member.external_attr = 0o644 << 16
    return member


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
    with _draft(target) as draft:
        with _writer(draft / target.name, form) as writer:
            yield writer
        if form == FOLDER and target.exists():
            target.rename(draft / "replaced")
        check(target, form, force=force)
        (draft / target.name).replace(target)


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """Give a folder beside the target, which goes at the end; so do those that killed runs have left."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        with suppress(OSError), _held(left):
            _remove(left)
    draft = Path(tempfile.mkdtemp(".partial", f".{target.name}.", target.parent))
    try:
        with _held(draft):
            yield draft
    finally:
        _remove(draft)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a lock, which ends with the process. Raises BlockingIOError if another process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


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
                listed_at = _member(MANIFEST)
                listed_at.compress_type = ZIP_DEFLATED
                with manifest.open("rb") as source, archive.open(listed_at, "w") as copy:
                    shutil.copyfileobj(source, copy)
    if form == FOLDER:
        manifest.rename(path / MANIFEST)


def _flush(file: IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
