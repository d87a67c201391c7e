"""manage.py check_worker"""

import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from predictions.queue import live_workers


class Command(BaseCommand):
    help = (
        "Exit 0 if a worker process of this machine is alive, else 1: a health check for the worker's container or "
        "service."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--anywhere", action="store_true", help="one of any machine will do")

    def handle(self, **options: Any) -> None:
        if not live_workers("" if options["anywhere"] else socket.gethostname()):
            raise CommandError("No worker is alive: start manage.py qcluster.")
