"""manage.py qcluster"""

import gc
import multiprocessing
import os
from typing import Any

from django.conf import settings
from django.core.checks import Tags
from django.core.management.base import CommandError
from django_q.management.commands import qcluster

from predictions import cluster
from predictions.scraping import DIRECTORY, serve


class Command(qcluster.Command):  # type: ignore[misc]  # django-q2 has no types
    help = "Run the worker: django-q2's cluster of classifying processes, and the sweep. Exit 1 if it dies."

    # Those of addresses, templates and the admin would load all pages and the API: 23 MB more for its six processes.
    requires_system_checks = (Tags.caches, Tags.database, Tags.files, Tags.models)

    def handle(self, *args: Any, **options: Any) -> None:
        cluster.harden()
        if settings.METRICS_PORT and DIRECTORY not in os.environ:
            raise CommandError(f"METRICS_PORT needs {DIRECTORY}: a folder, best in memory, that is empty at the start.")
        # Its processes share this one's memory, as long as the garbage collector does not write to every page of it.
        gc.collect()
        gc.freeze()
        super().handle(*args, **options)
        if settings.METRICS_PORT:  # after the fork: this process starts no other any more
            serve(settings.HOST, settings.METRICS_PORT)
        for sentinel in multiprocessing.active_children():
            cluster.keep_sweeping(sentinel)
            if sentinel.exitcode:
                raise CommandError(f"The cluster died (exit code {sentinel.exitcode}).")
