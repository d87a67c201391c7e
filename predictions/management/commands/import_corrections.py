"""manage.py import_corrections"""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from predictions.datasets import revisions
from predictions.management.reporting import CANNOT_START, ReportingCommand, add_by, person, progress


class Command(ReportingCommand):
    help = (
        "Take back a CSV of export_dataset that was edited in a spreadsheet: a row whose label is no longer that in "
        "its column label_exported becomes a correction, of confidence 1; other columns do not count. An image that "
        "got another label meanwhile, that is gone or is another one is a conflict, as is a label that cannot be. "
        "Conflicts are listed with their lines, and then nothing is changed; else all is, in one transaction. Commas, "
        "semicolons and tabs between the cells will do. Exit code: 0 all is well, 1 conflicts, 2 it could not start, "
        "130 Ctrl-C stopped it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, metavar="FILE.csv")
        add_by(parser)

    def run(self, **options: Any) -> dict[str, Any]:
        try:
            result = revisions.apply(
                options["file"],
                person(options["by"]),
                dry_run=options["dry_run"],
                progress=lambda rows: progress("import_corrections", rows),
            )
        except revisions.WrongFile as error:
            raise CommandError(str(error), returncode=CANNOT_START) from error
        for conflict in result.conflicts:
            self.tell("line {line}, id {id}: {reason}".format(**conflict))
        return {
            "dry_run": options["dry_run"],
            "rows": result.rows,
            "corrected": result.corrected,
            "already_there": result.already,
            "conflicts": result.conflicts,
            "batch": result.batch,
        }

    def show(self, summary: dict[str, Any]) -> None:
        would = "would be " if summary["dry_run"] else ""
        effect = "{rows} rows: {corrected} {would}corrected, {already_there} were already"
        self.stdout.write(effect.format(would=would, **summary))

    def complaint(self, summary: dict[str, Any]) -> str:
        count = len(summary["conflicts"])
        return f"{count} conflicts: nothing was changed." if count else ""
