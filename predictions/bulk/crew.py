"""Classifying in processes of our own, as many as there are cores: what a command does that does not wait for workers.

They claim rows as workers do, so workers may run beside them.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from django.conf import settings
from django.db import connections

from predictions import tasks
from predictions.bulk.waiting import Waiting
from predictions.models import MAX_ATTEMPTS, ImagePrediction
from predictions.shared import Flag

POLL_SECONDS = 0.5
STOP_SECONDS = 5  # after Ctrl-C, to finish what is claimed


class CrewDied(Exception):
    """The processes die without having classified anything."""


def classify_all(waiting: Waiting, processes: int, report: Callable[[int], object]) -> None:
    """Classify until none of the awaited images waits any more; report how many still do. Raises CrewDied.

    A process that dies leaves its claims, which return to the queue when their lease ends, and is replaced.
    """
    stop = Flag()
    crew: list[BaseProcess] = []
    before, deaths = -1, 0
    try:
        while left := waiting.count():
            report(left)
            deaths = sum(bool(member.exitcode) for member in crew) + (deaths if left == before else 0)
            if deaths > MAX_ATTEMPTS * processes:
                raise CrewDied
            crew, before = [member for member in crew if member.is_alive()], left
            ImagePrediction.objects.recover_stale()
            if ImagePrediction.objects.pending().exists():
                crew += _start(processes - len(crew), stop)
            wait([member.sentinel for member in crew], timeout=POLL_SECONDS)
        report(0)
    finally:
        stop.set()
        for member in crew:
            member.join(STOP_SECONDS)
            member.kill()


def _start(count: int, stop: Flag) -> list[BaseProcess]:
    """Fork so many processes. Each spawned anew would take a second of a core until it has set Django up."""
    connections.close_all()  # none is to be shared
    gc.collect()
    gc.freeze()  # or each process would copy every page of the others
    fork = multiprocessing.get_context("fork")
    crew: list[BaseProcess] = [fork.Process(target=_work, args=(stop, os.getpid())) for _ in range(count)]
    for member in crew:
        member.start()
    return crew


def _work(stop: Flag, parent: int) -> None:
    """Classify waiting images until none is left, or whoever started this is gone."""
    # A line for each image is for the log of a service, not for somebody's terminal.
    logging.getLogger("predictions.tasks").setLevel(logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first says stop

    def go_on() -> bool:
        # Ends a process that hangs in an image, even in native code, before others may claim it.
        signal.alarm(settings.LEASE_SECONDS)
        return not stop.is_set() and os.getppid() == parent

    tasks.drain(go_on)
