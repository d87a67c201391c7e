"""What we accept: from untrusted bytes to facts about an image, before anything is stored."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler
from PIL import Image

from classifier.images import EXTENSIONS, NotAnImage, count_scans, decoded_bytes, open_image, orientation, upright_size
from predictions import metadata
from predictions.storage import MEGABYTE, is_disk_full

NAME_LENGTH = 255
MAX_SIDE = 65_535  # pixels, JPEG's own limit; what is longer is a line and not a picture
# Pixels that the scans of a JPEG may go over, all together: a second's work. Encoders make up to 14 scans, embedded
# previews add some; one of few pixels takes as long as one of LEAST_SCANNED.
MAX_SCANNED, LEAST_SCANNED = 1_000_000_000, 100_000


class Refusal(Exception):
    """An upload is not accepted. The message is a sentence for its sender, the reason a word of predictions.metrics."""

    reason: str


class UploadRejected(Refusal):
    """A file that we do not accept."""

    def __init__(self, message: str, reason: str = "not_an_image") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class AcceptedImage:
    """What is known of an image from its header and its bytes."""

    filename: str  # the user's name for it, made printable
    extension: str  # by content, not by that name
    sha256: str
    width: int  # pixels, upright
    height: int
    size: int  # bytes


class SizeLimitHandler(FileUploadHandler):
    """Reads on past the limit, so that the client gets to see the answer, but keeps nothing of what it reads.

    An oversized file reaches the view without content, but with its real size, and is refused there like any other.
    """

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.received = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        self.received = start + len(raw_data)
        return None if self.received > largest() else raw_data

    def file_complete(self, file_size: int) -> UploadedFile[Any] | None:
        if self.received <= largest():
            return None
        return UploadedFile(BytesIO(), self.file_name, self.content_type, self.received)


class FileWithoutRoom(UploadedFile[Any]):
    """A file whose content found no room while it was received."""


class DiskHandler(TemporaryFileUploadHandler):
    """Receives what is too large for the memory on the disk. When that is full it reads on, and keeps nothing."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        self.full = False
        vars(self).pop("file", None)  # the request's file before this one
        self._unless_full(super().new_file, *args, **kwargs)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._unless_full(super().receive_data_chunk, raw_data, start)

    def file_complete(self, file_size: int) -> UploadedFile[Any] | None:
        complete = self._unless_full(super().file_complete, file_size)  # it flushes what is still in memory
        return FileWithoutRoom(BytesIO(), self.file_name, self.content_type, file_size) if self.full else complete

    def _unless_full(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.full:
            return None
        try:
            return step(*args, **kwargs)
        except OSError as error:
            if not is_disk_full(error):
                raise
            self.full = True
            with suppress(OSError):  # it cannot write its last bytes either, but is gone
                self.upload_interrupted()
            return None


def inspect(file: UploadedFile[Any]) -> AcceptedImage:
    """Return the facts about an upload, reading its header and hashing its bytes; pixels are not decoded.

    Raises UploadRejected. The declared type and the file's name are not believed.
    """
    size = file.size or 0
    if size == 0:
        raise UploadRejected("The file is empty", "empty")
    if size > largest():
        sentence = f"The file has {size / MEGABYTE:.1f} MB; at most {settings.MAX_UPLOAD_MB} MB are accepted"
        raise UploadRejected(sentence, "too_large")
    try:
        image = open_image(cast("IO[bytes]", file))
        width, height = upright_size(image)
        _check_pixels(image, size)
    except NotAnImage as error:
        raise UploadRejected(str(error)) from error
    extension = EXTENSIONS[str(image.format)]
    if extension == "jpg":
        _check_scans(file, width * height)
    filename = printable(file.name or "")[:NAME_LENGTH] or "unnamed"
    return AcceptedImage(filename, extension, sha256(file), width, height, size)


def largest() -> int:
    """Return how many bytes a file may have."""
    return int(settings.MAX_UPLOAD_MB * MEGABYTE)


def _check_pixels(image: Image.Image, size: int) -> None:
    """Refuse what is too large to decode, from a file of `size` bytes. Raises UploadRejected and NotAnImage."""
    pixels = image.width * image.height
    found = f"The image has {image.width} x {image.height} pixels"
    if pixels > settings.MAX_UPLOAD_MEGAPIXELS * 1_000_000:
        sentence = f"{found}; at most {settings.MAX_UPLOAD_MEGAPIXELS} megapixels are accepted"
        raise UploadRejected(sentence, "too_many_pixels")
    if max(image.size) > MAX_SIDE:
        raise UploadRejected(f"{found}; at most {MAX_SIDE} on a side are accepted", "too_many_pixels")
    needed = decoded_bytes(image) + size
    if needed > settings.MAX_DECODED_MB * MEGABYTE:
        raise UploadRejected(
            f"{found}. Decoding a {image.format} of this kind takes {needed / MEGABYTE:.0f} MB; "
            f"at most {settings.MAX_DECODED_MB} MB are granted. Send it smaller, or as a JPEG",
            "too_costly",
        )


def _check_scans(file: UploadedFile[Any], pixels: int) -> None:
    """Refuse a JPEG that would be decoded too often. Raises UploadRejected."""
    scans = count_scans(file.chunks())
    if scans * max(pixels, LEAST_SCANNED) > MAX_SCANNED:
        sentence = f"The JPEG has {scans} scans of its {pixels} pixels: decoding it would take too long"
        raise UploadRejected(sentence, "too_costly")


# A file is in the memory up to four times while its metadata is taken out: one after the other.
_stripping = threading.Lock()


def without_metadata(file: UploadedFile[Any], accepted: AcceptedImage) -> tuple[UploadedFile[Any], AcceptedImage]:
    """Return an accepted upload without private metadata, and the facts about that. Raises UploadRejected."""
    try:
        with _stripping:
            file.seek(0)
            content = file.read()
            image = open_image(BytesIO(content))
            stripped = metadata.strip(content, str(image.format), orientation(image))
            del content
    except (metadata.CannotStrip, NotAnImage) as error:
        raise UploadRejected(str(error), "metadata") from error
    kept = UploadedFile(BytesIO(stripped), file.name, file.content_type, len(stripped))
    damaged = UploadRejected("The file is damaged, so that its private metadata cannot be taken out", "metadata")
    try:
        facts = inspect(kept)
    except UploadRejected as error:
        raise damaged from error  # the file that was sent had passed
    if (facts.width, facts.height, facts.extension) != (accepted.width, accepted.height, accepted.extension):
        raise damaged
    return kept, facts


def printable(text: str) -> str:
    """Drop what databases, logs or readers trip over: control characters, and those that turn the reading direction."""
    return "".join(character for character in text if character.isprintable()).strip()


def sha256(file: UploadedFile[Any]) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return digest.hexdigest()
