"""manage.py check_worker"""

import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from predictions.queue import CacheAway, live_workers


class Command(BaseCommand):
    help = (
        "Exit 0 if a worker process of this machine is alive, else 1: a health check for the worker's container or "
        "service. 0 also while CACHE_URL does not answer: to start the worker again would be no help."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--anywhere", action="store_true", help="one of any machine will do")

    def handle(self, **options: Any) -> None:
        try:
            alive = live_workers("" if options["anywhere"] else socket.gethostname())
        except CacheAway as error:
            self.stderr.write(f"{error}: nobody knows whether a worker is alive.")
            return
        if not alive:
            raise CommandError("No worker is alive: start manage.py qcluster.")
