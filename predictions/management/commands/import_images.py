"""manage.py import_images"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from predictions.admission import StorageFull
from predictions.bulk.waiting import Waiting
from predictions.datasets.importing import Import
from predictions.datasets.sources import find
from predictions.management.reporting import (
    CANNOT_START,
    SOME_FAILED,
    ReportingCommand,
    add_by,
    person,
    progress,
)
from predictions.models import ImagePrediction, Status
from predictions.queue import CacheAway, live_workers
from predictions.services import CHUNK
from predictions.storage import StorageAway

POLL_SECONDS = 0.5


class Command(ReportingCommand):
    help = (
        "Import images from files, folders with all below them, and zip files; workers classify them. They are judged "
        "as uploads are. A content that is there already is passed over, so that the same import again, after whatever "
        "ended the first, goes on where that stood. Hidden files and links to folders are passed over too. Exit code: "
        "0 all is well, 1 some files were refused or contradict what is there, 2 it could not start, "
        "130 Ctrl-C stopped it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file, a folder or a zip file")
        parser.add_argument(
            "--label-from-folder",
            action="store_true",
            help="record the name of the folder that directly holds a file as a correction, also of images that are "
            "there already and that nobody has corrected; a zip file counts as a folder",
        )
        parser.add_argument("--wait", action="store_true", help="return once all of them are classified")
        add_by(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        paths = options["paths"]
        if missing := [str(path) for path in paths if not path.exists()]:
            raise CommandError(f"There is no {', no '.join(missing)}.", returncode=CANNOT_START)
        job = Import(person(options["by"]), options["label_from_folder"], options["dry_run"])
        start = time.monotonic()
        full = self.take_all(job, paths)
        summary: dict[str, Any] = {
            "dry_run": job.dry_run,
            "imported": job.imported,
            "already_there": job.already_there,
            "labels": job.labels,
            "refused": job.refused,
            "conflicts": job.conflicts,
            "storage_full": full,
        }
        if options["wait"] and job.ids:
            summary |= self.wait(job.ids)
        return {**summary, "seconds": round(time.monotonic() - start, 1)}

    def take_all(self, job: Import, paths: list[Path]) -> bool:
        """Import everything; return whether the storage became full before the end."""
        try:
            with progress("import", sum(1 for _ in find(paths))) as bar:
                for found in find(paths):
                    if problem := job.take(found):
                        self.tell(f"{found.place}: {problem}")
                    bar.update()
        except StorageFull:
            return True
        except StorageAway as error:
            raise CommandError(f"{error}; the same command goes on from there.", returncode=SOME_FAILED) from error
        finally:
            job.flush()
        return False

    def wait(self, ids: list[int]) -> dict[str, int]:
        """Wait until images are classified, or no worker is alive; return how many of them failed and still wait."""
        waiting = Waiting(ids)
        with progress("classify", len(ids)) as bar:
            while left := waiting.count():
                bar.update(len(ids) - left - bar.n)
                with suppress(CacheAway):
                    if not live_workers():
                        self.tell("No worker is alive: start manage.py qcluster.")
                        break
                time.sleep(POLL_SECONDS)
            bar.update(len(ids) - left - bar.n)
        failed = ImagePrediction.objects.filter(status=Status.FAILED)
        chunks = (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
        return {"failed": sum(failed.filter(pk__in=chunk).count() for chunk in chunks), "waiting": left}

    def show(self, summary: dict[str, Any]) -> None:
        would = "would be " if summary["dry_run"] else ""
        self.stdout.write(f"{summary['imported']} {would}imported, {summary['already_there']} there already")
        if labels := summary["labels"]:
            self.stdout.write(f"{sum(labels.values())} {would}labelled:")
            self.stdout.writelines(f"{count:>8}  {label}\n" for label, count in sorted(labels.items()))

    def complaint(self, summary: dict[str, Any]) -> str:
        counts = {
            "refused": len(summary["refused"]),
            "in conflict": len(summary["conflicts"]),
            "failed to be classified": summary.get("failed", 0),
            "still waiting": summary.get("waiting", 0),
        }
        sentences = [", ".join(f"{count} {what}" for what, count in counts.items() if count)]
        if summary["storage_full"]:
            sentences.append("There is no room for more files; make some, and give the same command again")
        return "".join(f"{sentence}. " for sentence in sentences if sentence).strip()
