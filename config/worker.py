"""gunicorn's threaded worker, for clients that are slow or never finish.

With a thread for each request that is being read, six clients that stall in the middle of an upload stop a service of
six threads. Here threads are many, and cheap, because only few of them work at a time: one that waits for its client
gives its slot away. And none waits for long: a client that sends or takes nothing for CLIENT_TIMEOUT seconds, or sends
less than MIN_RATE on average, is cut.
"""

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

CLIENT_TIMEOUT = float(os.environ.get("CLIENT_TIMEOUT", "30"))  # seconds
MIN_RATE = 1000  # bytes a second
# In each process. A thread may hold a connection to the database, of which PostgreSQL has 100.
THREADS = 24
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
    received = 0  # bytes

    def begin(self) -> None:
        """Count anew: a request begins."""
        self.began, self.received = time.monotonic(), 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what the client sends next. Raises ClientTooSlow."""
        try:
            data = super().recv(size, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            data = self.slots.lend(self._patiently, super().recv, size, flags)
        self.received += len(data)
        if time.monotonic() - self.began > CLIENT_TIMEOUT + self.received / MIN_RATE:
            raise ClientTooSlow
        return data

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send bytes. Raises ClientTooSlow."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            self.slots.lend(self._patiently, super().sendall, view[start : start + PIECE], flags)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file. Raises ClientTooSlow."""
        return int(self.slots.lend(self._patiently, super().sendfile, file, offset, count))

    def pause(self, seconds: float) -> bool:
        """Sleep while another has this thread's slot; return whether the client is still there."""
        self.slots.lend(time.sleep, seconds)
        try:
            return super().recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _patiently(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.settimeout(CLIENT_TIMEOUT)
        try:
            return call(*arguments)
        except TimeoutError as error:
            raise ClientTooSlow from error
        finally:
            self.setblocking(True)  # as gunicorn left it


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The threaded worker, with many threads, few slots and sockets that know of them."""

    wsgi: Callable[..., Any]

    def init_process(self) -> None:
        """Make the slots, as many as gunicorn's threads were meant to be, before the first connection comes."""
        self.slots = Slots(self.cfg.threads)
        super().init_process()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Return threads enough for those who wait, too."""
        return ThreadPoolExecutor(max_workers=max(THREADS, self.cfg.threads))

    def load_wsgi(self) -> None:
        """Let the application run in a slot, and pause without it."""
        super().load_wsgi()
        application: Callable[..., Any] = self.wsgi

        def in_a_slot(environ: Any, start_response: Any) -> Any:
            environ["client.pause"] = environ["gunicorn.socket"].pause
            with self.slots:
                return application(environ, start_response)

        self.wsgi = in_a_slot

    def set_accept_enabled(self, enabled: bool) -> None:
        """Listen. A worker that is told to stop serves whoever stands in line, and closes the line.

        gunicorn keeps it open until the last request is done, and then drops whoever has joined it meanwhile. A proxy
        that is refused instead tries again: nothing was sent yet.
        """
        super().set_accept_enabled(enabled)
        if self.alive:
            return
        for listener in self.sockets:
            while self.nr_conns < self.worker_connections and select.select([listener], [], [], 0)[0]:
                self.accept(listener)
            listener.close()

    def handle(self, conn: TConn) -> Any:
        """Serve a request in a context of its own: what it sets, its id for the log, ends with it."""
        return copy_context().run(super().handle, conn)

    def enqueue_req(self, conn: TConn) -> None:
        """Hand a connection on which a request begins to the threads."""
        if not isinstance(conn.sock, ClientSocket):
            conn.sock = ClientSocket(fileno=conn.sock.detach())
            conn.sock.slots = self.slots
        conn.sock.begin()
        super().enqueue_req(conn)
