"""An exported CSV that comes back from a spreadsheet: the labels edited in it become corrections, all or none."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction

from predictions import services
from predictions.datasets.records import from_cell
from predictions.labelmap import fault_of
from predictions.models import Correction, ImagePrediction, to_id
from predictions.services import CHUNK, Truth

NEEDED = ("id", "sha256", "label", "label_exported")
DELIMITERS = ",;\t"  # spreadsheets of different countries write different ones


class WrongFile(Exception):
    """The file is no export. The message is a sentence."""


@dataclass(frozen=True)
class Edit:
    """A row whose label is not the one that was exported."""

    line: int
    id: str
    sha256: str
    label: str
    exported: str

    @property
    def pk(self) -> int:
        """Return the image's id, 0 if it is none."""
        return to_id(self.id)

    def fault(self) -> str:
        """Return what is wrong with the row itself, empty if nothing is."""
        if not self.pk:
            return "The id is no number"
        if not self.label:
            return "The label is empty"
        return fault_of(self.label)


@dataclass
class Result:
    """What came of a file's edits. If there are conflicts, nothing has changed."""

    rows: int = 0
    corrected: int = 0
    already: int = 0  # a person has given them that label
    conflicts: list[dict[str, Any]] = field(default_factory=list)  # line, id and reason
    batch: UUID | None = None


class Progress(Protocol):
    """What is told how far it is."""

    def update(self, count: float = 1) -> object:
        """Count on."""


class Silence:
    """Nobody wants to know how far it is."""

    def update(self, count: float = 1) -> None:
        """Do nothing."""


def apply(
    path: Path,
    by: User | None = None,
    *,
    dry_run: bool = False,
    progress: Callable[[int], AbstractContextManager[Progress]] = lambda _: nullcontext(Silence()),
) -> Result:
    """Record the edited labels of an exported CSV as corrections, unless one of them conflicts. Raises WrongFile.

    `progress` is given how many rows there are, and then told, as they are compared with the images, of how many.
    """
    result = Result()
    edits = list(_edits(path, result))
    truths: dict[int, Truth] = {}
    with transaction.atomic(), progress(result.rows) as bar:
        bar.update(result.rows - len(edits))  # there is nothing to compare
        for chunk in (edits[start : start + CHUNK] for start in range(0, len(edits), CHUNK)):
            _judge(chunk, truths, result)
            bar.update(len(chunk))
        result.conflicts.sort(key=lambda conflict: conflict["line"])
        if not result.conflicts:
            result.corrected = len(truths)
            if truths and not dry_run:
                result.batch = services.correct_each(truths, by=by, source=Correction.Source.COMMAND)
    return result


def _judge(edits: Sequence[Edit], truths: dict[int, Truth], result: Result) -> None:
    """Compare edits with the rows as they are now, and keep those rows so until the transaction ends."""
    rows = ImagePrediction.objects.select_for_update(of=("self",)).filter(pk__in={edit.pk for edit in edits})
    found = {row.pk: row for row in rows.only("sha256", "top_prediction", "confidence", "corrected_at").order_by("pk")}
    for edit in edits:
        row = found.get(edit.pk)
        if reason := edit.fault() or _conflict(edit, row, truths):
            result.conflicts.append({"line": edit.line, "id": edit.id, "reason": reason})
        elif row and row.corrected_at and row.top_prediction == edit.label:
            result.already += 1
        else:
            truths[edit.pk] = Truth(edit.label)


def _conflict(edit: Edit, row: ImagePrediction | None, truths: dict[int, Truth]) -> str:
    if row is None:
        return "There is no such image"
    if row.sha256 != edit.sha256.strip().lower():
        return "The image with this id is another one: its SHA-256 differs"
    if edit.pk in truths and truths[edit.pk].label != edit.label:
        return f"The file gives this image two labels: {truths[edit.pk].label} and {edit.label}"
    if not {row.label or "", row.top_prediction or ""} & {edit.exported, edit.label}:
        return f"Meanwhile its label has become {row.label}; it was {edit.exported or 'empty'}"
    return ""


def _edits(path: Path, result: Result) -> Iterator[Edit]:
    """Read the edited rows of a file, and count all. Raises WrongFile."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = _reader(file)
            names = reader.fieldnames or []
            for row in reader:
                result.rows += 1
                if None in row or any(row[name] is None for name in NEEDED):
                    reason = f"The row has more or less than {len(names)} cells"
                    result.conflicts.append({"line": reader.line_num, "id": row["id"], "reason": reason})
                    continue
                cells = {name: from_cell(row[name]) for name in NEEDED}
                if cells["label"] != cells["label_exported"]:
                    label = cells["label"].strip()
                    yield Edit(reader.line_num, cells["id"].strip(), cells["sha256"], label, cells["label_exported"])
    except UnicodeDecodeError as error:
        raise WrongFile(f"{path} is not UTF-8 text; spreadsheets save it as “CSV UTF-8”.") from error
    except csv.Error as error:
        raise WrongFile(f"{path} is no CSV file: {error}.") from error
    except OSError as error:
        raise WrongFile(f"{path} cannot be read: {error.strerror}.") from error


def _reader(file: IO[str]) -> csv.DictReader[str]:
    """Return a reader of the rows, with the delimiter by which the first line has the columns that are needed."""
    head = file.readline(100_000)
    for delimiter in DELIMITERS:
        names = next(csv.reader([head], delimiter=delimiter), [])
        if set(NEEDED) <= set(names):
            return csv.DictReader(itertools.chain([head], file), delimiter=delimiter, strict=True)
    raise WrongFile(f"{file.name} is no export: its first line must name the columns {', '.join(NEEDED)}.")
