"""Taking private metadata out of JPEG (ITU-T T.81, annex B)."""

import struct
from collections.abc import Iterator

from predictions.metadata.exif import exif

START, END, SCAN = 0xD8, 0xD9, 0xDA
APPLICATIONS, COMMENT = range(0xE0, 0xF0), 0xFE
ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
# Applications' segments that decoders need: the colour model, by Adobe or JFIF, and the colour profile.
JFIF = 0xE0
KEPT = ((JFIF, b"JFIF\0"), (0xEE, b"Adobe"), (0xE2, b"ICC_PROFILE\0"))
JFIF_LENGTH = 16  # bytes without its thumbnail


def strip_jpeg(content: bytes, orientation: int = 1) -> bytes:
    """Return the first picture alone. Raises LookupError and ValueError if the file is damaged."""
    turned = exif(orientation)
    parts = [b"\xff\xd8"]
    if turned:
        parts.append(struct.pack(">BBH", 0xFF, 0xE1, len(turned) + 2) + turned)
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
