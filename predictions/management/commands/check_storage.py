"""manage.py check_storage"""

import json
from collections import Counter
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from tqdm import tqdm

from predictions import consistency, queue
from predictions.consistency import Finding, Kind


class Command(BaseCommand):
    help = (
        "Find files without a row and rows without a file or a thumbnail; without --mend, change nothing. Safe beside "
        "a running service. Exit 0 if storage and database agree, 1 if something was found, mended or not, 2 if it "
        "cannot run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--mend",
            action="store_true",
            help="delete files without a row; mark rows without a file: waiting ones fail, labels are kept; have the "
            "workers make thumbnails that are missing or, after a power cut, empty",
        )
        parser.add_argument(
            "--grace",
            type=int,
            default=int(consistency.GRACE.total_seconds()),
            metavar="SECONDS",
            help="pass over younger files, which may be uploads in progress (default 3600)",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object a line, the last with the counts")

    def handle(self, **options: Any) -> None:
        counts: Counter[Kind] = Counter()
        try:
            # A bar if this is a terminal; the total is not known before all was seen.
            with tqdm(desc="files and rows", unit="", disable=None) as bar:
                for finding in consistency.check(timedelta(seconds=options["grace"]), bar.update):
                    if options["mend"]:
                        finding.mend()
                    counts[finding.kind] += 1
                    self.report(finding, options)
        except (DatabaseError, OSError) as error:
            raise CommandError(f"The check could not be finished: {error}", returncode=2) from error
        if options["mend"] and counts[Kind.NO_THUMBNAIL]:
            queue.ring()
        self.summarise(counts, options)
        if counts:
            raise SystemExit(1)

    def report(self, finding: Finding, options: dict[str, Any]) -> None:
        """Print one finding."""
        facts = {"found": finding.kind, "file": finding.name, "prediction": finding.prediction}
        if options["json"]:
            self.stdout.write(json.dumps(facts | {"mended": options["mend"]}))
        else:
            row = "" if finding.prediction is None else f" (prediction {finding.prediction})"
            self.stdout.write(f"{finding.kind}: {finding.name}{row}")

    def summarise(self, counts: Counter[Kind], options: dict[str, Any]) -> None:
        """Print how many there were."""
        if options["json"]:
            self.stdout.write(json.dumps({"counts": {kind: counts[kind] for kind in Kind}}))
        elif counts:
            total = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
            self.stdout.write(f"{total}: {'mended' if options['mend'] else 'mend with --mend'}.")
        else:
            self.stdout.write(self.style.SUCCESS("Storage and database agree."))
