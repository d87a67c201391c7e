"""manage.py wait_for_database"""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection


class Command(BaseCommand):
    help = "Return once the database answers; exit 1 if it does not in time. Containers start with it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=float, default=60, help="how long to wait (default 60)")

    def handle(self, **options: Any) -> None:
        deadline = time.monotonic() + options["seconds"]
        while trouble := self.trouble():
            if time.monotonic() >= deadline:
                raise CommandError(f"The database does not answer: {trouble}")
            self.stderr.write(f"Waiting for the database: {trouble}")
            time.sleep(1)

    def trouble(self) -> str:
        """Return why the database cannot be reached, "" if it can."""
        try:
            connection.ensure_connection()
        except OperationalError as error:
            return str(error).strip()
        return ""
