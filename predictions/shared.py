"""What several processes share, and what survives the death of any of them.

The locks and semaphores of multiprocessing stay locked for good when whoever holds one is killed, and the waits of its
events follow the wall clock.
"""

import fcntl
import itertools
import os
import tempfile
import time
from multiprocessing import RawValue, Value
from typing import Any


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
