"""manage.py check_worker"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from predictions.queue import live_workers


class Command(BaseCommand):
    help = "Exit 0 if a worker process is alive, else 1: a health check for the worker's container or service."

    def handle(self, **options: Any) -> None:
        if not live_workers():
            raise CommandError("No worker is alive: start manage.py qcluster.")
