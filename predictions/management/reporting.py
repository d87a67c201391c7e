"""What the commands over many rows have in common: progress, a summary, and what the exit code says."""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from typing import IO, Any, Self

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from tqdm import tqdm

from predictions.models import ImagePrediction
from predictions.uploads import printable

LOG_SECONDS = 10  # between two lines of progress in a log
SOME_FAILED, CANNOT_START, INTERRUPTED = 1, 2, 130


class LogLines:
    """Progress for a log: a plain line every so often, where a bar would redraw itself. Used as tqdm is."""

    def __init__(self, title: str, total: int, file: IO[str]) -> None:
        self.title, self.total, self.file = title, total, file
        self.n, self.start = 0, time.monotonic()
        self.next = self.start + LOG_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._print()

    def update(self, count: float = 1) -> None:
        """Count on."""
        self.n += int(count)
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + LOG_SECONDS
            self._print()

    def _print(self) -> None:
        seconds = time.monotonic() - self.start
        rate = self.n / max(seconds, 0.001)
        line = f"{self.title}: {self.n} of {self.total} in {seconds:.0f} s, {rate:.0f} images/s"
        print(line, file=self.file, flush=True)


def progress(title: str, total: int) -> tqdm[Any] | LogLines:
    """Return a progress bar on a terminal, plain lines elsewhere. Both go to stderr: stdout is for results."""
    if sys.stderr.isatty():
        return tqdm(desc=title, total=total, unit=" images")
    return LogLines(title, total, sys.stderr)


class ReportingCommand(BaseCommand, ABC):
    """A command over many rows or files.

    It exits 0 if all is well, 1 if something failed or conflicts, 2 if it cannot start. Its summary goes to stdout, for
    people or as JSON; progress and what is wrong with single items go to stderr.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options that all of them have."""
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
        parser.add_argument("--json", action="store_true", help="the summary as one JSON object")

    def handle(self, **options: Any) -> None:
        """Run the command, and turn its summary into output and exit code."""
        self.check_database()
        try:
            summary = self.run(**options)
        except KeyboardInterrupt as error:
            raise CommandError("Stopped. The same command again goes on from here.", returncode=INTERRUPTED) from error
        if options["json"]:
            self.stdout.write(json.dumps(summary, ensure_ascii=False, default=str))
        else:
            self.show(summary)
        if complaint := self.complaint(summary):
            raise CommandError(complaint, returncode=SOME_FAILED)

    @abstractmethod
    def run(self, **options: Any) -> dict[str, Any]:
        """Do the work; return the summary, which --json prints as it is."""

    @abstractmethod
    def show(self, summary: dict[str, Any]) -> None:
        """Print the summary for people."""

    @abstractmethod
    def complaint(self, summary: dict[str, Any]) -> str:
        """Return what is wrong, empty if nothing is."""

    def tell(self, sentence: str) -> None:
        """Print a line about one item to stderr, above a progress bar if there is one. File names are not trusted."""
        tqdm.write(printable(sentence), file=sys.stderr)

    def check_database(self) -> None:
        """Raise CommandError unless the database is there and migrated."""
        try:
            ImagePrediction.objects.first()
        except DatabaseError as error:
            raise CommandError(
                f"The database cannot be used: {error}. Is it there, and has manage.py migrate been run?",
                returncode=CANNOT_START,
            ) from error


def add_by(parser: CommandParser) -> None:
    """Add the option that says whose word corrections are."""
    parser.add_argument("--by", metavar="USERNAME", help="whose word the corrections are; without it, nobody's")


def person(username: str | None) -> User | None:
    """Return the user of that name, None if no name is given. Raises CommandError."""
    if username is None:
        return None
    try:
        return User.objects.get_by_natural_key(username)
    except User.DoesNotExist as error:
        raise CommandError(f"There is no user named {username}.", returncode=CANNOT_START) from error
