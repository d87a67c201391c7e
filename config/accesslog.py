"""gunicorn's log of requests, as lines of our own log, which know the request's id and no secrets."""

from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger


class Logger(GunicornLogger):  # type: ignore[misc]  # gunicorn has no types
    """Writes a line for each request, without its query: what people search for is nobody's business."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Write the line of an answered request."""
        if not self.access_log.isEnabledFor(20):
            return
        from config import limits  # gunicorn loads this module before the application has its settings

        path, status = environ.get("PATH_INFO", ""), int(str(resp.status).split()[0])
        facts = {
            "method": environ.get("REQUEST_METHOD", ""),
            "path": path,
            "status": status,
            "bytes": resp.sent,
            "seconds": round(request_time.total_seconds(), 4),
            "client": limits.origin(environ),
        }
        self.access_log.info("%s %s %d", facts["method"], path, status, extra=facts)
