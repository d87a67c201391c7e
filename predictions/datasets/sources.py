"""Where images to import come from: files, folders and what lies below them, zip files."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from predictions.uploads import largest, printable

# What systems, and export_dataset, leave beside images.
LITTER = {"__macosx", "thumbs.db", "desktop.ini", "manifest.csv"}
# bzip2 and LZMA, rare in zip files, are unpacked without a bound: a few kilobytes could fill the memory.
COMPRESSIONS = {ZIP_STORED, ZIP_DEFLATED}
DAMAGED = (OSError, BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, LookupError)


class Unreadable(Exception):
    """A file that cannot be read. The message is a sentence for people."""


Opened = AbstractContextManager[UploadedFile[Any]]


@dataclass(frozen=True)
class Found:
    """A file that may be an image."""

    place: str  # its path; that of a zip file's member begins with the zip file's
    folder: str  # the name of the folder that it lies in; a zip file is one too
    open: Callable[[], Opened]  # may raise Unreadable


def find(paths: Iterable[Path]) -> Iterator[Found]:
    """Find the files at and below some paths, in order of their names.

    Hidden files, and folders that are symbolic links, are passed over. What cannot be opened says so when it is.
    """
    for path in paths:
        yield from _walk(path) if path.is_dir() else _file(path)


def _walk(top: Path) -> Iterator[Found]:
    closed: list[OSError] = []
    for folder, folders, names in os.walk(top, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not _is_litter(name))
        for name in sorted(names):
            if not _is_litter(name):
                yield from _file(Path(folder, name))
    for error in closed:
        yield Found(str(error.filename), "", partial(_complain, f"The folder cannot be read: {error.strerror}"))


def _file(path: Path) -> Iterator[Found]:
    if path.suffix.lower() == ".zip":
        yield from _members(path)
    else:
        yield Found(str(path), path.absolute().parent.name, partial(_open_file, path))


def _members(path: Path) -> Iterator[Found]:
    """Find the files of an archive, which stays open as long as they are asked for."""
    try:
        archive = ZipFile(path)
    except DAMAGED as error:
        yield Found(str(path), "", partial(_complain, f"The zip file cannot be read: {error}"))
        return
    with archive:
        for member in archive.infolist():
            inside = PurePosixPath(member.filename)
            if not member.is_dir() and not any(map(_is_litter, inside.parts)):
                folder = inside.parent.name or path.stem
                yield Found(f"{path}/{inside}", folder, partial(_open_member, archive, member))


def _is_litter(name: str) -> bool:
    return name.lower() in LITTER or (name.startswith(".") and name not in {".", ".."})


@contextmanager
def _complain(reason: str) -> Iterator[UploadedFile[Any]]:
    raise Unreadable(reason)
    yield  # makes it a context manager


@contextmanager
def _open_file(path: Path) -> Iterator[UploadedFile[Any]]:
    if path.exists() and not path.is_file():
        raise Unreadable("It is no regular file")  # to open a pipe would wait for its other end
    try:
        file = path.open("rb")
    except OSError as error:
        raise Unreadable(f"The file cannot be read: {error.strerror}") from error
    with file:
        yield UploadedFile(file, _name(path.name), size=path.stat().st_size)


@contextmanager
def _open_member(archive: ZipFile, member: ZipInfo) -> Iterator[UploadedFile[Any]]:
    """Unpack a file of an archive: never more than it claims to have, and never one that claims too much."""
    name = _name(PurePosixPath(member.filename).name)
    if member.file_size > largest():
        yield UploadedFile(BytesIO(), name, size=member.file_size)
        return
    if member.compress_type not in COMPRESSIONS:
        raise Unreadable("It is compressed by another method than deflate")
    with SpooledTemporaryFile(max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE) as file:
        try:
            with archive.open(member) as packed:
                copyfileobj(packed, file)
        except DAMAGED as error:
            raise Unreadable(f"It cannot be unpacked: {error}") from error
        yield UploadedFile(file, name, size=file.tell())


def _name(name: str) -> str:
    return printable(name) or "unnamed"
