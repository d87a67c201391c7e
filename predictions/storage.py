"""Where uploaded files are kept on this machine's disk."""

import errno
import os
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.db import OperationalError

RENDITIONS = "renditions/"  # the folder of what is made from the originals
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_ROOM_IN_DATABASE = ("disk is full", "No space left on device")  # SQLite's words, and PostgreSQL's


def is_disk_full(error: BaseException) -> bool:
    """Tell a full disk, under the files or the database, from other errors of theirs."""
    if isinstance(error, OperationalError):
        return any(words in str(error) for words in NO_ROOM_IN_DATABASE)
    return isinstance(error, OSError) and error.errno in NO_ROOM


class DurableFileSystemStorage(FileSystemStorage):
    """Files that are on the disk, whole, once save() returns; and not there at all when it raises.

    What can be made again, the renditions, reaches the disk when the system sees fit: waiting for it would take a
    burst a quarter of its speed. After a power cut such a file may be empty.
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


def _flush(path: Path) -> None:
    """Force a file's content, or a folder's list of files, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
