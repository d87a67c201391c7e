"""manage.py export_dataset"""

import os
import sys
import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import connection

from predictions.datasets import exporting
from predictions.datasets.exporting import CSV, FOLDER, FORMATS, JSONL, ZIP, TargetExists, Unreadable, Writer
from predictions.datasets.records import MODEL, Split, records
from predictions.labelmap import UNSURE
from predictions.management.choosing import add_choice, chosen
from predictions.management.reporting import CANNOT_START, SOME_FAILED, ReportingCommand, progress
from predictions.models import ImagePredictionQuerySet
from predictions.storage import StorageAway

STDOUT = Path("-")


class Command(ReportingCommand):
    help = (
        "Export images and labels. As csv (for spreadsheets; import_corrections takes it back, edited) or jsonl: one "
        "line per image, with its SHA-256, what the model says and which version of it, and whose the label is: the "
        "model's or a person's, which, since when, and where it was given. As folder or zip: the images as "
        "train/LABEL/ and validation/LABEL/, with those lines in manifest.csv; what has no label, or is unsure by the "
        "label map, is left out. Which part an image belongs to depends on its content and the seed alone. In CSV, "
        "text that a spreadsheet could take for a formula has an apostrophe before it. The target appears when it is "
        "complete: of a killed run nothing is left, and the same command begins anew; what is there is replaced "
        "with --force alone. Exit code: 0 all is well, 1 files of some images cannot be read, 2 it could not start, "
        "130 Ctrl-C stopped it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("target", type=Path, metavar="TARGET", help="file or folder to make; - is stdout")
        parser.add_argument("--format", choices=FORMATS, help="without it, by the target's extension; none: folder")
        parser.add_argument(
            "--validation", type=float, default=0.2, metavar="PART", help="of the images, 0 to 1 (default 0.2)"
        )
        parser.add_argument("--seed", type=int, default=0, help="another number divides otherwise (default 0)")
        parser.add_argument("--force", action="store_true", help="replace an earlier export")
        add_choice(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        target, form = options["target"], self.form(options)
        if not 0 <= options["validation"] <= 1:
            raise CommandError("--validation is a part, 0 to 1.", returncode=CANNOT_START)
        split, rows = Split(options["validation"], options["seed"]), chosen(options)
        if target == STDOUT:
            self.stdout = OutputWrapper(sys.stderr)  # stdout is for the dataset
        start = time.monotonic()
        try:
            with self.writer(target, form, options) as writer:
                summary = self.export(rows, split, writer, with_files=form in {FOLDER, ZIP})
        except TargetExists as error:
            raise CommandError(str(error), returncode=CANNOT_START) from error
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at its end
            raise CommandError("Whoever read the dataset went away.", returncode=SOME_FAILED) from error
        except StorageAway as error:
            raise CommandError(f"{error}. Nothing was written.", returncode=SOME_FAILED) from error
        except OSError as error:
            raise CommandError(f"The dataset cannot be written: {error}", returncode=SOME_FAILED) from error
        where = {"dry_run": options["dry_run"], "target": str(target), "format": form}
        return {**where, **summary, "seconds": round(time.monotonic() - start, 1)}

    def form(self, options: dict[str, Any]) -> str:
        """Return the format. Raises CommandError."""
        target = options["target"]
        by_extension = {".csv": CSV, ".jsonl": JSONL, ".ndjson": JSONL, ".zip": ZIP, "": FOLDER}
        form = options["format"] or (CSV if target == STDOUT else by_extension.get(target.suffix.lower()))
        if form is None or (target == STDOUT and form in {FOLDER, ZIP}):
            raise CommandError(f"Say in which --format; {target} does not tell.", returncode=CANNOT_START)
        if target != STDOUT and not target.parent.is_dir():
            raise CommandError(f"There is no folder {target.parent}.", returncode=CANNOT_START)
        return str(form)

    def writer(self, target: Path, form: str, options: dict[str, Any]) -> AbstractContextManager[Writer | None]:
        """Return what writes the dataset, None for a dry run. Raises TargetExists."""
        if options["dry_run"]:
            exporting.check(target, form, force=options["force"])
            return nullcontext()
        if target == STDOUT:
            return exporting.stream(sys.stdout.buffer, form)
        return exporting.create(target, form, force=options["force"])

    def export(
        self, rows: ImagePredictionQuerySet, split: Split, writer: Writer | None, *, with_files: bool
    ) -> dict[str, Any]:
        """Write the images; return how many, of which parts and labels, and which could not be read."""
        parts, labels, unlabelled, unsure, unreadable = Counter[str](), Counter[str](), 0, 0, []
        if connection.vendor == "sqlite":
            # Pages of the database mapped into memory, as settings.py has it for speed, count as this process's.
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA mmap_size=0")
        with progress("export", rows.count()) as bar:
            for row, record in records(rows, split):
                bar.update(1)
                unlabelled += (is_unlabelled := row.top_prediction is None)
                unsure += (is_unsure := record["label"] == UNSURE and record["labelled_by"] == MODEL)
                if with_files and (is_unlabelled or is_unsure):  # neither says what there is to learn
                    continue
                try:
                    if writer:
                        writer.add(row, record)
                except Unreadable as error:
                    unreadable.append(row.pk)
                    self.tell(f"{row}: {error}")
                    continue
                parts[record["split"]] += 1
                if record["label"] is not None:
                    labels[record["label"]] += 1
        return {
            "images": parts.total(),
            "splits": dict(parts),
            "labels": dict(labels.most_common()),
            "unlabelled": unlabelled,
            "unsure": unsure,
            "unreadable": unreadable,
        }

    def show(self, summary: dict[str, Any]) -> None:
        parts = ", ".join(f"{count} for {part}" for part, count in sorted(summary["splits"].items()))
        verb = "would go" if summary["dry_run"] else "went"
        self.stdout.write(f"{summary['images']} images {verb} to {summary['target']}{f': {parts}' if parts else ''}")
        left = " and were left out" if summary["format"] in {FOLDER, ZIP} else ""
        if summary["unlabelled"]:
            self.stdout.write(f"{summary['unlabelled']} have no label{left}")
        if summary["unsure"]:
            self.stdout.write(f"{summary['unsure']} are unsure by the label map{left}")

    def complaint(self, summary: dict[str, Any]) -> str:
        count = len(summary["unreadable"])
        return f"The files of {count} images cannot be read." if count else ""
