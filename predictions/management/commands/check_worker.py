"""manage.py check_worker"""

import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from predictions.queue import live_workers


class Command(BaseCommand):
    help = "Exit 0 if a worker process is alive, else 1: a health check for the worker's container or service."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--local", action="store_true", help="only one on this machine, or in this container, will do"
        )

    def handle(self, **options: Any) -> None:
        if not live_workers(socket.gethostname() if options["local"] else ""):
            raise CommandError("No worker is alive: start manage.py qcluster.")
