"""Told to stop, a web process says so first, and serves on until the load balancer has looked elsewhere.

gunicorn closes its sockets at once on SIGTERM, while the load balancer still sends requests there: those would fail.
"""

import signal
from collections.abc import Callable
from multiprocessing import RawValue
from threading import Timer
from types import FrameType

_stopping = RawValue("b", 0)  # one byte in memory that gunicorn's processes share


def is_stopping() -> bool:
    """Return whether this service has been told to stop."""
    return bool(_stopping.value)


def stop_after(seconds: float, stop: Callable[[int, FrameType | None], None]) -> None:
    """Have SIGTERM call `stop`, the handler that it had, only after so many seconds; a second one calls it at once."""

    def drain(number: int, _frame: FrameType | None) -> None:
        wait = 0 if is_stopping() else seconds
        _stopping.value = 1
        timer = Timer(wait, stop, (number, None))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGTERM, drain)
