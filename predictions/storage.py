"""Where photos are kept: on this machine's disk, or wherever else MEDIA says (predictions/s3.py)."""

import errno
import logging
import mimetypes
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.core.files.storage import FileSystemStorage, Storage, default_storage
from django.db import OperationalError

RENDITIONS = "renditions/"  # the folder of what is made from the originals
logger = logging.getLogger(__name__)

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_ROOM_IN_DATABASE = ("disk is full", "No space left on device")  # SQLite's words, and PostgreSQL's
MEGABYTE = 1_000_000
SHARED_SECONDS = 300  # for which an address outside serves whoever has it
# Before Python 3.13 it is known only where the system has a table of types, which small containers have not.
mimetypes.add_type("image/webp", ".webp")


class StorageAway(OSError):
    """The storage does not answer, or refuses. It is no file's fault; the message is for whoever wanted one."""

    reason = "storage_away"  # for predictions.metrics

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__("The storage for photos is not available, try again in a moment")
        self.refuses = refuses  # it answers: whether it gives nothing, or not this file, other files tell


class PhotoStorage(Storage, ABC):
    """What is asked of a storage. Files that are not there raise FileNotFoundError, all else that fails OSError."""

    @abstractmethod
    def delete_all(self, names: Sequence[str]) -> None:
        """Delete many files, as far as that is possible; never raises."""

    @abstractmethod
    def trouble(self) -> str:
        """Return a sentence about what is wrong and what to do, empty if the largest upload could be stored now."""

    @abstractmethod
    def address(self, name: str, *, content_type: str, disposition: str, method: str) -> str:
        """Return where a browser gets the file by itself, for SHARED_SECONDS; empty if we have to send it.

        It answers requests of that method only, with these headers.
        """

    def is_empty(self, name: str) -> bool:
        """Return whether a file that is listed has no content: it was lost in a power cut. In a bucket, none is."""
        return False


def photos() -> PhotoStorage:
    """Return the storage that MEDIA names."""
    return cast("PhotoStorage", default_storage)


def content_type(name: str) -> str:
    """Return the type of a stored file: by our name for it, which follows its content, not by its sender's."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def is_disk_full(error: BaseException) -> bool:
    """Tell a full disk, under the files or the database, from other errors of theirs."""
    if isinstance(error, OperationalError):
        return any(words in str(error) for words in NO_ROOM_IN_DATABASE)
    return isinstance(error, OSError) and error.errno in NO_ROOM


def disk_trouble(folder: Path) -> str:
    """Return a sentence about what keeps a folder from taking the largest upload, empty if nothing does."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # without a name: whatever happens, nothing stays
            file.write(b"x")
    except OSError as error:
        if not is_disk_full(error):
            return f"The folder {folder.name} cannot be written to: {error.strerror}"
        return f"The disk with the folder {folder.name} is full: make room. Uploads are refused until then"
    if shutil.disk_usage(folder).free < settings.MAX_UPLOAD_MB * MEGABYTE:
        return f"The disk with the folder {folder.name} is full: make room. Uploads are refused until then"
    return ""


class DurableFileSystemStorage(FileSystemStorage, PhotoStorage):
    """Files that are on the disk, whole, once save() returns; and not there at all when it raises.

    What can be made again, the renditions, reaches the disk when the system sees fit: waiting for it would take a
    burst a quarter of its speed. After a power cut such a file may be empty; check_storage has it made again.
    """

    def _save(self, name: str, content: Any) -> str:
        try:
            name = super()._save(name, content)  # type: ignore[misc]  # Django's own hook, absent from the stubs
            if not name.startswith(RENDITIONS):
                for path in (Path(self.path(name)), Path(self.path(name)).parent):
                    _flush(path)
        except BaseException:
            self.delete(name)
            raise
        return name

    def delete_all(self, names: Sequence[str]) -> None:
        """Delete many files, as far as that is possible; never raises."""
        for name in names:
            try:
                self.delete(name)
            except OSError as error:
                logger.error("%s stays: %s", name, error)

    def trouble(self) -> str:
        """Return what is wrong with the disk, and what to do."""
        folder = Path(self.location)
        return disk_trouble(folder if folder.exists() else settings.DATA_DIR)

    def address(self, name: str, *, content_type: str, disposition: str, method: str) -> str:
        """Return nothing: the disk is ours alone."""
        return ""

    def is_empty(self, name: str) -> bool:
        """Return whether the file is not there, or nothing of it reached the disk."""
        path = Path(self.path(name))
        return not path.exists() or path.stat().st_size == 0


def _flush(path: Path) -> None:
    """Force a file's content, or a folder's list of files, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
