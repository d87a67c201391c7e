"""Taking private metadata out of files without touching their pixels: STRIP_METADATA=1.

What shows the picture stays: orientation, colour profile, transparency, animation. What tells of people and places
goes: EXIF, XMP, IPTC, comments, texts, times, embedded previews, and whatever lies behind the end of the picture.
Each format has its file; where parts are found by their place (TIFF, HEIC, AVIF), zeros take the place of what goes.
"""

import struct
from collections.abc import Callable

from predictions.metadata.boxes import strip_boxes
from predictions.metadata.errors import CannotStrip, Damaged
from predictions.metadata.gif import strip_gif
from predictions.metadata.jpeg import strip_jpeg
from predictions.metadata.png import strip_png
from predictions.metadata.tiff import strip_tiff
from predictions.metadata.webp import strip_webp

__all__ = ["STRIPPERS", "CannotStrip", "strip"]


def strip(content: bytes, kind: str, orientation: int) -> bytes:
    """Return an image's file without private metadata: the same pixels, the same orientation (1 to 8) and colours.

    `kind` is Pillow's name of the format. Raises CannotStrip for damaged files, and for kinds
    of TIFF and AVIF that nearly nobody has.
    """
    try:
        return STRIPPERS[kind](content, orientation)
    except CannotStrip:
        raise
    except (LookupError, ValueError, ArithmeticError, struct.error) as error:
        raise Damaged from error


def _strip_bmp(content: bytes) -> bytes:
    """Return a BMP, which has no metadata, without what is hidden behind its pixels."""
    return content[: max(54, int.from_bytes(content[2:6], "little"))]


# TIFF, HEIC and AVIF have their orientation outside of metadata, GIF and BMP have none.
STRIPPERS: dict[str, Callable[[bytes, int], bytes]] = {
    "JPEG": strip_jpeg,
    "MPO": strip_jpeg,
    "PNG": strip_png,
    "WEBP": strip_webp,
    "GIF": lambda content, _: strip_gif(content),
    "BMP": lambda content, _: _strip_bmp(content),
    "TIFF": lambda content, _: strip_tiff(content),
    "HEIF": lambda content, _: strip_boxes(content),
    "AVIF": lambda content, _: strip_boxes(content),
}
