"""manage.py backup"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from predictions.backups import database, making
from predictions.backups.database import BackupError


class Command(BaseCommand):
    help = (
        "Add a backup of database, media and models to a folder, while the service runs. Files that an earlier backup "
        "there has already are linked to. Exit 2, and leave nothing, if it cannot be made."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="where the backups are, each in a folder named for its time")
        parser.add_argument("--keep", type=int, metavar="COUNT", help="then delete all but the newest so many")
        parser.add_argument(
            "--dump-from-stdin",
            action="store_true",
            help="of the database, store what comes on standard input, from a pg_dump --format=custom elsewhere",
        )

    def handle(self, **options: Any) -> None:
        if options["keep"] is not None and options["keep"] < 1:
            raise CommandError("--keep takes 1 or more.", returncode=2)
        take = database.accept if options["dump_from_stdin"] else database.dump
        try:
            with tqdm(desc="files", unit="", disable=None) as bar:
                made = making.make(options["folder"].resolve(), bar.update, take=take)
            forgotten = making.forget(options["folder"], options["keep"]) if options["keep"] else []
        except (BackupError, OSError) as error:
            raise CommandError(str(error), returncode=2) from error
        self.stdout.write(str(made))
        for path in forgotten:
            self.stderr.write(f"{path} deleted")
