"""Making a backup beside a running service.

Media first, which takes long; then the database, as of one moment; then the media that came in between. So every row
has its file: those that are older than the moment are complete by then, and what is deleted meanwhile has been copied,
unless it was uploaded after the first pass and deleted before the second: restoring names such rows.

A backup is a folder by itself, but files that the one before has already are linked to: they take no room twice, and
any backup may be deleted without harm to the others.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.files.storage import Storage
from django.db import connection
from django.utils import timezone

from predictions.backups.database import BackupError, dump, sha256
from predictions.consistency import walk
from predictions.models import ImagePrediction

DATABASE, MEDIA, MODELS, MANIFEST = "database", "media", "models", "backup.json"
Progress = Callable[[int], object]


def make(destination: Path, progress: Progress, *, take: Callable[[Path], None] = dump) -> Path:
    """Add a backup to those in a folder; return its own. It is there whole, or not at all. Raises BackupError, OSError.

    `take` writes the database's content to a path. `progress` is told how many further files were copied.
    """
    destination.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(destination):
        previous = max(backups(destination), default=None)
        name = f"{timezone.now():%Y-%m-%dT%H%M%SZ}"
        target, draft = destination / name, destination / f".{name}"
        for rest in destination.glob(".*Z"):  # of one that was killed
            shutil.rmtree(rest)
        draft.mkdir(mode=0o700)
        try:
            _fill(draft, previous, progress, take)
            os.sync()
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return target


def backups(destination: Path) -> list[Path]:
    """Return the backups in a folder, the oldest first."""
    return sorted(manifest.parent for manifest in destination.glob(f"[0-9]*Z/{MANIFEST}"))


def forget(destination: Path, keep: int) -> list[Path]:
    """Delete all backups but the newest so many; return which."""
    old = backups(destination)[:-keep]
    for backup in old:
        shutil.rmtree(backup)
    return old


def _fill(draft: Path, previous: Path | None, progress: Progress, take: Callable[[Path], None]) -> None:
    storage = ImagePrediction._meta.get_field("image_path").storage
    _copy_media(storage, draft / MEDIA, previous and previous / MEDIA, progress)
    take(draft / DATABASE)
    files = _copy_media(storage, draft / MEDIA, previous and previous / MEDIA, progress)
    for path in sorted(Path(settings.MODELS_DIR).glob("[!.]*")):
        shutil.copytree(path, draft / MODELS / path.name)
    facts = {"made": draft.name.removeprefix("."), "database": connection.vendor, "files": files}
    facts |= {"sha256": sha256(draft / DATABASE)}
    (draft / MANIFEST).write_text(json.dumps(facts, indent=2))


def _copy_media(storage: Storage, folder: Path, previous: Path | None, progress: Progress) -> int:
    """Bring a folder up to the storage's state, but delete nothing; return how many files the storage has."""
    folder.mkdir(exist_ok=True)
    count = 0
    for name in walk(storage, ""):
        try:
            _copy(storage, name, folder / name, previous and previous / name)
        except FileNotFoundError:  # it was deleted since it was listed
            continue
        count += 1
        progress(1)
    return count


def _copy(storage: Storage, name: str, target: Path, previous: Path | None) -> None:
    """Copy a file, or link to the earlier copy. Files are never changed, but one may have been half written."""
    size = storage.size(name)
    if _size(target) == size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if previous and _size(previous) == size:
        target.hardlink_to(previous)
        return
    with storage.open(name) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


@contextmanager
def _alone(destination: Path) -> Iterator[None]:
    """Let no other process make a backup there."""
    with (destination / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupError(f"Another process is making a backup in {destination}.") from error
        yield
