"""Taking private metadata out of files without touching their pixels: STRIP_METADATA=1.

What shows the picture stays: orientation, colour profile, transparency, animation. What tells of people and places
goes: EXIF, XMP, IPTC, comments, texts, times, embedded previews, and whatever lies behind the end of the picture.
"""

import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import ExifTags, Image

from predictions.boxes import strip_boxes


class CannotStrip(ValueError):
    """Metadata of this file cannot be taken out without decoding it anew. The message is a sentence for people."""


def strip(content: bytes, kind: str, orientation: int) -> bytes:
    """Return an image's file without private metadata: the same pixels, the same orientation (1 to 8) and colours.

    `kind` is Pillow's name of the format. Raises CannotStrip for damaged files, and for TIFF, whose parts
    are found by their place in the file.
    """
    stripper = STRIPPERS.get(kind)
    if stripper is None:
        raise CannotStrip(
            f"This server keeps no private metadata, which cannot be taken out of {kind} files; send a JPEG or PNG"
        )
    try:
        return stripper(content, orientation)
    except (LookupError, ValueError, struct.error) as error:
        raise CannotStrip("The file is damaged, so that its private metadata cannot be taken out") from error


def _exif(orientation: int) -> bytes:
    """Return EXIF data that has nothing but an orientation; nothing at all for upright images."""
    if orientation == 1:
        return b""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif.tobytes()


# --- JPEG (ITU-T T.81, annex B) --------------------------------------------------------------------------------------

START, END, SCAN = 0xD8, 0xD9, 0xDA
APPLICATIONS, COMMENT = range(0xE0, 0xF0), 0xFE
ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
# Applications' segments that decoders need: the colour model, by Adobe or JFIF, and the colour profile.
JFIF = 0xE0
KEPT = ((JFIF, b"JFIF\0"), (0xEE, b"Adobe"), (0xE2, b"ICC_PROFILE\0"))
JFIF_LENGTH = 16  # bytes without its thumbnail


def _jpeg(content: bytes, orientation: int) -> bytes:
    exif = _exif(orientation)
    parts = [b"\xff\xd8"]
    if exif:
        parts.append(struct.pack(">BBH", 0xFF, 0xE1, len(exif) + 2) + exif)
    for marker, data in _jpeg_parts(content):
        if marker in APPLICATIONS and not _is_kept(marker, data):
            continue
        if marker == JFIF:
            parts.append(b"\xff\xe0" + struct.pack(">H", JFIF_LENGTH) + data[4:JFIF_LENGTH] + b"\0\0")
        elif marker != COMMENT:
            parts.append(data)
    return b"".join(parts)


def _is_kept(marker: int, data: bytes) -> bool:
    return any(marker == kept and data[4:].startswith(name) for kept, name in KEPT)


def _jpeg_parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Return each segment with its marker, a scan's data with the scan's header; it ends with the first picture."""
    at = 2
    while True:
        # Between segments, decoders skip whatever is no marker; FF may be repeated.
        at = content.index(b"\xff", at)
        marker = content[at + 1]
        if marker in {0x00, 0xFF} or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == END:
            yield marker, b"\xff\xd9"
            return
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == SCAN:
            end = _scan_end(content, end)
        yield marker, content[at:end]
        at = end
        if at >= len(content):
            return


def _scan_end(content: bytes, at: int) -> int:
    """Return where a scan's data ends: at the first FF that neither stands for itself nor marks a restart."""
    while (at := content.find(b"\xff", at)) != -1:
        following = content[at + 1 : at + 2]
        if following and following not in {b"\x00", b"\xff"} and following[0] not in ALONE:
            return at
        at += 1 if following == b"\xff" else 2
    return len(content)


# --- PNG (W3C, PNG third edition, 11) --------------------------------------------------------------------------------

PNG_KEPT = {
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI",
    b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT",
}  # fmt: skip


def _png(content: bytes, orientation: int) -> bytes:
    parts, at = [content[:8]], 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if kind in PNG_KEPT:
            parts.append(content[at:end])
        if kind == b"IHDR" and (exif := _exif(orientation).removeprefix(b"Exif\0\0")):
            parts.append(struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif)))
        at = end
        if kind == b"IEND":
            break
    return b"".join(parts)


# --- WebP (RFC 9649, 2.5 and 2.7) ------------------------------------------------------------------------------------

WEBP_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"}
HAS_EXIF, HAS_XMP = 0x08, 0x04


def _webp(content: bytes, orientation: int) -> bytes:
    exif = _exif(orientation).removeprefix(b"Exif\0\0")
    parts, at, end = [], 12, min(len(content), 8 + int.from_bytes(content[4:8], "little"))
    while at + 8 <= end:
        kind, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        data = content[at + 8 : at + 8 + length]
        if kind == b"VP8X":
            flags = (data[0] & ~(HAS_EXIF | HAS_XMP)) | (HAS_EXIF if exif else 0)
            data = bytes((flags, *data[1:]))
        if kind in WEBP_KEPT:
            parts.append(_riff(kind, data))
        at += 8 + length + length % 2
    if exif:
        parts.append(_riff(b"EXIF", exif))
    return _riff(b"RIFF", b"WEBP" + b"".join(parts))


def _riff(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


# --- GIF (GIF89a, 17 to 27) ------------------------------------------------------------------------------------------

EXTENSION, PICTURE, TRAILER = 0x21, 0x2C, 0x3B
GRAPHICS_CONTROL, APPLICATION = 0xF9, 0xFF
LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def _gif(content: bytes, orientation: int) -> bytes:
    at = 13 + _table(content[10])
    parts = [content[:at]]
    while content[at] != TRAILER:
        if content[at] == EXTENSION:
            end = _blocks_end(content, at + 2)
            loops = content[at + 1] == APPLICATION and content[at + 3 : at + 14] in LOOPS
            if loops or content[at + 1] == GRAPHICS_CONTROL:
                parts.append(content[at:end])
        elif content[at] == PICTURE:
            end = _blocks_end(content, at + 11 + _table(content[at + 9]))
            parts.append(content[at:end])
        else:
            raise IndexError(at)
        at = end
    return b"".join((*parts, b"\x3b"))


def _table(flags: int) -> int:
    """Return the bytes of a colour table."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks_end(content: bytes, at: int) -> int:
    """Return where a chain of blocks ends, each with its length before it, the last empty."""
    while content[at]:
        at += 1 + content[at]
    return at + 1


# --- BMP has none, but whatever is hidden behind its pixels ----------------------------------------------------------


def _bmp(content: bytes, orientation: int) -> bytes:
    return content[: max(54, int.from_bytes(content[2:6], "little"))]


STRIPPERS: dict[str, Callable[[bytes, int], bytes]] = {
    "JPEG": _jpeg,
    "MPO": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "HEIF": lambda content, _: strip_boxes(content),  # their orientation is no metadata
    "AVIF": lambda content, _: strip_boxes(content),
}
