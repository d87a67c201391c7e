"""Bodies of requests whose images are no files: received on the disk, and read once there is room in the memory."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.request import Request

from predictions import synchronous, uploads
from predictions.exceptions import TooLarge
from predictions.storage import MEGABYTE

ENVELOPE = MEGABYTE  # of JSON around images in base64
PIECE = 65_536
# The memory that a body takes until it is answered, at most, as measured. Of an image, so many times its bytes: in SQL
# for PostgreSQL it is text, too. Of JSON, so many times its bytes, in ASCII or with larger characters, and so many for
# each value.
IMAGE, ASCII, UNICODE, VALUE = 9.5, 7, 10, 70


class BodyParser(BaseParser):
    """Keeps what comes, however slowly, on the disk, and reads it within the room that its view then holds."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """Return the content. Raises TooLarge, ParseError, QueueFull and NotServing."""
        check_length(parser_context["request"], self.largest())
        small, folder = settings.DATA_UPLOAD_MAX_MEMORY_SIZE, str(settings.FILE_UPLOAD_TEMP_DIR)
        with SpooledTemporaryFile(small, dir=folder) as file:
            shutil.copyfileobj(stream, file, PIECE)
            file.seek(0)
            parser_context["view"].held.enter_context(synchronous.place(self.takes(file)))
            file.seek(0)
            return self.read(file, parser_context)

    @abstractmethod
    def largest(self) -> int:
        """Return how many bytes a body may have."""

    @abstractmethod
    def takes(self, file: IO[bytes]) -> int:
        """Return how many bytes of memory the content takes until it is answered."""

    @abstractmethod
    def read(self, file: IO[bytes], parser_context: Any) -> Any:
        """Return the content. Raises ParseError."""


class BoundedJSONParser(BodyParser):
    """JSON with images in base64, or tensors. It is in UTF-8 (RFC 8259), whatever charset it is said to have."""

    media_type = "application/json"

    def largest(self) -> int:
        """Return what a file may have, in base64."""
        return uploads.largest() * 4 // 3 + ENVELOPE

    def takes(self, file: IO[bytes]) -> int:
        """Count the values, by what stands before each: a few bytes of JSON may become a list of a hundred."""
        length, values, character = 0, 0, ASCII
        while piece := file.read(PIECE):
            length += len(piece)
            values += sum(map(piece.count, (b",", b":", b"[", b"{")))
            character = character if piece.isascii() else UNICODE
        return length * character + values * VALUE

    def read(self, file: IO[bytes], parser_context: Any) -> Any:
        """Return what it says."""
        return JSONParser().parse(file, self.media_type, {**parser_context, "encoding": "utf-8"})


class BytesParser(BodyParser):
    """A body that is the image, whatever type it is said to have."""

    media_type = "*/*"

    def largest(self) -> int:
        """Return what a file may have."""
        return uploads.largest()

    def takes(self, file: IO[bytes]) -> int:
        """Go by the length."""
        return int(file.seek(0, 2) * IMAGE)

    def read(self, file: IO[bytes], parser_context: Any) -> bytes:
        """Return the bytes."""
        return file.read()


def check_length(request: Request, largest: int) -> None:
    """Refuse a body that is longer, before it is read. Raises TooLarge."""
    if int(request.META.get("CONTENT_LENGTH") or 0) > largest:
        raise TooLarge(f"The request is too large: at most {largest / MEGABYTE:.0f} MB are accepted")
