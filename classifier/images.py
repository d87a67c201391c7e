"""Opening image files of the formats we read, and no others."""

import struct
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import IO

# Named imports, so that Pillow registers these decoders only: with fewer parsers there is less to attack.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

# Whoever calls open_image() judges the size from the header; Pillow's own guess would only warn, at another number.
Image.MAX_IMAGE_PIXELS = None

PLUGINS = (
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
    GifImagePlugin,
    BmpImagePlugin,
    TiffImagePlugin,
    AvifImagePlugin,
)

# Pillow's name of a format -> the extension of a file of it. MPO is a JPEG with further pictures behind it, as phones
# make them; Pillow calls it so while it opens a JPEG.
EXTENSIONS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
    "HEIF": "heic",
    "AVIF": "avif",
}


class NotAnImage(ValueError):
    """The bytes are no image of a format that we read, or one that is damaged."""


# What Pillow's parsers and decoders let through on hostile bytes.
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    struct.error,
)


def open_image(file: IO[bytes]) -> Image.Image:
    """Read the header of an image: its format, size and mode are known, its pixels are not decoded yet.

    Raises NotAnImage, whatever the bytes are. The format is judged by content; names and declared types do not count.
    """
    try:
        if file.read(12)[4:8] == b"ftyp":
            _register_heif()
        file.seek(0)
        return Image.open(file, formats=[name for name in EXTENSIONS if name in Image.OPEN])
    except UnidentifiedImageError as error:
        raise NotAnImage("File must be an image") from error
    except DECODER_ERRORS as error:
        raise NotAnImage(f"The image's header is damaged: {error}") from error


def count_scans(jpeg: Iterable[bytes]) -> int:
    """Return how many scans a JPEG has, from its bytes in chunks.

    A progressive JPEG has a dozen; one of thousands is decoded as often, for minutes. In compressed data every FF is
    followed by 00 or a restart marker (ITU-T T.81, B.1.1.5), so FF DA, start of scan, stands for itself.
    """
    return sum(chunk.count(b"\xff\xda") for chunk in jpeg)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8. Raises NotAnImage when the metadata is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS as error:
        raise NotAnImage(f"The image's metadata is damaged: {error}") from error
    return value if value in range(1, 9) else 1


def taken_at(image: Image.Image) -> datetime | None:
    """Return when the camera says that it took the photo: local time, of a zone that it does not tell."""
    try:
        text = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal, "")
        return datetime.strptime(str(text), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007
    except DECODER_ERRORS:
        return None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height in pixels as a person sees the image. Raises NotAnImage."""
    # Pillow has swapped a TIFF's already; and it would decode a whole PNG to look for EXIF data behind the pixels.
    known = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
    turned = known and orientation(image) >= 5
    return (image.height, image.width) if turned else (image.width, image.height)


@cache
def _register_heif() -> None:
    """Load the HEIC decoder with the first file that may need it: most services never do, and it takes 5 MB."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)
