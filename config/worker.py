"""gunicorn's threaded worker, whose threads are for clients that send and take: no crowd of slow ones holds them all.

Who has not begun to speak has no thread, and who is told goodbye has none either. When all are held and others wait,
the slowest client is cut, that with the fewest bytes for the time that it was waited for; then the next.
"""

import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import DEFAULT_WORKER_DATA_TIMEOUT, TConn, ThreadWorker

from config.clients import PIECE, ClientSocket, Slots

# In each process. A thread may hold a connection to the database, of which PostgreSQL has 100.
THREADS = 24
PATIENCE = 0.5  # seconds for which a client may be waited for though others wait for its thread
FAREWELL = 2.0  # seconds that a client has to take its last answer and close, before that is lost


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The threaded worker, with many threads, few slots and sockets that know of them."""

    wsgi: Callable[..., Any]

    def init_process(self) -> None:
        """Make the slots, as many as gunicorn's threads were meant to be, before the first connection comes."""
        self.slots = Slots(self.cfg.threads)
        self.threads: int = max(THREADS, self.cfg.threads)
        self.begun: set[TConn] = set()  # in a thread, or waiting for one
        self.leaving: dict[TConn, float] = {}  # answered for the last time, and until when
        super().init_process()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Return threads enough for those who wait, too."""
        return ThreadPoolExecutor(max_workers=self.threads)

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
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, time.monotonic() + DEFAULT_WORKER_DATA_TIMEOUT)

    def handle(self, conn: TConn) -> Any:
        """Serve a request in a context of its own: what it sets, its id for the log, ends with it."""
        return copy_context().run(super().handle, conn)

    def enqueue_req(self, conn: TConn) -> None:
        """Hand a connection on which a request begins to the threads; one that is silent so far has to wait."""
        if not isinstance(conn.sock, ClientSocket):
            conn.sock = ClientSocket(fileno=conn.sock.detach())
            conn.sock.slots = self.slots
            if self.alive and conn.sock.is_silent():
                self._await(conn)
                return
        conn.sock.begin()
        self.begun.add(conn)
        super().enqueue_req(conn)

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Keep a connection for its next request, or see it off, for which gunicorn would hold everybody up."""
        self.begun.discard(conn)
        if fs.cancelled() or fs.exception() or fs.result():
            super().finish_request(conn, fs)
        else:
            self._see_off(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do what there is to do; then see whether threads are left for those who wait."""
        super().wait_for_and_dispatch_events(min(timeout, PATIENCE / 5) if self._waiting() else timeout)
        self._make_room()
        now = time.monotonic()
        for conn in [conn for conn, end in self.leaving.items() if end < now]:
            self._close(conn)

    def _waiting(self) -> int:
        """Return how many requests have no thread."""
        return max(0, len(self.begun) - self.threads)

    def _make_room(self) -> None:
        """Cut as many of the slowest clients as requests have no thread."""
        if not (waiting := self._waiting()):
            return
        clients = [(conn.sock.slowness(), conn.sock) for conn in self.begun if not conn.sock.is_cut]
        slow = [(by_byte, client) for (seconds, by_byte), client in clients if seconds > PATIENCE]
        slow.sort(key=lambda entry: entry[0], reverse=True)
        waiting -= sum(conn.sock.is_cut for conn in self.begun)  # their threads are as good as free
        for _, client in slow[: max(0, waiting)]:
            client.cut()
        if slow and waiting > 0:
            self.log.warning("No thread is left: %d of the slowest clients were cut", min(len(slow), waiting))

    def _await(self, conn: TConn) -> None:
        """Give a connection a thread once its client says something, as gunicorn does after five seconds in one."""
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _see_off(self, conn: TConn) -> None:
        """Say that this was all, and close once the client has: closed at once, what it has not read would be lost."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, EVENT_READ, partial(self._hear_out, conn))
        except (OSError, ValueError):  # it is closed
            self.nr_conns -= 1
            conn.close()
            return
        self.leaving[conn] = time.monotonic() + FAREWELL

    def _hear_out(self, conn: TConn, _: object) -> None:
        """Pass over what a client sends that was told goodbye; close when it does."""
        try:
            if socket.socket.recv(conn.sock, PIECE, socket.MSG_DONTWAIT):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(conn)

    def _close(self, conn: TConn) -> None:
        del self.leaving[conn]
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()
