"""django-q2's cluster, so that a SIGKILL costs the process that it hits, and no other.

Its processes share multiprocessing's queues, events and counters. Their semaphores stay locked for good when whoever
holds one is killed, and an idle worker holds one all the time: it waits for the next bell with the queue's lock in its
hand. After its death no other worker ever got a bell, while the cluster went on reporting that it was alive. The waits
of multiprocessing's events, too, follow the wall clock: set back an hour, it would stop the cluster's guard for one.
"""

import fcntl
import itertools
import logging
import os
import tempfile
import time
from multiprocessing import RawValue, Value
from multiprocessing.process import BaseProcess
from typing import Any

from django.db import close_old_connections
from django_q import cluster, queues

from predictions import cloudwatch, machines, services

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 10


class ProcessLock:
    """A lock between processes, which the kernel opens when its holder dies. One thread of each process may use it."""

    _file = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the process lives, and never written to)
    _bytes = itertools.count()

    def __init__(self) -> None:
        self._byte, self._depth = next(self._bytes), 0
        self._holder = 0  # the process whose depth it is: a fork copies both

    def acquire(self, *_: Any) -> bool:
        """Wait for the lock; the holder may take it again."""
        if self._holder != os.getpid():
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, self._byte)
            self._holder, self._depth = os.getpid(), 0
        self._depth += 1
        return True

    def release(self) -> None:
        """Give it back, once for each time it was taken."""
        self._depth -= 1
        if self._depth == 0:
            self._holder = 0
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._byte)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Queue(queues.Queue):  # type: ignore[misc]  # django-q2 has no types
    """django-q2's queue, with locks that survive their holders."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rlock, self._wlock = ProcessLock(), ProcessLock()
        self.size.count = shared_value("i", 0)


class Flag:
    """multiprocessing's Event for one writer, without a lock and without the wall clock."""

    def __init__(self) -> None:
        self._raised = RawValue("b", 0)

    def is_set(self) -> bool:
        """Return whether set() was called, in whichever process."""
        return bool(self._raised.value)

    def set(self) -> None:
        """Raise the flag for good."""
        self._raised.value = 1

    def wait(self, seconds: float) -> bool:
        """Return is_set() as soon as it is true, at the latest after so many seconds."""
        deadline = time.monotonic() + seconds
        while not self.is_set() and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
        return self.is_set()


def shared_value(code: str, initial: float) -> Any:
    """Return multiprocessing's Value of that type code, with a lock that survives its holders."""
    return Value(code, initial, lock=ProcessLock())  # type: ignore[call-overload]  # any object with acquire() will do


def harden() -> None:
    """Have the clusters that this process starts use the above. django-q2 has no setting for it."""
    cluster.Event, cluster.Queue, cluster.Value = Flag, Queue, shared_value


def keep_sweeping(sentinel: BaseProcess) -> None:
    """Sweep, and report, every SWEEP_SECONDS, until django-q2's sentinel, which guards its processes, has ended.

    Not as a schedule of django-q2's: those live in a table that may be emptied, and in time that may be set back.
    """
    while sentinel.is_alive():
        try:
            close_old_connections()
            machines.report()
            services.recover_stale()
            cloudwatch.report_backlog()
        except Exception:
            logger.exception("The sweep failed; the next one comes in %d seconds", SWEEP_SECONDS)
        sentinel.join(SWEEP_SECONDS)
