"""Taking private metadata out of JPEG (ITU-T T.81, annex B)."""

import re
import struct
from collections.abc import Iterator

from predictions.metadata.exif import exif

START, END, SCAN = 0xD8, 0xD9, 0xDA
APPLICATIONS, COMMENT = range(0xE0, 0xF0), 0xFE
# Between segments, decoders skip whatever is no marker, and those without a length. In a scan's data FF stands for
# itself before 00, and D0 to D7 mark restarts. Before a marker, FF may be repeated.
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
MOST = 20_000  # segments; colour profiles have 255, encoders make some dozens
# Applications' segments that decoders need: the colour model, by Adobe or JFIF, and the colour profile.
JFIF = 0xE0
KEPT = ((JFIF, b"JFIF\0"), (0xEE, b"Adobe"), (0xE2, b"ICC_PROFILE\0"))
JFIF_LENGTH = 16  # bytes without its thumbnail


def strip_jpeg(content: bytes, orientation: int = 1) -> bytes:
    """Return the first picture alone. Raises LookupError and ValueError if the file is damaged."""
    turned = exif(orientation)
    stripped = bytearray(b"\xff\xd8")
    if turned:
        stripped += struct.pack(">BBH", 0xFF, 0xE1, len(turned) + 2) + turned
    for marker, data in _jpeg_parts(content):
        if marker in APPLICATIONS and not _is_kept(marker, data):
            continue
        if marker == JFIF:
            stripped += b"\xff\xe0" + struct.pack(">H", JFIF_LENGTH) + data[4:JFIF_LENGTH] + b"\0\0"
        elif marker != COMMENT:
            stripped += data
    return bytes(stripped)


def _is_kept(marker: int, data: bytes) -> bool:
    return any(marker == kept and data[4:].startswith(name) for kept, name in KEPT)


def _jpeg_parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Return each segment with its marker, a scan's data with the scan's header; it ends with the first picture."""
    at = 2
    for _ in range(MOST):
        found = MARKER.search(content, at)
        if not found:
            raise ValueError("no end")
        at, marker = found.start(), found[0][1]
        if marker == END:
            yield marker, b"\xff\xd9"
            return
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == SCAN:
            following = MARKER.search(content, end)
            end = following.start() if following else len(content)
        yield marker, content[at:end]
        at = end
        if at >= len(content):
            return
    raise ValueError("more segments than anybody needs")
