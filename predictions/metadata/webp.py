"""Taking private metadata out of WebP (RFC 9649, 2.5 and 2.7)."""

import struct

from predictions.metadata.exif import exif

KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"}
HAS_EXIF, HAS_XMP = 0x08, 0x04
MOST = 100_000  # chunks


def strip_webp(content: bytes, orientation: int) -> bytes:
    """Return the picture alone. Raises LookupError and ValueError if the file is damaged."""
    turned = exif(orientation).removeprefix(b"Exif\0\0")
    parts: list[bytes] = []
    at, end = 12, min(len(content), 8 + int.from_bytes(content[4:8], "little"))
    while at + 8 <= end:
        if len(parts) > MOST:
            raise ValueError("more chunks than anybody needs")
        kind, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        data = content[at + 8 : at + 8 + length]
        if kind == b"VP8X":
            flags = (data[0] & ~(HAS_EXIF | HAS_XMP)) | (HAS_EXIF if turned else 0)
            data = bytes((flags, *data[1:]))
        if kind in KEPT:
            parts.append(_riff(kind, data))
        at += 8 + length + length % 2
    if turned:
        parts.append(_riff(b"EXIF", turned))
    return _riff(b"RIFF", b"WEBP" + b"".join(parts))


def _riff(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
