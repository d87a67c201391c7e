"""django-q2's cluster, so that a SIGKILL costs the process that it hits, and no other.

Its processes share multiprocessing's queues, events and counters. Their semaphores stay locked for good when whoever
holds one is killed, and an idle worker holds one all the time: it waits for the next bell with the queue's lock in its
hand. After its death no other worker ever got a bell, while the cluster went on reporting that it was alive. The waits
of multiprocessing's events, too, follow the wall clock: set back an hour, it would stop the cluster's guard for one.
"""

import logging
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any

from django.db import close_old_connections
from django_q import cluster, queues

from predictions import cloudwatch, machines, services, sessions
from predictions.shared import Flag, ProcessLock, shared_value

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 10
DAY = 86_400  # seconds


class Queue(queues.Queue):  # type: ignore[misc]  # django-q2 has no types
    """django-q2's queue, with locks that survive their holders."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rlock, self._wlock = ProcessLock(), ProcessLock()
        self.size.count = shared_value("i", 0)


def harden() -> None:
    """Have the clusters that this process starts use the above. django-q2 has no setting for it."""
    cluster.Event, cluster.Queue, cluster.Value = Flag, Queue, shared_value


class Daily:
    """A step of the sweep that has its turn at the start, and then once a day; until it succeeds, every time."""

    def __init__(self, step: Callable[[], object]) -> None:
        self._step, self._due = step, 0.0
        self.__name__ = step.__name__

    def __call__(self) -> None:
        """Do it, if it is due."""
        if monotonic() >= self._due:
            self._step()
            self._due = monotonic() + DAY


def keep_sweeping(sentinel: BaseProcess) -> None:
    """Sweep, and report, every SWEEP_SECONDS, until django-q2's sentinel, which guards its processes, has ended.

    Not as a schedule of django-q2's: those live in a table that may be emptied, and in time that may be set back.
    """
    often = (close_old_connections, services.recover_stale, machines.report, cloudwatch.report_backlog)
    steps = (*often, Daily(sessions.clear_expired))
    while sentinel.is_alive():
        for step in steps:
            try:
                step()
            except Exception:  # what one step needs may be away, and the others not
                logger.exception("%s failed; the next try comes in %d seconds", step.__name__, SWEEP_SECONDS)
        sentinel.join(SWEEP_SECONDS)
