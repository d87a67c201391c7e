"""Where uploaded files are kept on this machine's disk."""

import os
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage


class DurableFileSystemStorage(FileSystemStorage):
    """Files that are on the disk, whole, once save() returns; and not there at all when it raises."""

    def _save(self, name: str, content: Any) -> str:
        try:
            name = super()._save(name, content)  # type: ignore[misc]  # Django's own hook, absent from the stubs
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
