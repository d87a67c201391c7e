"""Do storage and database agree? What a killed process or a lost disk left behind is found, and mended.

Both are read in batches, so that memory does not grow with their size, and without a transaction, so that a service can
run meanwhile: what changes under our eyes is looked at twice, and what is young left alone.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from django.conf import settings
from django.core.files.storage import Storage
from django.utils import timezone

from predictions import renditions, services
from predictions.models import FILE_GONE, ImagePrediction, Status
from predictions.storage import PhotoStorage, photos

BATCH = 1000
GRACE = timedelta(hours=1)
T = TypeVar("T")
Progress = Callable[[int], object]


class Kind(StrEnum):
    """What can be wrong."""

    FILE_WITHOUT_ROW = "file without a row"
    UNFINISHED_UPLOAD = "rest of an interrupted upload"
    ROW_WITHOUT_FILE = "row without a file"
    FILE_IS_BACK = "row whose file is back"
    NO_THUMBNAIL = "row without its thumbnail"


@dataclass(frozen=True)
class Finding:
    """One disagreement, and how to mend it."""

    kind: Kind
    name: str  # of the file, in the storage or, of an unfinished upload, in its folder
    mend: Callable[[], object]
    prediction: int | None = None  # the row's id


def check(grace: timedelta, progress: Progress) -> Iterator[Finding]:
    """Find every disagreement. `progress` is told how many further files and rows were looked at.

    Files younger than `grace` are passed over: an upload has its file before its row, a thumbnail its row before it.
    """
    storage = photos()
    yield from _unfinished_uploads(grace)
    yield from _files_without_row(storage, grace, progress)
    yield from _rows(storage, progress)
    yield from _thumbnails(storage, grace, progress)


def _unfinished_uploads(grace: timedelta) -> Iterator[Finding]:
    """Find what a process left that was killed while it received a file."""
    oldest = (timezone.now() - grace).timestamp()
    for path in Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir():
        try:
            if path.stat().st_mtime < oldest:
                yield Finding(Kind.UNFINISHED_UPLOAD, path.name, partial(path.unlink, missing_ok=True))
        except FileNotFoundError:  # its upload came to its end
            continue


def _files_without_row(storage: Storage, grace: timedelta, progress: Progress) -> Iterator[Finding]:
    oldest = timezone.now() - grace
    for names in _batches(walk(storage, "")):
        originals = {name: renditions.original_of(name) for name in names}
        known = set(
            ImagePrediction.objects.filter(image_path__in=set(originals.values())).values_list("image_path", flat=True)
        )
        for name, original in originals.items():
            if original not in known and _is_older(storage, name, oldest):
                yield Finding(Kind.FILE_WITHOUT_ROW, name, partial(storage.delete, name))
        progress(len(names))


def _rows(storage: Storage, progress: Progress) -> Iterator[Finding]:
    """Find rows that say of their file what is not so."""
    last, listed = 0, _Listed(storage)
    columns = ImagePrediction.objects.only("image_path", "error").order_by("pk")
    while rows := list(columns.filter(pk__gt=last)[:BATCH]):
        for row in rows:
            name, said_gone = str(row.image_path.name), row.is_file_gone
            if listed.has(name) != said_gone:
                continue
            # The list may be old by now. And a file is deleted after its row: if that is gone too, nothing is wrong.
            is_there = storage.exists(name)
            if is_there == said_gone and (said_gone or ImagePrediction.objects.filter(pk=row.pk).exists()):
                yield _row_finding(row, is_there)
        last = rows[-1].pk
        progress(len(rows))


def _thumbnails(storage: PhotoStorage, grace: timedelta, progress: Progress) -> Iterator[Finding]:
    """Find the rows whose thumbnail was made, and is not there or empty: what a power cut leaves, or a lost disk.

    Pages show the original in its place. The workers make it anew, once no image waits.
    """
    oldest, last, listed = timezone.now() - grace, 0, _Listed(storage)
    made = ImagePrediction.objects.filter(status=Status.DONE, rendered_at__lt=oldest).exclude(error__endswith=FILE_GONE)
    while rows := list(made.only("image_path", "rendered_at").order_by("pk").filter(pk__gt=last)[:BATCH]):
        for row in rows:
            name = renditions.name_of(row, renditions.THUMBNAIL)
            if not listed.has(name) or storage.is_empty(name):
                unchanged = ImagePrediction.objects.filter(pk=row.pk, rendered_at=row.rendered_at)
                yield Finding(Kind.NO_THUMBNAIL, name, partial(unchanged.update, rendered_at=None), row.pk)
        last = rows[-1].pk
        progress(len(rows))


class _Listed:
    """What a storage lists in one folder at a time: rows lie in their folders in order, and to ask for each is slow."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._folder, self._names = storage, "", set[str]()

    def has(self, name: str) -> bool:
        """Return whether a file was there when its folder was listed."""
        folder, _, own = name.rpartition("/")
        if folder != self._folder:
            self._folder = folder
            try:
                self._names = set(self._storage.listdir(folder)[1])
            except FileNotFoundError:
                self._names = set()
        return own in self._names


def _row_finding(row: ImagePrediction, is_there: bool) -> Finding:
    one = ImagePrediction.objects.filter(pk=row.pk)
    name = str(row.image_path.name)
    if is_there:
        return Finding(Kind.FILE_IS_BACK, name, partial(services.find_file_again, one), row.pk)
    return Finding(Kind.ROW_WITHOUT_FILE, name, one.lose_file, row.pk)


def walk(storage: Storage, folder: str) -> Iterator[str]:
    """Return the names of all files below a folder; of one folder at a time, all are in memory."""
    try:
        folders, files = storage.listdir(folder)
    except FileNotFoundError:  # nothing was ever stored
        return
    prefix = f"{folder}/" if folder else ""
    yield from (prefix + name for name in files)
    for name in folders:
        yield from walk(storage, prefix + name)


def _is_older(storage: Storage, name: str, moment: datetime) -> bool:
    try:
        return storage.get_modified_time(name) < moment
    except FileNotFoundError:  # its row was deleted meanwhile, and it too
        return False


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
