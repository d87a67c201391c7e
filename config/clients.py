"""Connections that know how long their clients take.

With a thread for each request that is being read, six clients that stall in the middle of an upload stop a service of
six threads. Here threads are many, and cheap, because only few of them work at a time: one that waits for its client
gives its slot away. And none waits for long: a client that sends or takes nothing for CLIENT_TIMEOUT seconds, or sends
less than MIN_RATE on average, is cut; before that, if others wait for its thread (config/worker.py).
"""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

CLIENT_TIMEOUT = float(os.environ.get("CLIENT_TIMEOUT", "30"))  # seconds
MIN_RATE = 1000  # bytes a second
PIECE = 65_536  # bytes of an answer for which a client may take CLIENT_TIMEOUT


class ClientTooSlow(TimeoutError):
    """The client stalls. Django and gunicorn take it for a broken connection."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "The client is too slow")


class Slots:
    """How many threads work at a time: eight in one process fight for its interpreter lock."""

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)
        self._mine = threading.local()

    def __enter__(self) -> None:
        self._free.acquire()
        self._mine.held = True

    def __exit__(self, *_: object) -> None:
        self._mine.held = False
        self._free.release()

    def lend(self, wait: Callable[..., Any], *arguments: Any) -> Any:
        """Do what waits for somebody else; meanwhile another may have this thread's slot, if it holds one."""
        if not getattr(self._mine, "held", False):
            return wait(*arguments)
        self.__exit__()
        try:
            return wait(*arguments)
        finally:
            self.__enter__()


class ClientSocket(socket.socket):
    """A connection that bounds how long its client may take, and lends its thread's slot while it waits."""

    slots: Slots
    began = 0.0
    received = sent = 0  # bytes
    waited = 0.0  # seconds that the client was waited for, up to the last time
    waits_since: float | None = None  # when a thread began to wait for it, if one does
    is_sending = is_cut = False

    def begin(self) -> None:
        """Count anew: a request begins."""
        self.began, self.received, self.sent, self.waited = time.monotonic(), 0, 0, 0.0

    def is_silent(self) -> bool:
        """Return whether the client has sent nothing that was not read, and is still there."""
        try:
            super().recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what the client sends next. Raises ClientTooSlow."""
        try:
            data = super().recv(size, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            data = self.slots.lend(self._patiently, super().recv, size, flags)
        self.received += len(data)
        if self.is_cut or time.monotonic() - self.began > CLIENT_TIMEOUT + self.received / MIN_RATE:
            raise ClientTooSlow
        return data

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send bytes. Raises ClientTooSlow."""
        view, self.is_sending = memoryview(data), True
        for start in range(0, len(view), PIECE):
            piece = view[start : start + PIECE]
            self.slots.lend(self._patiently, super().sendall, piece, flags)
            self.sent += len(piece)
        self.is_sending = False

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file, of which `count` bytes. Raises ClientTooSlow."""
        end = os.fstat(file.fileno()).st_size if count is None else offset + count
        self.is_sending = True
        for start in range(offset, end, PIECE):
            sent = self.slots.lend(self._patiently, super().sendfile, file, start, min(PIECE, end - start))
            self.sent += sent
            if sent < min(PIECE, end - start):
                return start + int(sent) - offset  # the file was shorter
        self.is_sending = False
        return max(0, end - offset)

    def pause(self, seconds: float) -> bool:
        """Sleep while another has this thread's slot; return whether the client is still there."""
        self.slots.lend(time.sleep, seconds)
        try:
            return super().recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def slowness(self) -> tuple[float, float]:
        """Return for how many seconds the client was waited for, and how many of these for each byte of it.

        Zero seconds, if nobody waits for it now.
        """
        since = self.waits_since
        seconds = self.waited + time.monotonic() - since if since else 0.0
        return seconds, seconds / (1 + self.received + self.sent)

    def cut(self) -> None:
        """Have whoever waits for this client do so no longer; from any thread. What it is told can still be sent."""
        self.is_cut = True
        with suppress(OSError):  # it may have gone by itself
            self.shutdown(socket.SHUT_RDWR if self.is_sending else socket.SHUT_RD)

    def _patiently(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.settimeout(CLIENT_TIMEOUT)
        self.waits_since = began = time.monotonic()
        try:
            return call(*arguments)
        except (TimeoutError, BrokenPipeError) as error:
            if self.is_cut or isinstance(error, TimeoutError):
                raise ClientTooSlow from error
            raise
        finally:
            self.waits_since = None
            self.waited += time.monotonic() - began
            self.setblocking(True)  # as gunicorn left it
