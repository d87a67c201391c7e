"""Counting requests against rates: in this process's memory, or in a Redis that all processes share.

Windows are fixed, so that a count is one addition and its answer says all that clients are told. Each client's begin at
a moment of its own: clients who wait for the next one do not all return at once.
"""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from threading import Lock
from time import monotonic, time
from typing import Protocol, cast
from zlib import crc32

from django.conf import settings
from limits import RateLimitItem
from limits.errors import StorageError
from limits.storage import storage_from_string

from config import stores

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 60
AWAY_SECONDS = 10


class Counter(Protocol):
    """Something that counts."""

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a key's count, which may be forgotten `expiry` seconds after its first; return it."""


class MemoryCounter:
    """Counts in this process.

    The storage of the library would look through all its keys in a new thread every 10 ms: with the 100,000 addresses
    of an attack, for longer than that.
    """

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, float]] = {}
        self._lock = Lock()
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._counts)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a key's count and return it."""
        now = monotonic()
        with self._lock:
            if now >= self._sweep_at:
                self._counts = {name: entry for name, entry in self._counts.items() if entry[1] > now}
                self._sweep_at = now + SWEEP_SECONDS
            count, end = self._counts.get(key, (0, now + expiry))
            self._counts[key] = (count + amount, end)
            return count + amount


class SharedCounter:
    """Counts in a Redis; while that is away, in this process: neither the service nor its limits depend on it."""

    def __init__(self, url: str, prefix: str = "limits") -> None:
        options = stores.impatience() | {"key_prefix": prefix, "wrap_exceptions": True}
        self._shared = cast("Counter", storage_from_string(url, **options))
        self._own = MemoryCounter()
        self._away_until = 0.0

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a key's count and return it."""
        if monotonic() >= self._away_until:
            try:
                return self._shared.incr(key, expiry, amount)
            except StorageError as error:
                self._away_until = monotonic() + AWAY_SECONDS
                logger.warning("LIMITS_URL does not answer; this process counts by itself: %s", error)
        return self._own.incr(key, expiry, amount)


@cache
def counter(url: str) -> Counter:
    """Return this process's counter. Raises ValueError or limits.errors.ConfigurationError for a wrong LIMITS_URL."""
    return MemoryCounter() if url == "memory://" else SharedCounter(url)


@dataclass(frozen=True)
class Tally:
    """Where a client stands with a rate."""

    limit: int
    left: int  # below 0 once there were too many
    reset: int  # seconds until the count begins anew, at least 1

    @property
    def headers(self) -> dict[str, str]:
        """Return what a client is told, in the three headers of draft-ietf-httpapi-ratelimit-headers-06."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(max(0, self.left)),
            "RateLimit-Reset": str(self.reset),
        }


class TooManyRequests(Exception):
    """A client has used its rate up. It is answered 429, by config.limits."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(f"More than {tally.limit}; wait {tally.reset} s")
        self.tally = tally


def count(scope: str, clients: Iterable[str], amount: int = 1) -> Tally | None:
    """Count something of a scope for each of the names a client has; return the tightest tally, None without rates."""
    tallies = [_count(rate, f"{scope}/{client}", amount) for rate in settings.RATES[scope] for client in clients]
    return min(tallies, key=lambda tally: (max(tally.left, -1), -tally.reset), default=None)


def _count(rate: RateLimitItem, key: str, amount: int) -> Tally:
    seconds = rate.get_expiry()
    window, passed = divmod(time() + crc32(key.encode()) % seconds, seconds)
    total = counter(settings.LIMITS_URL).incr(f"{key}/{seconds}/{window:.0f}", seconds, amount)
    return Tally(rate.amount, rate.amount - total, math.ceil(seconds - passed))
