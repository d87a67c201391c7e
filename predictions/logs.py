"""What every line of the log says beside its message: which request it belongs to, and which image.

An image's row keeps the id of the request that brought it, so that a worker's lines have it too.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from predictions.models import ImagePrediction

ID_LENGTH = 64
# What clients, proxies and load balancers send: UUIDs, ULIDs, hexadecimal digits, "Root=1-67891233-abcdef".
_ID = re.compile(rf"[A-Za-z0-9._=-]{{1,{ID_LENGTH}}}")
# Whoever has such an address may set somebody's password.
_SECRET = re.compile(r"(/password/)[^/\s]+/[^/\s\"']+")

request_id: ContextVar[str] = ContextVar("request_id", default="")
prediction_id: ContextVar[int | None] = ContextVar("prediction_id", default=None)


def accept_id(proposed: str) -> str:
    """Return the id of a request: the one that its sender proposes, if it is harmless, or else a new one."""
    return proposed if _ID.fullmatch(proposed) else uuid.uuid4().hex


@contextmanager
def about(prediction: ImagePrediction) -> Iterator[None]:
    """Have the lines that are written meanwhile say which image they are about, and which request brought it."""
    tokens = request_id.set(prediction.request_id), prediction_id.set(prediction.pk)
    try:
        yield
    finally:
        request_id.reset(tokens[0])
        prediction_id.reset(tokens[1])


def masked(text: str) -> str:
    """Return a text without addresses that are as good as passwords."""
    return _SECRET.sub(r"\1***", text) if "/password/" in text else text


class Handler(logging.StreamHandler):  # type: ignore[type-arg]  # it is generic for type checkers only
    """Writes lines with the ids, and without secrets, in whatever format."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or lines, of a record."""
        request, prediction = request_id.get(), prediction_id.get()
        ids = {"request_id": request, "prediction_id": prediction}
        # Those that a record brings along stand.
        vars(record).update({name: value for name, value in ids.items() if value and not hasattr(record, name)})
        return masked(super().format(record))


class TextFormatter(logging.Formatter):
    """Lines for people, with the ids, where there are some, behind the name of the logger."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        """Return the first line of a record."""
        given = [
            f"{name}={vars(record)[f'{name}_id']}" for name in ("request", "prediction") if f"{name}_id" in vars(record)
        ]
        record.ids = f" [{' '.join(given)}]" if given else ""
        return super().formatMessage(record)
