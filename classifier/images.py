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

# Workers are as many as cores. More threads for one picture would take a stack each, and frames of their own.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# Of texts in a PNG, unpacked, in bytes; Pillow's own bound is 64 MB.
PngImagePlugin.MAX_TEXT_MEMORY = 4_000_000

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


THUMBNAIL = 320  # pixels of its longer side
DRAFT = 256  # pixels of the shorter side that a JPEG is decoded to at least: what any model so far wants

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


def damaged(what: str, error: Exception) -> NotAnImage:
    """Say to its sender what is damaged, and how, in the decoder's words: some have several lines, some none."""
    words = getattr(error, "strerror", None) or (str(error) if error.args else "")
    how = "".join(letter if letter.isprintable() else " " for letter in words).strip()
    return NotAnImage(f"{what}: {how}" if how else what)


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
        raise damaged("The image's header is damaged", error) from error


def count_scans(jpeg: Iterable[bytes]) -> int:
    """Return how many scans a JPEG has, from its bytes in chunks.

    A progressive JPEG has a dozen; one of thousands is decoded as often, for minutes. In compressed data every FF is
    followed by 00 or a restart marker (ITU-T T.81, B.1.1.5), so FF DA, start of scan, stands for itself.
    """
    scans, last = 0, b""
    for chunk in jpeg:
        scans += (last + chunk).count(b"\xff\xda")
        last = chunk[-1:]
    return scans


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8. Raises NotAnImage when the metadata is damaged."""
    # Pillow would decode a whole PNG to look for EXIF data behind the pixels.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS as error:
        raise damaged("The image's metadata is damaged", error) from error
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
    turned = image.format != "TIFF" and orientation(image) >= 5  # Pillow has swapped a TIFF's already
    return (image.height, image.width) if turned else (image.width, image.height)


# Bytes that a decoder takes for each pixel, with Pillow's own copy, measured: of WebP the canvas, the one before it and
# what it hands over; of AVIF and HEIC the planes and what is made of them; without and with alpha.
TAKES = {"WEBP": (17, 18), "HEIF": (7.6, 8.6), "AVIF": (11.2, 12)}
DEEP = 8  # for HEIC of more than 8 bits
# Beside the pixels: strips that are converted, and what TIFF and BMP are shown as. Others' decoders take theirs before.
STRIPS = 18_000_000
SHOWN = 22_000_000
ONE_BYTE, TWO_BYTES = {"1", "L", "P"}, {"I;16", "I;16B", "I;16L", "I;16N"}
UNCOMPRESSED, JPEG_IN_TIFF = 1, 7  # TIFF's Compression


def draft(image: Image.Image, shorter: int) -> None:
    """Have an opened JPEG decoded at 1/2, 1/4 or 1/8, if its shorter side then has so many pixels.

    The longer one has enough for a thumbnail then, so that one decoding will do. Other formats stay as they are.
    """
    scale = _reduction(image, shorter)
    image.draft(None, (image.width // scale, image.height // scale))


def _reduction(image: Image.Image, shorter: int) -> int:
    """Return by how much a JPEG may be reduced while it is decoded: 1, 2, 4 or 8."""
    least, most = min(image.size), max(image.size)
    return next((scale for scale in (8, 4, 2) if least // scale >= shorter and most // scale >= THUMBNAIL), 1)


def decoded_bytes(image: Image.Image) -> int:
    """Return how many bytes decoding an opened image takes at most, from its header. Raises NotAnImage."""
    try:
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            return _decoded_jpeg(image)
        pixel = 1.0 if image.mode in ONE_BYTE else 2.0 if image.mode in TWO_BYTES else 4.0
        if image.format in TAKES:
            pixel = TAKES[image.format][image.mode == "RGBA"] + (DEEP if image.info.get("bit_depth", 8) > 8 else 0)
            return int(image.width * image.height * pixel)
        whole = int(image.width * image.height * pixel) + STRIPS + (SHOWN if image.format in {"TIFF", "BMP"} else 0)
        return whole + (_tiff_strip(image) if isinstance(image, TiffImagePlugin.TiffImageFile) else 0)
    except DECODER_ERRORS as error:
        raise damaged("The image's header is damaged", error) from error


def _decoded_jpeg(image: JpegImagePlugin.JpegImageFile) -> int:
    """A JPEG is decoded at 1/8 to 1/1; but where its components come in several scans, all coefficients are kept."""
    pixels = image.width * image.height
    scale = _reduction(image, DRAFT)
    decoded = pixels * len(image.layer) // scale**2 * 4 // 3
    if _in_one_scan(image):
        return decoded
    sampling = [(across, down) for _, across, down, _ in image.layer]
    most = max(across for across, _ in sampling) * max(down for _, down in sampling)
    return decoded + 2 * pixels * sum(across * down for across, down in sampling) // most


def _in_one_scan(jpeg: JpegImagePlugin.JpegImageFile) -> bool:
    """Return whether the first scan's header, up to the end of which Pillow has read, names all the components."""
    if "progressive" in jpeg.info or jpeg.fp is None:
        return False
    here, components = jpeg.fp.tell(), len(jpeg.layer)
    length = 6 + 2 * components  # ITU-T T.81, B.2.3: of the header, behind its marker
    jpeg.fp.seek(max(0, here - length - 2))
    header = jpeg.fp.read(length + 2)
    return header[:5] == bytes((0xFF, 0xDA, 0, length, components))


def _tiff_strip(image: TiffImagePlugin.TiffImageFile) -> int:
    """Return the bytes of one strip or tile of a compressed TIFF, which libtiff unpacks whole."""
    tags, tag = image.tag_v2, ExifTags.Base
    if tags.get(tag.Compression, UNCOMPRESSED) == UNCOMPRESSED:
        return 0
    bits = max(tags.get(tag.BitsPerSample, (1,))) * tags.get(tag.SamplesPerPixel, 1)
    rows = min(tags.get(tag.RowsPerStrip, image.height), image.height)
    area = tags[tag.TileWidth] * tags[tag.TileLength] if tag.TileWidth in tags else image.width * rows
    # A JPEG inside may be progressive, and keep two bytes of each sample.
    return int(area * bits // 8 * (3 if tags[tag.Compression] == JPEG_IN_TIFF else 1))


@cache
def _register_heif() -> None:
    """Load the HEIC decoder with the first file that may need it: most services never do, and it takes 5 MB."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
