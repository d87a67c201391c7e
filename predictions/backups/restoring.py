"""Restoring a backup into an empty place: what the database names is brought back, and each original checked."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage
from django.db import connection

from predictions import renditions
from predictions.backups import database
from predictions.backups.database import BackupError, sha256
from predictions.backups.making import DATABASE, MANIFEST, MEDIA, MODELS
from predictions.consistency import walk
from predictions.models import ImagePrediction


@dataclass
class Restored:
    """What came back."""

    rows: int = 0
    files: int = 0
    missing: list[int] = field(default_factory=list)  # the ids of images whose original is not in the backup
    damaged: list[int] = field(default_factory=list)  # those of which it is, but not as it was uploaded


def restore(backup: Path, progress: Callable[[int], object], *, load: bool = True) -> Restored:
    """Fill the empty database, media and models from a backup. Raises BackupError and OSError.

    Without `load`, somebody else has filled the database. `progress` is told how many further images came back.
    """
    storage = ImagePrediction._meta.get_field("image_path").storage
    _check(backup, storage, load=load)
    if load:
        database.load(backup / DATABASE)
    for path in sorted((backup / MODELS).glob("*")):
        shutil.copytree(path, Path(settings.MODELS_DIR) / path.name)
    result = Restored()
    rows = ImagePrediction.objects.only("image_path", "sha256").order_by("pk")
    for prediction in rows.iterator(chunk_size=1000):
        _restore_files(prediction, backup / MEDIA, storage, result)
        progress(1)
    return result


def _check(backup: Path, storage: Storage, *, load: bool) -> None:
    try:
        facts: dict[str, Any] = json.loads((backup / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise BackupError(f"{backup} is no backup: {error}") from error
    if sha256(backup / DATABASE) != facts["sha256"]:
        raise BackupError(f"{backup / DATABASE} is damaged: its checksum is not the one in {MANIFEST}.")
    if load and facts["database"] != connection.vendor:
        raise BackupError(f"This backup is of {facts['database']}, and DATABASE_URL of {connection.vendor}.")
    if load and not database.is_empty():
        raise BackupError("The database has tables already: restore into an empty one.")
    if next(walk(storage, ""), None) or next(Path(settings.MODELS_DIR).glob("[!.]*"), None):
        raise BackupError("There are media or models already: restore into an empty place.")


def _restore_files(prediction: ImagePrediction, media: Path, storage: Storage, result: Restored) -> None:
    """Bring an image's original and renditions back."""
    result.rows += 1
    original, *others = renditions.files_of(prediction)
    if not (media / original).exists():
        result.missing.append(prediction.pk)
        return
    for name in (original, *others):
        path = media / name
        if not path.exists():
            continue
        with path.open("rb") as file:
            if name == original and hashlib.file_digest(file, "sha256").hexdigest() != prediction.sha256:
                result.damaged.append(prediction.pk)
            file.seek(0)
            storage.save(name, File(file))
        result.files += 1
