"""Bringing in what is on a disk already: many files at once, each content once, with the labels that people gave it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.uploadedfile import UploadedFile

from predictions import services, uploads
from predictions.datasets.foldernames import label_of
from predictions.datasets.sources import Found, Unreadable
from predictions.labelmap import fault_of
from predictions.models import Correction, ImagePrediction
from predictions.services import Truth
from predictions.storage import StorageAway
from predictions.uploads import UploadRejected

TOGETHER = 100  # corrections in one transaction; a kill loses at most so many, and the next import makes up for them


@dataclass
class Import:
    """One import. Whatever ends it, the same import again goes on where it stood."""

    by: User | None = None
    label_from_folder: bool = False
    dry_run: bool = False

    imported: int = 0
    already_there: int = 0
    labels: dict[str, int] = field(default_factory=dict)  # that were given, and to how many images
    refused: list[dict[str, str]] = field(default_factory=list)  # file and reason
    conflicts: list[dict[str, str]] = field(default_factory=list)  # file and reason
    ids: list[int] = field(default_factory=list)  # of what was imported

    _words: dict[int, Truth] = field(default_factory=dict)  # not recorded yet
    _tried: dict[str, str] = field(default_factory=dict)  # content -> label, of a dry run

    def take(self, found: Found) -> str | None:
        """Import a file, unless its content is there already, and give it its label; return what is wrong with it.

        Raises StorageFull and StorageAway.
        """
        try:
            with found.open() as file:
                rows = self._rows(file, label := self._label(found))
        except StorageAway:  # no fault of this file's, and the next one would fare no better
            raise
        except (Unreadable, UploadRejected, OSError) as error:
            self.refused.append({"file": found.place, "reason": str(error)})
            return str(error)
        for row in rows:
            if label and (conflict := self._give(row, label)):
                self.conflicts.append({"file": found.place, "reason": conflict})
                return conflict
        return None

    def flush(self) -> None:
        """Record the labels of the images taken so far."""
        words, self._words = self._words, {}
        if words and not self.dry_run:
            with suppress(ImagePrediction.DoesNotExist):  # all were deleted meanwhile
                services.correct_each(words, by=self.by, source=Correction.Source.COMMAND)

    def _label(self, found: Found) -> str:
        """Return the label that a file's folder stands for, empty if it is to have none. Raises UploadRejected."""
        label = label_of(found.folder).strip() if self.label_from_folder else ""
        if reason := fault_of(label):
            raise UploadRejected(f"The name of its folder is no label: {reason}")
        return label

    def _rows(self, file: UploadedFile[Any], label: str) -> list[ImagePrediction]:
        """Return the rows of a content; a new one, if it is new. Raises UploadRejected and StorageFull."""
        digest = self._digest(file)
        known = ImagePrediction.objects.filter(sha256=digest).only("top_prediction", "corrected_at")
        if rows := list(known.order_by("pk")):
            self.already_there += 1
            return rows
        if self.dry_run:
            return self._pretend(file, digest, label)
        row = services.bring_in(file, self.by)
        self.imported += 1
        self.ids.append(row.pk)
        return [row]

    def _digest(self, file: UploadedFile[Any]) -> str:
        """Return the SHA-256 that the file has, or would have, when it is stored; none if it is too large."""
        if (file.size or 0) > uploads.largest():
            return ""
        if settings.STRIP_METADATA:
            return uploads.without_metadata(file, uploads.inspect(file))[1].sha256
        return uploads.sha256(file)

    def _pretend(self, file: UploadedFile[Any], digest: str, label: str) -> list[ImagePrediction]:
        """Judge a file as submit() would; return the row that there would be. Raises UploadRejected."""
        row = ImagePrediction(pk=-1 - len(self._tried), top_prediction=None)
        if digest in self._tried:
            self.already_there += 1
            row.top_prediction, row.corrected_at = self._tried[digest], row.created_at if label else None
            return [row]
        uploads.inspect(file)
        self._tried[digest] = label
        self.imported += 1
        return [row]

    def _give(self, row: ImagePrediction, label: str) -> str | None:
        """Have an image labelled, unless a person has; return what contradicts that."""
        word = self._words.get(row.pk)
        standing = word.label if word else row.top_prediction if row.corrected_at else None
        if standing == label:
            return None
        if standing is not None:
            return f"The image is there already, and labelled {standing}; its folder says {label}"
        self._words[row.pk] = Truth(label)
        self.labels[label] = self.labels.get(label, 0) + 1
        if len(self._words) >= TOGETHER:
            self.flush()
        return None
