"""manage.py restore"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from tqdm import tqdm

from predictions.backups import restoring
from predictions.backups.database import BackupError
from predictions.backups.restoring import Restored


class Command(BaseCommand):
    help = (
        "Restore a backup into an empty database and empty folders, and compare every photo with its checksum. Exit 1 "
        "if some are missing or damaged, 2 if nothing could be restored. Then run migrate, and start the service."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("backup", type=Path, help="one backup's folder")
        parser.add_argument(
            "--database-restored",
            action="store_true",
            help="the database has been filled by a pg_restore elsewhere: restore media and models only",
        )

    def handle(self, **options: Any) -> None:
        try:
            with tqdm(desc="photos", unit="", disable=None) as bar:
                backup, load = options["backup"].resolve(), not options["database_restored"]
                result = restoring.restore(backup, bar.update, load=load)
        except (BackupError, OSError, DatabaseError) as error:
            raise CommandError(str(error), returncode=2) from error
        self.stdout.write(f"{result.rows} photos, {result.files} files.")
        self.report(result)

    def report(self, result: Restored) -> None:
        """List what is not as it was; exit 1 if there is any."""
        for pk in result.missing:
            self.stdout.write(f"missing: the file of prediction {pk}")
        for pk in result.damaged:
            self.stdout.write(f"damaged: the file of prediction {pk}")
        if result.missing or result.damaged:
            raise SystemExit(1)
