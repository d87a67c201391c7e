"""manage.py qcluster"""

import multiprocessing
from typing import Any

from django.core.management.base import CommandError
from django_q.management.commands import qcluster

from predictions import cluster


class Command(qcluster.Command):  # type: ignore[misc]  # django-q2 has no types
    help = "Run the worker: django-q2's cluster of classifying processes, and the sweep. Exit 1 if it dies."

    def handle(self, *args: Any, **options: Any) -> None:
        cluster.harden()
        super().handle(*args, **options)
        for sentinel in multiprocessing.active_children():
            cluster.keep_sweeping(sentinel)
            if sentinel.exitcode:
                raise CommandError(f"The cluster died (exit code {sentinel.exitcode}).")
