"""gunicorn's settings.

Uploads wait for network and disk, so threads serve well; eight of them in one process fight for its interpreter lock
and cost a burst 15 % of its speed, so there are two processes of three.
"""

import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

SHARED_MEMORY = "/dev/shm"  # noqa: S108  (gunicorn makes its own private file there)

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_WORKERS", "2"))
worker_class = "config.worker.Worker"
threads = int(os.environ.get("WEB_THREADS", "3"))  # that work at a time; further ones wait for their clients
# Loaded before the fork, the application is shared, and its errors show at the start.
preload_app = True
keepalive = 30
timeout = 60
graceful_timeout = 30
drain_seconds = int(os.environ.get("DRAIN_SECONDS", "0"))  # told to stop, it first says so, and serves for so long
# Heartbeats in memory: on a disk that stalls, a file's would have workers killed.
worker_tmp_dir = SHARED_MEMORY if Path(SHARED_MEMORY).is_dir() else None
# Its socket would lie in the home folder, where two services would meet.
control_socket_disable = True
logger_class = "config.accesslog.Logger"
accesslog = "-"  # config/settings.py decides by LOG_FORMAT whether anything is written to it
# Where the processes count for /metrics: in memory too, for writing to a mapped file on a full disk kills.
own_metrics = ""
if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    own_metrics = os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="metrics-", dir=worker_tmp_dir)


def when_ready(server: Any) -> None:
    """Drain before a stop; keep the garbage collector from writing to, and so copying, the pages that are shared."""
    if drain_seconds:
        from config.draining import stop_after  # the application, which is loaded now

        stop_after(drain_seconds, server.signal)
    gc.collect()
    gc.freeze()


def on_exit(server: object) -> None:
    """Leave nothing in memory."""
    if own_metrics:
        shutil.rmtree(own_metrics, ignore_errors=True)
